//! Round to nearest on a grid for every group of columns of every row, and GPTQ, which feeds errors back.

use std::sync::Arc;

use anyhow::Result;
use nwc_chunk::half::f16;
use nwc_chunk::ndarray::{ArrayView2, ArrayViewMut2, Axis};
use nwc_compensate::{
    BlockQuantizer, Hessian, LdlFactor, PAPER_DAMPING, QuantizerError, ldlq, no_feedback,
};

use super::Coded;

/// Columns that share a grid; the first that divides the row, and the first of all where none does.
const GROUP_COLS: [usize; 2] = [128, 64];

/// Bits of a group's scale, an f16. Its zero point has as many bits as a weight.
const SCALE_BITS: f64 = 16.0;

/// Columns of a group in a matrix of `cols` columns.
pub(crate) fn group_cols(cols: usize) -> usize {
    let divides = |size: &&usize| cols.is_multiple_of(**size);
    *GROUP_COLS.iter().find(divides).unwrap_or(&GROUP_COLS[0])
}

/// Bits of a whole matrix: the codes, and a scale and a zero point for every group of every row.
pub(crate) fn stored_bits(rows: usize, cols: usize, bits: u32) -> f64 {
    let n_groups = rows * cols.div_ceil(group_cols(cols));
    (rows * cols) as f64 * f64::from(bits) + n_groups as f64 * (SCALE_BITS + f64::from(bits))
}

/// Rounds every weight to the nearest point of its group's grid.
///
/// # Errors
/// Where a weight is not finite.
pub(crate) fn round_to_nearest(weights: ArrayView2<'_, f32>, bits: u32) -> Result<Coded> {
    let (rows, cols) = weights.dim();
    let mut quantizer = GroupGrid {
        bits,
        feedback: None,
    };
    Ok(Coded {
        reconstruction: no_feedback(weights, group_cols(cols), &mut quantizer)?,
        bits: stored_bits(rows, cols, bits),
    })
}

/// GPTQ (arXiv 2210.17323): the same grids, each weight's error made up for in the columns to its right.
///
/// Its order is first column to last, with a group's grid taken from the weights as compensated when the group
/// begins. LDLQ goes last to first, so both the columns and the Hessian are reversed before and after. The walk
/// of `ldlq` goes group by group and hands over the compensated group; inside a group the quantiser feeds back by
/// itself, which together is feedback after every single column.
///
/// # Errors
/// Where a weight is not finite or the Hessian cannot be factored.
pub(crate) fn gptq(weights: ArrayView2<'_, f32>, hessian: &Hessian, bits: u32) -> Result<Coded> {
    let (rows, cols) = weights.dim();
    let mut reversed = hessian.values();
    reversed.invert_axis(Axis(0));
    reversed.invert_axis(Axis(1));
    let hessian = Hessian::new(Arc::new(reversed.to_owned()), hessian.n_tokens())?;
    let factor = LdlFactor::new(&hessian, PAPER_DAMPING)?;
    let mut quantizer = GroupGrid {
        bits,
        feedback: Some(&factor),
    };
    let mut flipped = weights;
    flipped.invert_axis(Axis(1));
    let mut reconstruction = ldlq(flipped, &factor, group_cols(cols), &mut quantizer)?;
    reconstruction.invert_axis(Axis(1));
    Ok(Coded {
        reconstruction,
        bits: stored_bits(rows, cols, bits),
    })
}

/// Quantises each block it is given on one grid a row; the blocks are the groups.
struct GroupGrid<'a> {
    bits: u32,
    /// What errors are fed back through inside a block; nothing without feedback.
    feedback: Option<&'a LdlFactor>,
}

