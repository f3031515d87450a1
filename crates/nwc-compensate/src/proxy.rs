//! How much of a layer's output a reconstruction changes.

use nwc_chunk::ndarray::{Array2, ArrayView2, Axis, Slice};

use crate::Result;
use crate::error::check_shape;

/// Columns of the Hessian that are held in f64 at a time.
const PANEL_COLS: usize = 256;

/// `tr(Δ H Δᵀ)` with `Δ = reconstruction − weights`: the output's expected squared error, over all rows.
///
/// `weights` and `reconstruction` are `[out, in]`, `hessian` is `[in, in]` in f32 or f64, of which both
/// triangles are read; its unit is the result's. Summed in f64.
///
/// # Errors
/// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch).
pub fn proxy_loss<T: Copy + Into<f64>>(
    weights: ArrayView2<'_, f32>,
    reconstruction: ArrayView2<'_, f32>,
    hessian: ArrayView2<'_, T>,
) -> Result<f64> {
    let (rows, cols) = weights.dim();
    check_shape("reconstruction", reconstruction.dim(), (rows, cols))?;
    check_shape("hessian", hessian.dim(), (cols, cols))?;
    let mut delta = Array2::<f64>::zeros((rows, cols));
    for ((slot, &w), &r) in delta.iter_mut().zip(weights).zip(reconstruction) {
        *slot = f64::from(r) - f64::from(w);
    }
    let mut loss = 0.0;
    for start in (0..cols).step_by(PANEL_COLS) {
        let panel = Slice::from(start..(start + PANEL_COLS).min(cols));
        let h = hessian.slice_axis(Axis(1), panel).mapv(Into::into);
        let weighted = delta.dot(&h);
        let panel_delta = delta.slice_axis(Axis(1), panel);
        loss += weighted
            .iter()
            .zip(panel_delta)
            .map(|(a, b)| a * b)
            .sum::<f64>();
    }
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::{Array2, array};

    use super::*;

    #[test]
    fn it_is_the_trace() {
        let weights = array![[1.0_f32, 2.0], [0.0, 0.0]];
        let reconstruction = array![[2.0_f32, 1.0], [0.5, 0.0]];
        let hessian = array![[2.0_f32, 1.0], [1.0, 3.0]];
        // (1, −1) weighs 2 + 3 − 2, (0.5, 0) weighs 0.5.
        let loss = proxy_loss(weights.view(), reconstruction.view(), hessian.view()).unwrap();
        assert_eq!(loss, 3.5);
    }

    #[test]
    fn wide_matrices_are_summed_over_all_panels() {
        let cols = 2 * PANEL_COLS + 3;
        let weights = Array2::<f32>::zeros((2, cols));
        let reconstruction = Array2::<f32>::ones((2, cols));
        let hessian = Array2::<f64>::ones((cols, cols));
        let loss = proxy_loss(weights.view(), reconstruction.view(), hessian.view()).unwrap();
        assert_eq!(loss, (2 * cols * cols) as f64);
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let weights = Array2::<f32>::zeros((2, 3));
        let h = Array2::<f32>::zeros((2, 2));
        let err = proxy_loss(weights.view(), weights.view(), h.view()).unwrap_err();
        assert_eq!(err.to_string(), "hessian is 2 x 2, expected 3 x 3");
        let err = proxy_loss(weights.view(), h.view(), h.view()).unwrap_err();
        assert_eq!(err.to_string(), "reconstruction is 2 x 2, expected 2 x 3");
    }
}
