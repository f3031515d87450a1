//! What all families have in common in decoding a matrix from its sections.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use half::f16;
use nwc_chunk::ndarray::{Array2, ArrayViewMut2, Axis};
use nwc_format::{Payload, ROLE_PAYLOAD};

use super::scaling::RowExponents;
use super::zeros::{ZeroLanes, stored_lanes};
use super::{MatrixDecoder, Panels};
use crate::error::TensorError;

/// Role of row factors set after coding, f16, 0 for a row of zeros; absent where all are 1.
pub(crate) const GAINS: &str = nwc_format::ROLE_GAINS;

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
#[derive(Debug, Clone)]
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
    Restoring::stored(stored, rows, cols)?.apply(decoded.view_mut(), 0..cols);
    Ok(match is_transposed {
        true => decoded.t().as_standard_layout().into_owned(),
        false => decoded,
    })
}

/// What is done to decoded values, whichever family they come from.
#[derive(Debug)]
struct Restoring {
    gains: Option<Vec<f16>>,
    exponents: RowExponents,
    zeros: Option<ZeroLanes>,
}

impl Restoring {
    /// What the sections of a `rows` × `cols` matrix ask for.
    fn stored(stored: &StoredSections<'_>, rows: usize, cols: usize) -> Result<Self, TensorError> {
        Ok(Self {
            gains: match stored.by_role.contains_key(GAINS) {
                true => Some(stored.halves(GAINS, rows)?),
                false => None,
            },
            exponents: RowExponents::stored(stored, rows)?,
            zeros: stored_lanes(stored, rows, cols)?,
        })
    }

    /// Restores `decoded`, which are the given columns of the matrix.
    fn apply(&self, mut decoded: ArrayViewMut2<'_, f32>, columns: Range<usize>) {
        if let Some(gains) = &self.gains {
            for (mut row, &gain) in decoded.axis_iter_mut(Axis(0)).zip(gains) {
                match gain == f16::ZERO {
                    true => row.fill(0.0),
                    false => row *= gain.to_f32(),
                }
            }
        }
        self.exponents.multiply(decoded.view_mut());
        if let Some(zeros) = &self.zeros {
            zeros.clear(decoded, columns);
        }
    }
}

/// A stored matrix opened for decoding in panels.
#[derive(Debug)]
pub(crate) struct OpenMatrix<'a> {
    panels: Box<dyn Panels + 'a>,
    restoring: Restoring,
    /// Panels are columns of the stored tensor, or its rows where the matrix was transposed before it was coded.
    pub(crate) is_transposed: bool,
}

#[cfg(test)]
impl<'a> OpenMatrix<'a> {
    /// A matrix of these panels.
    pub(crate) fn of(panels: Box<dyn Panels + 'a>, is_transposed: bool) -> Self {
        Self {
            panels,
            restoring: Restoring {
                gains: None,
                exponents: RowExponents::default(),
                zeros: None,
            },
            is_transposed,
        }
    }
}

impl OpenMatrix<'_> {
    /// The columns of each panel, in order and without gaps.
    pub(crate) fn columns(&self) -> &[Range<usize>] {
        self.panels.columns()
    }

    /// Decodes panel `panel` as [`decode`] would: `[rows, its columns]` of the matrix as it was coded.
    pub(crate) fn decode(&self, panel: usize) -> Result<Array2<f32>, TensorError> {
        let mut decoded = self.panels.decode(panel)?;
        let columns = self.columns().get(panel).cloned().unwrap_or_default();
        self.restoring.apply(decoded.view_mut(), columns);
        Ok(decoded)
    }

    /// Decodes a sample of the matrix.
    ///
    /// # Errors
    /// Those of the decoder; [`TensorError::Record`] where a value is not finite.
    #[cfg(feature = "encode")]
    pub(crate) fn check_sample(&self) -> Result<(), TensorError> {
        check_finite(self.panels.sample()?.iter())
    }
}

/// Checks decoded values: no codec stores what is not finite.
///
/// # Errors
/// [`TensorError::Record`] names the first value that is not.
pub(crate) fn check_finite<'a>(
    mut values: impl Iterator<Item = &'a f32>,
) -> Result<(), TensorError> {
    match values.find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(TensorError::Record {
            what: "a decoded weight",
            found: value.to_string(),
            expected: "a finite number".into(),
        }),
    }
}

/// Opens a tensor that is stored as a `rows` × `cols` matrix; nothing is decoded yet.
pub(crate) fn open<'a>(
    decoder: Arc<dyn MatrixDecoder>,
    stored: StoredSections<'a>,
    rows: usize,
    cols: usize,
) -> Result<OpenMatrix<'a>, TensorError> {
    let is_transposed = stored.parameters.contains_key(TRANSPOSED);
    let (rows, cols) = match is_transposed {
        true => (cols, rows),
        false => (rows, cols),
    };
    // Memory for rows and columns is taken once the decoder has seen that its sections bear them out.
    let panels = decoder.open(stored.clone(), rows, cols)?;
    Ok(OpenMatrix {
        panels,
        restoring: Restoring::stored(&stored, rows, cols)?,
        is_transposed,
    })
}
