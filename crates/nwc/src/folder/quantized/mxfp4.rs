//! MXFP4: blocks of 32 four-bit floats that share a power of two (OCP Microscaling Formats, version 1.0).

use super::wrong;
use crate::TensorError;

/// Weights of a block.
const BLOCK_LEN: usize = 32;
/// Bytes of a block: two weights each, the earlier one in the low half.
const BLOCK_BYTES: usize = BLOCK_LEN / 2;
/// E2M1 by its four bits.
pub(crate) const E2M1: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// Opens the experts of a layer as gpt-oss stores them.
///
/// `blocks` is `[n, rows, n_blocks, 16]`, `scales` `[n, rows, n_blocks]` in E8M0. The result is
/// `[n, n_blocks · 32, rows]`, row-major: turned, as `transformers` keeps the opened experts under the plain name.
///
/// # Errors
/// [`TensorError::Record`] where a shape or a number of bytes does not fit.
pub(crate) fn dequantize(
    blocks: &[u8],
    blocks_shape: &[usize],
    scales: &[u8],
    scales_shape: &[usize],
) -> Result<(Vec<f32>, [usize; 3]), TensorError> {
    let [n, rows, n_blocks, BLOCK_BYTES] = *blocks_shape else {
        return Err(wrong(
            "shape of the blocks",
            format!("{blocks_shape:?}"),
            "[experts, rows, blocks, 16]",
        ));
    };
    if *scales_shape != [n, rows, n_blocks] {
        return Err(wrong(
            "shape of the scales",
            format!("{scales_shape:?}"),
            format!("{:?}", [n, rows, n_blocks]),
        ));
    }
    let n_scales = n.checked_mul(rows).and_then(|m| m.checked_mul(n_blocks));
    let n_bytes = n_scales.and_then(|m| m.checked_mul(BLOCK_BYTES));
    if n_scales != Some(scales.len()) || n_bytes != Some(blocks.len()) {
        return Err(wrong(
            "number of bytes",
            format!("{} and {} of scales", blocks.len(), scales.len()),
            format!("as {blocks_shape:?} says"),
        ));
    }
    let cols = n_blocks * BLOCK_LEN;
    let mut out = vec![0.0; blocks.len() * 2];
    for (block_idx, (block, &scale)) in blocks.chunks_exact(BLOCK_BYTES).zip(scales).enumerate() {
        let scale = e8m0(scale);
        let (line, in_line) = (block_idx / n_blocks, block_idx % n_blocks);
        let (expert, row) = (line / rows, line % rows);
        for (i, &byte) in block.iter().enumerate() {
            for (half, code) in [byte & 0xf, byte >> 4].into_iter().enumerate() {
                let col = in_line * BLOCK_LEN + 2 * i + half;
                out[(expert * cols + col) * rows + row] = E2M1[usize::from(code)] * scale;
            }
        }
    }
    Ok((out, [n, cols, rows]))
}

/// E8M0, a power of two: 2^(byte − 127); 255 is NaN.
fn e8m0(byte: u8) -> f32 {
    match byte {
        // 2^-127 is subnormal, which an exponent alone cannot spell.
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(byte) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_powers_of_two() {
        for byte in 0..=254u8 {
            assert_eq!(f64::from(e8m0(byte)), 2f64.powi(i32::from(byte) - 127));
        }
        assert!(e8m0(255).is_nan());
    }

    #[test]
    fn blocks_are_turned() {
        // Two rows of one block: all ones with scale 2, and 0, -6, 0, -6, … with scale 1/2.
        let mut blocks = vec![0x22; 16];
        blocks.extend([0xf0; 16]);
        let (values, shape) = dequantize(&blocks, &[1, 2, 1, 16], &[128, 126], &[1, 2, 1]).unwrap();
        assert_eq!(shape, [1, 32, 2]);
        assert_eq!(values[..6], [2.0, 0.0, 2.0, -3.0, 2.0, 0.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        dequantize(&[0; 32], &[1, 2, 1, 15], &[0; 2], &[1, 2, 1]).unwrap_err();
        dequantize(&[0; 32], &[1, 2, 1, 16], &[0; 2], &[2, 1, 1]).unwrap_err();
        dequantize(&[0; 31], &[1, 2, 1, 16], &[0; 2], &[1, 2, 1]).unwrap_err();
        dequantize(&[0; 32], &[1, 2, 1, 16], &[0; 3], &[1, 2, 1]).unwrap_err();
        let (empty, _) = dequantize(&[], &[0, 2, 1, 16], &[], &[0, 2, 1]).unwrap();
        assert!(empty.is_empty());
    }
}
