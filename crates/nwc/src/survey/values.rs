//! A look at a tensor's values before anything is coded.

use nwc_format::DType;

use crate::family::{is_safe_rms, is_sparse};
use crate::folder::dtype;

/// What there is among the values of a float tensor, taken as a matrix; nothing for other dtypes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Values {
    /// The first NaN or infinity, with its index; nothing else is known where there is one.
    pub(crate) first_non_finite: Option<(usize, f32)>,
    /// Whether some row is too large or too small to be coded as it is.
    pub(crate) has_unsafe_rows: bool,
    /// Whether some row or column holds nothing but zeros.
    pub(crate) has_zero_lanes: bool,
    /// Whether so many other values are zero that a mask says which.
    pub(crate) is_sparse: bool,
}

impl Values {
    /// Looks at `bytes` of a tensor with rows of `cols` values.
    pub(crate) fn scan(dtype: DType, cols: usize, bytes: &[u8]) -> Self {
        // Some rows at a time, so that a large tensor is not expanded whole.
        const BLOCK_ELEMS: usize = 1 << 14;
        let mut found = Self::default();
        if cols == 0 || !dtype::is_codable(dtype) {
            return found;
        }
        let block_elems = (BLOCK_ELEMS / cols).max(1) * cols;
        let mut zeros_in_cols = vec![0_usize; cols];
        // Rows that are not all zeros.
        let (mut n_rows, mut n_live_rows) = (0, 0);
        for (block_idx, block) in bytes.chunks(block_elems * dtype.size()).enumerate() {
            let values = dtype::to_f32(dtype, block).unwrap_or_default();
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                found.first_non_finite = Some((block_idx * block_elems + at, values[at]));
                return found;
            }
            for row in values.chunks(cols) {
                n_rows += 1;
                let energy: f64 = row.iter().map(|&v| f64::from(v).powi(2)).sum();
                if energy == 0.0 {
                    found.has_zero_lanes = true;
                    continue;
                }
                n_live_rows += 1;
                found.has_unsafe_rows |= !is_safe_rms((energy / cols as f64).sqrt());
                for (n, &v) in zeros_in_cols.iter_mut().zip(row) {
                    *n += usize::from(v == 0.0);
                }
            }
        }
        let is_zero_col = |n: &usize| *n == n_live_rows;
        found.has_zero_lanes |= zeros_in_cols.iter().any(is_zero_col);
        let scattered = zeros_in_cols.iter().filter(|n| !is_zero_col(n)).sum();
        found.is_sparse = is_sparse(scattered, n_rows * cols);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rows: &[[f32; 2]], expected: Values) {
        let mut bytes = Vec::new();
        assert!(dtype::extend_bytes(
            DType::F32,
            rows.as_flattened(),
            &mut bytes
        ));
        assert_eq!(Values::scan(DType::F32, 2, &bytes), expected);
    }

    #[test]
    fn lanes_of_zeros_and_rows_out_of_range_are_found() {
        let ordinary = Values::default();
        check(&[[0.1, 0.2], [0.1, -0.3]], ordinary);
        let zero_lanes = Values {
            has_zero_lanes: true,
            ..ordinary
        };
        check(&[[0.1, 0.2], [0.0, 0.0]], zero_lanes);
        check(&[[0.1, 0.0], [0.1, -0.0]], zero_lanes);
        let unsafe_rows = Values {
            has_unsafe_rows: true,
            ..ordinary
        };
        check(&[[0.1, 0.2], [1e-9, 1e-9]], unsafe_rows);
        check(&[[1e30, 0.2], [0.1, 0.1]], unsafe_rows);
    }

    #[test]
    fn zeros_outside_of_zero_lanes_make_a_matrix_sparse() {
        let sparse = Values {
            is_sparse: true,
            ..Values::default()
        };
        check(&[[0.1, 0.0], [0.1, 0.2], [-0.0, 0.2]], sparse);
        let mut rows = vec![[0.1, 0.2]; 100];
        for row in rows.iter_mut().take(6) {
            row[0] = 0.0;
        }
        check(&rows, Values::default());
        rows[6][0] = 0.0;
        check(&rows, sparse);
        let zero_rows = [vec![[0.0, 0.0]; 50], vec![[0.1, 0.2]; 50]].concat();
        let lanes = Values {
            has_zero_lanes: true,
            ..Values::default()
        };
        check(&zero_rows, lanes);
        let zero_column = vec![[0.1, 0.0]; 50];
        check(&zero_column, lanes);
    }
}
