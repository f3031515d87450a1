//! Rows and columns that are zeros and come back as zeros, whatever a codec makes of them.

use std::ops::Range;

#[cfg(feature = "encode")]
use nwc_chunk::ndarray::ArrayView2;
use nwc_chunk::ndarray::{ArrayViewMut2, Axis};

#[cfg(feature = "encode")]
use super::coded::NewSection;
use super::matrix::StoredSections;
use crate::error::TensorError;

/// Role of what says which entries are exactly zero; its layout is in `docs/FORMAT.md`.
pub(crate) const ZEROS: &str = nwc_format::ROLE_ZEROS;

/// First byte of a section that lists rows and columns.
const LANES: u8 = 1;

/// Which rows and columns hold nothing but zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ZeroLanes {
    rows: Vec<bool>,
    cols: Vec<bool>,
}

impl ZeroLanes {
    /// Those of `weights`.
    #[cfg(feature = "encode")]
    pub(crate) fn of(weights: ArrayView2<'_, f32>) -> Self {
        let (n_rows, n_cols) = weights.dim();
        let mut lanes = Self {
            rows: Vec::with_capacity(n_rows),
            cols: vec![true; n_cols],
        };
        for row in weights.rows() {
            let mut is_zero_row = true;
            for (is_zero, &w) in lanes.cols.iter_mut().zip(row) {
                *is_zero &= w == 0.0;
                is_zero_row &= w == 0.0;
            }
            lanes.rows.push(is_zero_row);
        }
        lanes
    }

    /// Whether they are zeros in `decoded`, too.
    #[cfg(feature = "encode")]
    pub(crate) fn hold_in(&self, decoded: ArrayView2<'_, f32>) -> bool {
        let holds = |axis, lanes: &[bool]| {
            let zero = lanes.iter().enumerate().filter(|(_, zero)| **zero);
            zero.map(|(idx, _)| decoded.index_axis(axis, idx))
                .all(|lane| lane.iter().all(|&v| v == 0.0))
        };
        holds(Axis(0), &self.rows) && holds(Axis(1), &self.cols)
    }

    /// Makes them zeros in `decoded`, the given columns of a matrix of their shape.
    pub(crate) fn clear(&self, mut decoded: ArrayViewMut2<'_, f32>, columns: Range<usize>) {
        let cols = self.cols.get(columns).unwrap_or_default();
        for (axis, lanes) in [(Axis(0), &self.rows[..]), (Axis(1), cols)] {
            for (mut lane, _) in decoded.axis_iter_mut(axis).zip(lanes).filter(|(_, z)| **z) {
                lane.fill(0.0);
            }
        }
    }

    /// The section that stores them.
    #[cfg(feature = "encode")]
    pub(crate) fn section(&self) -> NewSection {
        let mut bytes = vec![LANES];
        push_runs(&mut bytes, &self.rows);
        push_runs(&mut bytes, &self.cols);
        NewSection::bytes(ZEROS, bytes)
    }

    /// Those of a stored `rows` × `cols` matrix, for which memory was taken already; `None` where there are none.
    ///
    /// # Errors
    /// [`TensorError::Record`] for bytes that do not describe such a matrix.
    pub(crate) fn stored(
        stored: &StoredSections<'_>,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Self>, TensorError> {
        let Some(&bytes) = stored.by_role.get(ZEROS) else {
            return Ok(None);
        };
        let wrong = || TensorError::Record {
            what: ZEROS,
            found: format!("{} bytes that do not fit", bytes.len()),
            expected: format!("runs of {rows} rows and {cols} columns"),
        };
        let rest = bytes.strip_prefix(&[LANES]).ok_or_else(wrong)?;
        let (row_lanes, rest) = take_runs(rest, rows).ok_or_else(wrong)?;
        let (col_lanes, rest) = take_runs(rest, cols).ok_or_else(wrong)?;
        match rest.is_empty() {
            true => Ok(Some(Self {
                rows: row_lanes,
                cols: col_lanes,
            })),
            false => Err(wrong()),
        }
    }
}

