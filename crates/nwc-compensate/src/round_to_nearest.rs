//! Rounding to the nearest multiple of a row's step: the quantiser with a known answer.

use nwc_chunk::ndarray::{ArrayView2, ArrayViewMut2};

use crate::error::{check_len, check_shape, check_step};
use crate::{BlockQuantizer, QuantizerError, Result};

/// Rounds every weight of row `i` to the nearest multiple of `steps[i]`, ties to even; keeps nothing.
///
/// For tests and baselines. [`EntropyScalar`](crate::EntropyScalar) also counts what its symbols would cost.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundToNearest {
    /// Invariant: each finite and above 0.
    steps: Vec<f32>,
    n_cols: usize,
}

impl RoundToNearest {
    /// A quantiser of matrices `[steps.len(), n_cols]`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) for a step that is not finite and above 0.
    pub fn new(steps: Vec<f32>, n_cols: usize) -> Result<Self> {
        for &step in &steps {
            check_step("step of a row", step)?;
        }
        Ok(Self { steps, n_cols })
    }
}

impl BlockQuantizer for RoundToNearest {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        check_block(target.dim(), cols, (self.steps.len(), self.n_cols))?;
        for (col, mut out) in target
            .columns()
            .into_iter()
            .zip(reconstruction.columns_mut())
        {
            for ((slot, &t), &step) in out.iter_mut().zip(col).zip(&self.steps) {
                *slot = round_ties_even(t / step) * step;
            }
        }
        Ok(())
    }
}

/// `x.round_ties_even()`, the same bits, without a call into libm where the target has no instruction for it.
pub(crate) fn round_ties_even(x: f32) -> f32 {
    const WHOLE: f32 = 8_388_608.0; // 2^23: from here on every f32 is a whole number
    if x.abs() < WHOLE {
        ((x.abs() + WHOLE) - WHOLE).copysign(x)
    } else {
        x
    }
}

/// Refuses a block that is not of a matrix of shape `matrix`.
pub(crate) fn check_block(
    found: (usize, usize),
    cols: &[usize],
    matrix: (usize, usize),
) -> Result<()> {
    check_shape("block", found, (matrix.0, cols.len()))?;
    if let Some(&col) = cols.iter().find(|&&col| col >= matrix.1) {
        check_len("row of the quantised matrix", col + 1, matrix.1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::array;

    use super::*;
    use crate::no_feedback;

    #[test]
    fn each_row_has_its_step() {
        let mut quantizer = RoundToNearest::new(vec![1.0, 0.25], 3).unwrap();
        let weights = array![[0.4, 0.6, -1.5], [0.4, 0.6, -1.5]];
        let rounded = no_feedback(weights.view(), 2, &mut quantizer).unwrap();
        assert_eq!(rounded, array![[0.0, 1.0, -2.0], [0.5, 0.5, -1.5]]);
    }

    #[test]
    fn rounding_is_that_of_the_standard_library() {
        // Every 4099th bit pattern, and the ties around 0 and around 2^22.
        let ties = (-40..40).flat_map(|k| [k as f32 / 4.0, 4_194_304.0 + k as f32 / 2.0]);
        for x in (0..=u32::MAX).step_by(4099).map(f32::from_bits).chain(ties) {
            assert!(
                round_ties_even(x).to_bits() == x.round_ties_even().to_bits() || x.is_nan(),
                "{x}"
            );
        }
    }

    #[test]
    fn bad_steps_and_shapes_are_refused() {
        for step in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(RoundToNearest::new(vec![1.0, step], 1).is_err());
        }
        let mut quantizer = RoundToNearest::new(vec![1.0], 2).unwrap();
        for weights in [array![[1.0], [2.0]], array![[1.0, 2.0, 3.0]]] {
            assert!(no_feedback(weights.view(), 1, &mut quantizer).is_err());
        }
    }
}
