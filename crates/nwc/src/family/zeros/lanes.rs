//! Rows and columns that are zeros and come back as zeros, whatever a codec makes of them: a list of runs.

use std::ops::Range;

#[cfg(feature = "encode")]
use nwc_chunk::ndarray::ArrayView2;
use nwc_chunk::ndarray::{ArrayViewMut2, Axis};

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

    /// The bytes that store them.
    #[cfg(feature = "encode")]
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_runs(&mut bytes, &self.rows);
        push_runs(&mut bytes, &self.cols);
        bytes
    }

    /// Those of a `rows` × `cols` matrix, for which memory was taken already; `None` for bytes that are of no such matrix.
    pub(super) fn from_bytes(bytes: &[u8], rows: usize, cols: usize) -> Option<Self> {
        let (rows, rest) = take_runs(bytes, rows)?;
        let (cols, rest) = take_runs(rest, cols)?;
        rest.is_empty().then_some(Self { rows, cols })
    }
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
    use nwc_chunk::ndarray::{Array2, array};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_and_columns_of_zeros_are_found_and_made() {
        let weights = array![[0.0_f32, 1.0, 0.0], [0.0, 0.0, -0.0], [0.0, 2.0, 3.0]];
        let lanes = ZeroLanes::of(weights.view());
        assert_eq!(lanes.to_bytes(), [1, 1, 1, 0, 1, 2]);
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
        assert!(ZeroLanes::from_bytes(&[1, 1, 1, 0, 1, 2], 3, 3).is_some());
        let wrong: [&[u8]; 7] = [
            &[],
            &[3],
            &[4, 3],
            &[3, 3, 0],
            &[1, 0, 2, 3],
            &[0, 0, 3, 3],
            &[
                0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 3,
            ],
        ];
        for bytes in wrong {
            assert!(ZeroLanes::from_bytes(bytes, 3, 3).is_none(), "{bytes:?}");
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
            let (rows, cols) = (lanes.rows.len(), lanes.cols.len());
            prop_assert_eq!(ZeroLanes::from_bytes(&lanes.to_bytes(), rows, cols), Some(lanes));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            rows in 0_usize..200,
            cols in 0_usize..200,
        ) {
            let _ = ZeroLanes::from_bytes(&bytes, rows, cols);
        }
    }
}