impl BlockQuantizer for GroupGrid<'_> {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        let grids: Vec<Grid> = target
            .rows()
            .into_iter()
            .map(|row| Grid::around(row.iter().copied(), self.bits))
            .collect();
        // Column by column: `[cols.len(), out]`.
        let mut fed = target.t().to_owned();
        for j in (0..cols.len()).rev() {
            let mut out = reconstruction.column_mut(j);
            for ((slot, &x), grid) in out.iter_mut().zip(&fed.row(j)).zip(&grids) {
                *slot = grid.nearest(x);
            }
            let Some(factor) = self.feedback else {
                continue;
            };
            // Against what the block was given, not against the fed column: the feedback from right of the
            // block is already in it.
            let error = &target.column(j) - &out;
            for i in 0..j {
                let l_ji = factor.l()[[cols[j], cols[i]]];
                fed.row_mut(i).scaled_add(l_ji, &error);
            }
        }
        Ok(())
    }
}

/// The points `(code - zero) · scale` for the codes `0..=max_code`.
struct Grid {
    scale: f32,
    zero: f32,
    max_code: f32,
}

impl Grid {
    /// The grid from the smallest to the largest of `values`, 0 included, as GPTQ's code has it.
    fn around(values: impl Iterator<Item = f32>, bits: u32) -> Self {
        let max_code = 2.0_f32.powi(bits as i32) - 1.0;
        let (lo, hi) = values.fold((0.0_f32, 0.0_f32), |(lo, hi), x| (lo.min(x), hi.max(x)));
        let scale = f16::from_f32((hi - lo) / max_code)
            .clamp(f16::MIN_POSITIVE_SUBNORMAL, f16::MAX)
            .to_f32();
        Self {
            scale,
            zero: (-lo / scale).round().clamp(0.0, max_code),
            max_code,
        }
    }

    fn nearest(&self, x: f32) -> f32 {
        let code = ((x / self.scale).round() + self.zero).clamp(0.0, self.max_code);
        (code - self.zero) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use nwc_chunk::ndarray::Array2;

    fn loss(weights: &Array2<f32>, coded: &Coded, hessian: &Hessian) -> f64 {
        sample::proxy_loss(weights, coded.reconstruction.view(), hessian)
    }

    #[test]
    fn feedback_lowers_the_proxy_loss() {
        for seed in 0..4 {
            for bits in [3, 4] {
                let (weights, hessian) = sample::layer(24, 192, seed);
                let plain = round_to_nearest(weights.view(), bits).unwrap();
                let fed = gptq(weights.view(), &hessian, bits).unwrap();
                let ratio = loss(&weights, &fed, &hessian) / loss(&weights, &plain, &hessian);
                assert!(ratio < 0.7, "seed {seed}, {bits} bits: {ratio}");
                assert_eq!(plain.bits, fed.bits);
            }
        }
    }

    #[test]
    fn without_correlation_feedback_changes_nothing() {
        let (weights, _) = sample::layer(8, 128, 1);
        let hessian = Hessian::new(Arc::new(Array2::eye(128)), 1).unwrap();
        let fed = gptq(weights.view(), &hessian, 4).unwrap();
        let plain = round_to_nearest(weights.view(), 4).unwrap();
        assert_eq!(fed.reconstruction, plain.reconstruction);
    }

    #[test]
    fn bits_are_those_of_codes_scales_and_zero_points() {
        assert_eq!((group_cols(1536), group_cols(576)), (128, 64));
        assert_eq!((group_cols(100), group_cols(0)), (128, 128));
        // 2 rows of 256: 4 groups.
        assert_eq!(
            stored_bits(2, 256, 4),
            2.0 * 256.0 * 4.0 + 4.0 * (16.0 + 4.0)
        );
        assert_eq!(stored_bits(1, 100, 3), 300.0 + 19.0);
    }

    #[test]
    fn a_group_on_a_grid_comes_back() {
        let weights = Array2::from_shape_fn((3, 128), |(i, j)| ((i + j) % 8) as f32 * 0.25 - 0.75);
        let coded = round_to_nearest(weights.view(), 3).unwrap();
        assert_eq!(coded.reconstruction, weights);
        let zeros = Array2::zeros((2, 130));
        let coded = round_to_nearest(zeros.view(), 3).unwrap();
        assert_eq!(coded.reconstruction, zeros);
    }
}
