//! Seeded matrices for tests.

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_compensate::Hessian;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Standard Gaussians.
pub(crate) fn gaussian(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, cols), || rng.sample(StandardNormal))
}

/// Gaussian weights, and the Hessian of inputs that are strongly correlated.
pub(crate) fn layer(rows: usize, cols: usize, seed: u64) -> (Array2<f32>, Hessian) {
    let n_tokens = 4 * cols;
    let mixing = gaussian(cols / 4, cols, seed + 1000);
    let noise = gaussian(n_tokens, cols, seed + 2000) * 0.5;
    let inputs = gaussian(n_tokens, cols / 4, seed + 3000).dot(&mixing) + noise;
    let second_moment = inputs.t().dot(&inputs) / n_tokens as f32;
    let hessian = Hessian::new(second_moment.into(), n_tokens as u64).unwrap();
    (gaussian(rows, cols, seed), hessian)
}

/// `tr(Δ H Δᵀ)` of a reconstruction: the expected squared error of the layer's output.
pub(crate) fn proxy_loss(
    weights: &Array2<f32>,
    reconstruction: ArrayView2<'_, f32>,
    hessian: &Hessian,
) -> f64 {
    let delta = (&reconstruction - weights).mapv(f64::from);
    let hessian = hessian.values().mapv(f64::from);
    (&delta.dot(&hessian) * &delta).sum()
}
