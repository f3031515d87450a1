//! Made-up weight matrices for tests and demonstrations.

use nwc_chunk::ndarray::Array2;
use nwc_codec::standard_normal;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A matrix `[rows, cols]` of independent N(0, 1) weights.
pub fn gaussian_matrix(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, cols), || standard_normal(&mut rng))
}

/// A matrix `[rows, cols]` whose columns are Gaussian with scales spread over a factor of about four.
///
/// Its weights taken together have heavier tails than a Gaussian's, as those of real layers have.
pub fn gaussian_mixture_matrix(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scales: Vec<f32> = (0..cols)
        .map(|_| (0.4 * standard_normal(&mut rng)).exp())
        .collect();
    Array2::from_shape_fn((rows, cols), |(_, col)| {
        scales[col] * standard_normal(&mut rng)
    })
}
