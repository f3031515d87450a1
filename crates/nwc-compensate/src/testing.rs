//! What several tests need: a quantiser with a known answer, damping by its definition.

use nwc_chunk::ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::{BlockQuantizer, Hessian, QuantizerError};

/// `H / mean(diag H) + fraction · I`, `[in, in]`, `docs/METHOD.md` 1.6.
pub(crate) fn damped(hessian: &Hessian, fraction: f64) -> Array2<f64> {
    let h = hessian.values().mapv(f64::from);
    let mean = h.diag().sum() / h.nrows().max(1) as f64;
    h / mean + fraction * Array2::<f64>::eye(hessian.dim())
}

/// Rounds every weight to the nearest multiple of a step, ties to even.
pub(crate) struct Rounding {
    pub(crate) step: f32,
}

impl BlockQuantizer for Rounding {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        _cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        let step = self.step;
        reconstruction.assign(&target.mapv(|t| (t / step).round_ties_even() * step));
        Ok(())
    }
}
