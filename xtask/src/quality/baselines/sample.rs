//! Seeded matrices for the tests of the baselines.

use std::f32::consts::TAU;

use nwc_chunk::ndarray::Array2;
use nwc_compensate::Hessian;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Standard Gaussians.
pub(super) fn gaussian(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_fn((rows, cols), |_| {
        let (u, v): (f32, f32) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
    })
}

/// Gaussian weights, and the Hessian of inputs that are strongly correlated.
pub(super) fn layer(rows: usize, cols: usize, seed: u64) -> (Array2<f32>, Hessian) {
    let n_tokens = 4 * cols;
    let mixing = gaussian(cols / 4, cols, seed + 1000);
    let noise = gaussian(n_tokens, cols, seed + 2000) * 0.5;
    let inputs = gaussian(n_tokens, cols / 4, seed + 3000).dot(&mixing) + noise;
    let inputs = inputs.mapv(f64::from);
    let second_moment = inputs.t().dot(&inputs) / n_tokens as f64;
    let hessian = Hessian::from_f64(second_moment.view(), n_tokens as u64).unwrap();
    (gaussian(rows, cols, seed), hessian)
}
