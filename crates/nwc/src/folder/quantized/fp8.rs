//! FP8 weights with a scale for the tensor, each row, or each block.

use nwc_format::DType;

use super::wrong;
use crate::TensorError;

/// Scales of an FP8 matrix: `[n_row_blocks, n_col_blocks]`, each for a block of `rows × cols` weights.
///
/// A weight is its FP8 value *times* the scale, also where the checkpoint calls it `weight_scale_inv`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BlockScales {
    values: Vec<f32>,
    n_col_blocks: usize,
    block: (usize, usize),
}

impl BlockScales {
    /// Scales of the given shape for a matrix `[rows, cols]`.
    ///
    /// `[]`, `[1]` and `[1, 1]` hold one scale, `[rows]` and `[rows, 1]` one for each row. Otherwise the shape is that
    /// of a grid of blocks, of `block` weights each where the config says so (`weight_block_size`), and of equal
    /// blocks where it does not.
    ///
    /// # Errors
    /// [`TensorError::Record`] where the shape fits no such grid.
    pub(crate) fn new(
        values: Vec<f32>,
        shape: &[usize],
        (rows, cols): (usize, usize),
        block: Option<(usize, usize)>,
    ) -> Result<Self, TensorError> {
        let found = || format!("{shape:?} for {rows} × {cols} weights");
        let (n_row_blocks, n_col_blocks) = match *shape {
            [] | [1] => (1, 1),
            [n] => (n, 1),
            [n, m] => (n, m),
            _ => {
                return Err(wrong(
                    "shape of the scales",
                    found(),
                    "at most two dimensions",
                ));
            }
        };
        let fits = |n_blocks: usize, len: usize, block: usize| len.div_ceil(block) == n_blocks;
        let even = (
            rows.div_ceil(n_row_blocks.max(1)),
            cols.div_ceil(n_col_blocks.max(1)),
        );
        let is_fit = |(r, c): (usize, usize)| {
            r > 0 && c > 0 && fits(n_row_blocks, rows, r) && fits(n_col_blocks, cols, c)
        };
        // The config's block holds for block-scaled matrices; others of the same checkpoint have a scale for each row.
        let block = [block, Some(even)]
            .into_iter()
            .flatten()
            .find(|&candidate| is_fit(candidate))
            .ok_or_else(|| {
                wrong(
                    "shape of the scales",
                    found(),
                    "one, one for each row, or one for each block",
                )
            })?;
        if n_row_blocks.checked_mul(n_col_blocks) != Some(values.len()) {
            return Err(wrong(
                "number of scales",
                values.len().to_string(),
                format!("{n_row_blocks} × {n_col_blocks}"),
            ));
        }
        Ok(Self {
            values,
            n_col_blocks,
            block,
        })
    }

    fn at(&self, row: usize, col: usize) -> f32 {
        let at = row / self.block.0 * self.n_col_blocks + col / self.block.1;
        self.values.get(at).copied().unwrap_or(f32::NAN)
    }
}

/// Opens an FP8 matrix: `bytes` are `[rows, cols]` of `dtype`, the result is `[rows, cols]`, row-major.
///
/// # Errors
/// [`TensorError::Record`] where the number of bytes or the dtype is another.
pub(crate) fn dequantize(
    dtype: DType,
    bytes: &[u8],
    (rows, cols): (usize, usize),
    scales: &BlockScales,
) -> Result<Vec<f32>, TensorError> {
    if rows.checked_mul(cols) != Some(bytes.len()) {
        return Err(wrong(
            "number of FP8 weights",
            bytes.len().to_string(),
            format!("{rows} × {cols}"),
        ));
    }
    let decode = match dtype {
        DType::F8E4M3 => e4m3,
        DType::F8E5M2 => e5m2,
        _ => {
            return Err(wrong(
                "dtype of an FP8 weight",
                dtype.to_string(),
                "F8_E4M3 or F8_E5M2",
            ));
        }
    };
    let mut out = Vec::with_capacity(bytes.len());
    for (row, line) in bytes.chunks_exact(cols.max(1)).enumerate() {
        out.extend(
            line.iter()
                .enumerate()
                .map(|(col, &byte)| decode(byte) * scales.at(row, col)),
        );
    }
    Ok(out)
}

