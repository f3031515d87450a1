//! What all families have in common in decoding a matrix from its sections.

use std::collections::BTreeMap;

use half::f16;
use nwc_chunk::ndarray::{Array2, Axis};
use nwc_format::{Payload, ROLE_PAYLOAD};

use super::MatrixDecoder;
use super::scaling::RowExponents;
use super::zeros::ZeroLanes;
use crate::error::TensorError;

/// Role of row factors set after coding, f16, 0 for a row of zeros; absent where all are 1.
pub(crate) const GAINS: &str = "gains";

/// Parameter: 1 where the matrix was transposed before it was coded.
pub(crate) const TRANSPOSED: &str = "transposed";

/// Parameter: rows of the matrix, where they are not the product of all dimensions but the last.
pub(crate) const ROWS: &str = "rows";

/// Rows and columns of the matrix that a coded tensor of `shape` is stored as.
///
/// # Errors
/// [`TensorError::Record`] where `rows` is no number of rows that the tensor can have.
pub(crate) fn matrix_shape(
    shape: &[usize],
    parameters: &BTreeMap<String, f64>,
) -> Result<(usize, usize), TensorError> {
    let n_elems = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let rows = match (parameters.get(ROWS), usual_rows(shape)) {
        (Some(&rows), _) if rows >= 1.0 && rows.fract() == 0.0 => Some(rows as usize),
        (None, usual) => usual,
        _ => None,
    };
    match (n_elems, rows) {
        (Some(n), Some(rows)) if shape.len() >= 2 && rows > 0 && n.is_multiple_of(rows) => {
            Ok((rows, n / rows))
        }
        _ => Err(TensorError::Record {
            what: "shape of a coded tensor",
            found: format!("{shape:?} in {rows:?} rows"),
            expected: "at least 2 dimensions, in rows of equal length".into(),
        }),
    }
}

/// Rows of a tensor where nothing else is said: a stack of matrices is one tall matrix.
pub(crate) fn usual_rows(shape: &[usize]) -> Option<usize> {
    match shape {
        [rows, _] => Some(*rows),
        [stack, rows, _] => stack.checked_mul(*rows),
        _ => None,
    }
}

/// Parameter: ‖W−Ŵ‖²/‖W‖² with every row of unit norm, for people.
pub(crate) const NMSE_NORMALIZED: &str = "nmse_normalized";

/// Sections of a stored matrix by role, digests checked.
pub(crate) struct StoredSections<'a> {
    pub(crate) by_role: BTreeMap<&'a str, &'a [u8]>,
    pub(crate) parameters: &'a BTreeMap<String, f64>,
}

impl<'a> StoredSections<'a> {
    /// The bytes of the section `role`.
    pub(super) fn get(&self, role: &'static str) -> Result<&'a [u8], TensorError> {
        self.by_role
            .get(role)
            .copied()
            .ok_or_else(|| TensorError::Record {
                what: "section",
                found: "missing".into(),
                expected: role.into(),
            })
    }

    /// The f16 section `role`, one value for each of `rows` rows.
    pub(super) fn halves(&self, role: &'static str, rows: usize) -> Result<Vec<f16>, TensorError> {
        let bytes = self.get(role)?;
        if rows.checked_mul(2) != Some(bytes.len()) {
            return Err(TensorError::Record {
                what: role,
                found: format!("{} bytes", bytes.len()),
                expected: format!("2 for each of {rows} rows"),
            });
        }
        let halves = bytes.as_chunks().0;
        Ok(halves.iter().map(|&b| f16::from_le_bytes(b)).collect())
    }

    /// The substreams of the payload.
    pub(super) fn substreams(&self) -> Result<Vec<&'a [u8]>, TensorError> {
        Ok(Payload::parse(self.get(ROLE_PAYLOAD)?)?)
    }
}

/// Decodes a tensor that is stored as a `rows` × `cols` matrix.
pub(crate) fn decode(
    decoder: &dyn MatrixDecoder,
    stored: &StoredSections<'_>,
    rows: usize,
    cols: usize,
) -> Result<Array2<f32>, TensorError> {
    let is_transposed = stored.parameters.contains_key(TRANSPOSED);
    let (rows, cols) = match is_transposed {
        true => (cols, rows),
        false => (rows, cols),
    };
    let mut decoded = decoder.decode(stored, rows, cols)?;
    if stored.by_role.contains_key(GAINS) {
        let gains = stored.halves(GAINS, rows)?;
        for (mut row, gain) in decoded.axis_iter_mut(Axis(0)).zip(gains) {
            match gain == f16::ZERO {
                true => row.fill(0.0),
                false => row *= gain.to_f32(),
            }
        }
    }
    RowExponents::stored(stored, rows)?.multiply(decoded.view_mut());
    if let Some(lanes) = ZeroLanes::stored(stored, rows, cols)? {
        lanes.clear(decoded.view_mut());
    }
    Ok(match is_transposed {
        true => decoded.t().as_standard_layout().into_owned(),
        false => decoded,
    })
}