/// No section of a `rows` × `cols` matrix is longer.
#[cfg(feature = "encode")]
pub(crate) fn most_zeros_bytes(rows: usize, cols: usize) -> usize {
    rows.saturating_add(cols).saturating_add(64)
}

/// Lengths of the runs of `false` and `true` in turn, `false` first, as LEB128.
#[cfg(feature = "encode")]
fn push_runs(bytes: &mut Vec<u8>, lanes: &[bool]) {
    let mut rest = lanes;
    let mut is_zero = false;
    while !rest.is_empty() {
        let n = rest.iter().take_while(|&&lane| lane == is_zero).count();
        let mut left = n;
        while left >= 0x80 {
            bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
        rest = &rest[n..];
        is_zero = !is_zero;
    }
}

/// Reads runs of `n` lanes, and gives what follows them; `None` where they do not add up to `n`.
fn take_runs(mut bytes: &[u8], n: usize) -> Option<(Vec<bool>, &[u8])> {
    let mut lanes = Vec::with_capacity(n);
    let mut is_zero = false;
    while lanes.len() < n {
        let (run, rest) = take_length(bytes)?;
        // Only the first run may be empty: every list of lanes has one form.
        if run > n - lanes.len() || (run == 0 && (is_zero || !lanes.is_empty())) {
            return None;
        }
        lanes.resize(lanes.len() + run, is_zero);
        bytes = rest;
        is_zero = !is_zero;
    }
    Some((lanes, bytes))
}

fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0_u64;
    for (idx, &byte) in bytes.iter().enumerate().take(9) {
        length |= u64::from(byte & 0x7F) << (7 * idx);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(length).ok()?, &bytes[idx + 1..]));
        }
    }
    None
}

#[cfg(all(test, feature = "encode"))]
mod tests {
    use std::collections::BTreeMap;

    use nwc_chunk::ndarray::{Array2, array};
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], rows: usize, cols: usize) -> Result<Option<ZeroLanes>, TensorError> {
        let stored = StoredSections {
            by_role: BTreeMap::from([(ZEROS, bytes)]),
            parameters: &BTreeMap::new(),
        };
        ZeroLanes::stored(&stored, rows, cols)
    }

    #[test]
    fn rows_and_columns_of_zeros_are_found_and_made() {
        let weights = array![[0.0_f32, 1.0, 0.0], [0.0, 0.0, -0.0], [0.0, 2.0, 3.0]];
        let lanes = ZeroLanes::of(weights.view());
        assert_eq!(lanes.section().bytes, [LANES, 1, 1, 1, 0, 1, 2]);
        assert!(lanes.hold_in(weights.view()));
        let mut decoded = Array2::from_elem((3, 3), 7.0);
        assert!(!lanes.hold_in(decoded.view()));
        lanes.clear(decoded.view_mut(), 0..3);
        assert_eq!(
            decoded,
            array![[0.0, 7.0, 7.0], [0.0, 0.0, 0.0], [0.0, 7.0, 7.0]]
        );
    }

    #[test]
    fn runs_that_do_not_fit_are_refused() {
        assert!(read(&[LANES, 1, 1, 1, 0, 1, 2], 3, 3).is_ok());
        let wrong: [&[u8]; 9] = [
            &[],
            &[LANES],
            &[0, 3, 3],
            &[LANES, 3],
            &[LANES, 4, 3],
            &[LANES, 3, 3, 0],
            &[LANES, 1, 0, 2, 3],
            &[LANES, 0, 0, 3, 3],
            &[
                LANES, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 3,
            ],
        ];
        for bytes in wrong {
            assert!(read(bytes, 3, 3).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lanes_round_trip(
            rows in prop::collection::vec(any::<bool>(), 0..300),
            cols in prop::collection::vec(any::<bool>(), 0..9),
        ) {
            let lanes = ZeroLanes { rows, cols };
            let section = lanes.section();
            let (rows, cols) = (lanes.rows.len(), lanes.cols.len());
            prop_assert_eq!(read(&section.bytes, rows, cols).unwrap(), Some(lanes));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            rows in 0_usize..200,
            cols in 0_usize..200,
        ) {
            let _ = read(&bytes, rows, cols);
        }
    }
}