/// E4M3 as machine learning uses it (`e4m3fn`): no infinity, NaN at 0x7f and 0xff, largest 448 (arXiv 2209.05433).
pub(crate) fn e4m3(byte: u8) -> f32 {
    if byte & 0x7f == 0x7f {
        return f32::NAN;
    }
    small_float(byte, 3, 7)
}

/// E5M2: as IEEE 754 would have it, with infinity and NaN at the largest exponent.
pub(crate) fn e5m2(byte: u8) -> f32 {
    // It is the upper half of a half-precision number.
    half::f16::from_bits(u16::from(byte) << 8).to_f32()
}

/// An 8-bit float of sign, exponent and `n_mantissa` bits, subnormals included and no special values.
fn small_float(byte: u8, n_mantissa: u32, bias: i32) -> f32 {
    let mantissa = f32::from(byte & ((1 << n_mantissa) - 1));
    let exponent = i32::from((byte & 0x7f) >> n_mantissa);
    let one = (1u32 << n_mantissa) as f32;
    let magnitude = match exponent {
        0 => mantissa / one * 2f32.powi(1 - bias),
        _ => (1.0 + mantissa / one) * 2f32.powi(exponent - bias),
    };
    if byte & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_both_formats() {
        assert_eq!(e4m3(0x00), 0.0);
        assert!(e4m3(0x80).is_sign_negative());
        assert_eq!(e4m3(0x01), 2f32.powi(-9));
        assert_eq!(e4m3(0x38), 1.0);
        assert_eq!(e4m3(0xbc), -1.5);
        assert_eq!(e4m3(0x7e), 448.0);
        assert!(e4m3(0xff).is_nan());
        assert_eq!(e5m2(0x3c), 1.0);
        assert_eq!(e5m2(0x7b), 57344.0);
        assert_eq!(e5m2(0xfc), f32::NEG_INFINITY);
        assert_eq!(e5m2(0x01), 2f32.powi(-16));
    }

    #[track_caller]
    fn check(shape: &[usize], block: Option<(usize, usize)>, expected: [f32; 6]) {
        let n = shape.iter().product();
        let values = (1..=n).map(|i| i as f32).collect();
        let scales = BlockScales::new(values, shape, (3, 2), block).unwrap();
        // Ones.
        let opened = dequantize(DType::F8E4M3, &[0x38; 6], (3, 2), &scales).unwrap();
        assert_eq!(opened, expected);
    }

    #[test]
    fn scales_of_every_kind() {
        check(&[], None, [1.0; 6]);
        check(&[1], Some((2, 2)), [1.0; 6]);
        check(&[3], None, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        check(&[3, 1], Some((128, 128)), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        check(&[2, 1], Some((2, 2)), [1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        check(&[2, 2], Some((2, 1)), [1.0, 2.0, 1.0, 2.0, 3.0, 4.0]);
        check(&[1, 2], None, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let scales =
            |n: usize, shape: &[usize]| BlockScales::new(vec![1.0; n], shape, (3, 2), None);
        scales(4, &[4]).unwrap_err();
        scales(2, &[3]).unwrap_err();
        scales(0, &[0, 1]).unwrap_err();
        scales(8, &[2, 2, 2]).unwrap_err();
        let one = scales(1, &[]).unwrap();
        dequantize(DType::F8E4M3, &[0; 5], (3, 2), &one).unwrap_err();
        dequantize(DType::I8, &[0; 6], (3, 2), &one).unwrap_err();
        assert!(
            dequantize(DType::F8E4M3, &[], (0, 0), &one)
                .unwrap()
                .is_empty()
        );
    }
}
