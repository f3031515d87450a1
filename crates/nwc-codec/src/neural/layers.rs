//! The passes between matrix products: bias, LayerNorm, ReLU, residual sum and quality gate, fused row by row.
//!
//! Sums run over [`LANES`] interleaved accumulators in a fixed order, so that the compiler may use vectors and
//! the result is the same for every vector length.

use nwc_chunk::QualityLevel;

/// LayerNorm's epsilon, PyTorch's default.
pub(super) const NORM_EPSILON: f32 = 1e-5;

/// Partial sums of a row.
const LANES: usize = 16;

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
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

/// `hidden = (hidden + relu(layer_norm(branch + bias))) * embedding[level]`, for each row.
///
/// `hidden` and `branch` are `[n, width]` with `n >= levels.len()`, rows without a level are left alone;
/// `branch + bias` must have mean zero in each row, and is overwritten.
pub(super) fn finish_block(
    hidden: &mut [f32],
    branch: &mut [f32],
    levels: &[QualityLevel],
    pass: &BlockPass<'_>,
) {
    pulp::Arch::new().dispatch(|| {
        let width = pass.bias.len();
        let rows = hidden
            .chunks_exact_mut(width)
            .zip(branch.chunks_exact_mut(width));
        for ((x, h), level) in rows.zip(levels) {
            let gate = &pass.embedding[usize::from(level.0) * width..][..width];
            finish_row(x, h, gate, pass);
        }
    });
}

#[inline(always)]
fn finish_row(x: &mut [f32], h: &mut [f32], gate: &[f32], pass: &BlockPass<'_>) {
    let width = pass.bias.len();
    for (h, bias) in h.iter_mut().zip(pass.bias) {
        *h += bias;
    }
    let scale = (sum_of_squares(h) / width as f32 + NORM_EPSILON)
        .sqrt()
        .recip();
    let (x, h, gate) = (&mut x[..width], &h[..width], &gate[..width]);
    let (gain, shift) = (&pass.norm_weight[..width], &pass.norm_bias[..width]);
    for i in 0..width {
        let normed = h[i] * scale * gain[i] + shift[i];
        let kept = if normed > 0.0 { normed } else { 0.0 };
        x[i] = (x[i] + kept) * gate[i];
    }
}

#[inline(always)]
fn sum_of_squares(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut groups = values.chunks_exact(LANES);
    for group in &mut groups {
        for (lane, value) in lanes.iter_mut().zip(group) {
            *lane += value * value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(groups.remainder()) {
        *lane += value * value;
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
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
        finish_block(&mut found, &mut branch, &[QualityLevel(0)], &pass);
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
