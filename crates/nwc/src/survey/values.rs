//! A look at a tensor's values before anything is coded.

use nwc_format::DType;

use crate::family::is_safe_rms;
use crate::folder::dtype;

/// What there is among the values of a float tensor, its last dimension taken as columns; nothing for other dtypes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Values {
    /// The first NaN or infinity, with its index; nothing else is known where there is one.
    pub(crate) first_non_finite: Option<(usize, f32)>,
    /// Whether some row is too large or too small to be coded as it is.
    pub(crate) has_unsafe_rows: bool,
    /// Whether some row or column holds nothing but zeros.
    pub(crate) has_zero_lanes: bool,
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
        let mut is_zero_col = vec![true; cols];
        for (block_idx, block) in bytes.chunks(block_elems * dtype.size()).enumerate() {
            let values = dtype::to_f32(dtype, block).unwrap_or_default();
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                found.first_non_finite = Some((block_idx * block_elems + at, values[at]));
                return found;
            }
            for row in values.chunks(cols) {
                let mut energy = 0.0;
                for (is_zero, &v) in is_zero_col.iter_mut().zip(row) {
                    *is_zero &= v == 0.0;
                    energy += f64::from(v).powi(2);
                }
                match energy > 0.0 {
                    true => found.has_unsafe_rows |= !is_safe_rms((energy / cols as f64).sqrt()),
                    false => found.has_zero_lanes = true,
                }
            }
        }
        found.has_zero_lanes |= is_zero_col.contains(&true);
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
        check(&[[0.1, 0.2], [0.0, -0.3]], ordinary);
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
}
