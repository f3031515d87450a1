//! The passes between matrix products: bias, LayerNorm, ReLU, residual sum and quality gate, fused row by row.
//!
//! Vectors are as long as the machine has them (`pulp`, chosen at run time), so the last bits of a sum may differ
//! from machine to machine, as those of a matrix product do; they never differ from call to call.

use nwc_chunk::QualityLevel;
use pulp::{Simd, WithSimd};

/// LayerNorm's epsilon, PyTorch's default.
pub(super) const NORM_EPSILON: f32 = 1e-5;

/// What a block applies after its matrix product.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockPass<'a> {
    /// Bias of the linear layer, centred, `[width]`.
    pub(super) bias: &'a [f32],
    /// LayerNorm's gain, `[width]`.
    pub(super) norm_weight: &'a [f32],
    /// LayerNorm's bias, `[width]`.
    pub(super) norm_bias: &'a [f32],
    /// Quality embedding, `[n_quality_levels, width]`.
    pub(super) embedding: &'a [f32],
}

/// Adds `bias` to each row of `rows`, `[n, bias.len()]`.
pub(super) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    pulp::Arch::new().dispatch(AddBias { rows, bias });
}

/// `hidden = (hidden + relu(layer_norm(branch + bias))) * embedding[level]`, for each row.
///
/// `hidden` and `branch` are `[n, width]` with `n >= levels.len()`, rows without a level are left alone;
/// `branch + bias` must have mean zero in each row.
pub(super) fn finish_block(
    hidden: &mut [f32],
    branch: &[f32],
    levels: &[QualityLevel],
    pass: BlockPass<'_>,
) {
    pulp::Arch::new().dispatch(FinishBlock {
        hidden,
        branch,
        levels,
        pass,
    });
}

struct AddBias<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (bias, bias_tail) = S::as_simd_f32s(self.bias);
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            let (row, tail) = S::as_mut_simd_f32s(row);
            let row = &mut row[..bias.len()];
            for i in 0..bias.len() {
                row[i] = simd.add_f32s(row[i], bias[i]);
            }
            let tail = &mut tail[..bias_tail.len()];
            for i in 0..bias_tail.len() {
                tail[i] += bias_tail[i];
            }
        }
    }
}

struct FinishBlock<'a> {
    hidden: &'a mut [f32],
    branch: &'a [f32],
    levels: &'a [QualityLevel],
    pass: BlockPass<'a>,
}

impl WithSimd for FinishBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let pass = self.pass;
        let width = pass.bias.len();
        let (bias, bias_tail) = S::as_simd_f32s(pass.bias);
        let (gain, gain_tail) = S::as_simd_f32s(pass.norm_weight);
        let (shift, shift_tail) = S::as_simd_f32s(pass.norm_bias);
        let zero = simd.splat_f32s(0.0);
        let (n, n_tail) = (bias.len(), bias_tail.len());
        for (row, level) in self.levels.iter().enumerate() {
            let gate = &pass.embedding[usize::from(level.0) * width..][..width];
            let (gate, gate_tail) = S::as_simd_f32s(gate);
            let (x, x_tail) = S::as_mut_simd_f32s(&mut self.hidden[row * width..][..width]);
            let (h, h_tail) = S::as_simd_f32s(&self.branch[row * width..][..width]);
            // Equal lengths that the compiler knows of: the loops below then check no index.
            let (x, h, gate) = (&mut x[..n], &h[..n], &gate[..n]);
            let (gain, shift) = (&gain[..n], &shift[..n]);

            let mut squares = zero;
            for i in 0..n {
                let h = simd.add_f32s(h[i], bias[i]);
                squares = simd.mul_add_e_f32s(h, h, squares);
            }
            let mut sum = simd.reduce_sum_f32s(squares);
            for i in 0..n_tail {
                let h = h_tail[i] + bias_tail[i];
                sum += h * h;
            }
            let scale = (sum / width as f32 + NORM_EPSILON).sqrt().recip();

            let scales = simd.splat_f32s(scale);
            for i in 0..n {
                let h = simd.mul_f32s(simd.add_f32s(h[i], bias[i]), scales);
                let kept = simd.max_f32s(simd.mul_add_e_f32s(h, gain[i], shift[i]), zero);
                x[i] = simd.mul_f32s(simd.add_f32s(x[i], kept), gate[i]);
            }
            for i in 0..n_tail {
                let h = (h_tail[i] + bias_tail[i]) * scale;
                let kept = (h * gain_tail[i] + shift_tail[i]).max(0.0);
                x_tail[i] = (x_tail[i] + kept) * gate_tail[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(width: usize) {
        let value = |i: usize| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0;
        let mut branch: Vec<f32> = (0..width).map(value).collect();
        let mean = branch.iter().sum::<f32>() / width as f32;
        branch.iter_mut().for_each(|h| *h -= mean);
        let vector = |start: usize| (start..start + width).map(value).collect::<Vec<f32>>();
        let (bias, gain, shift) = (vec![0.0; width], vector(3), vector(5));
        let embedding = vector(7);
        let hidden = vector(9);
        let variance = branch.iter().map(|&h| f64::from(h).powi(2)).sum::<f64>() / width as f64;
        let expected: Vec<f64> = (0..width)
            .map(|i| {
                let normed = f64::from(branch[i]) / (variance + f64::from(NORM_EPSILON)).sqrt();
                let kept = (normed * f64::from(gain[i]) + f64::from(shift[i])).max(0.0);
                (f64::from(hidden[i]) + kept) * f64::from(embedding[i])
            })
            .collect();
        let mut found = hidden.clone();
        let pass = BlockPass {
            bias: &bias,
            norm_weight: &gain,
            norm_bias: &shift,
            embedding: &embedding,
        };
        finish_block(&mut found, &branch, &[QualityLevel(0)], pass);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn a_block_equals_its_formula() {
        check(64);
        check(16);
        check(512);
        check(19);
        check(3);
        check(1);
    }
}
