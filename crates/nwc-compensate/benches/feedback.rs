//! Cost of the factor and of feedback for the shapes of SmolLM2: 576 and 1536 features.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nwc_chunk::ndarray::{Array2, ArrayView2, ArrayViewMut2};
use nwc_compensate::{
    BlockQuantizer, Hessian, LdlFactor, PAPER_DAMPING, QuantizerError, ldlq, no_feedback,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `[out, in]`: the gate and up projections, the down projection.
const SHAPES: [(usize, usize); 2] = [(1536, 576), (576, 1536)];

fn main() {
    divan::main();
}

fn random(rows: usize, cols: usize) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    Array2::from_shape_fn((rows, cols), |_| rng.random_range(-1.0..1.0))
}

fn hessian(dim: usize) -> Hessian {
    let inputs = random(2 * dim, dim);
    let values = inputs.t().dot(&inputs) / (2 * dim) as f32;
    Hessian::new(Arc::new(values), 2 * dim as u64).expect("a second moment is a Hessian")
}

/// Rounds to quarters: as little work as a quantiser can do.
struct Rounding;

impl BlockQuantizer for Rounding {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        _cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        reconstruction.assign(&target);
        reconstruction.mapv_inplace(|t| 0.25 * rounded(4.0 * t));
        Ok(())
    }
}

/// `x` rounded to a whole number without a call into libm; for |x| below 2^22.
fn rounded(x: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves no room for a fraction
    (x + WHOLE) - WHOLE
}

#[divan::bench(args = [576, 1536], sample_count = 5)]
fn factor(bencher: Bencher<'_, '_>, dim: usize) {
    let hessian = hessian(dim);
    bencher.bench_local(|| LdlFactor::new(black_box(&hessian), PAPER_DAMPING));
}

#[divan::bench(args = SHAPES, consts = [1, 16, 128], sample_count = 10)]
fn feedback<const BLOCK_COLS: usize>(bencher: Bencher<'_, '_>, (rows, cols): (usize, usize)) {
    let weights = random(rows, cols);
    let factor = LdlFactor::new(&hessian(cols), PAPER_DAMPING).expect("it is positive definite");
    bencher
        .counter(ItemsCount::new(rows * cols))
        .bench_local(|| {
            ldlq(
                black_box(weights.view()),
                &factor,
                BLOCK_COLS,
                &mut Rounding,
            )
        });
}

#[divan::bench(args = SHAPES, sample_count = 10)]
fn without_feedback(bencher: Bencher<'_, '_>, (rows, cols): (usize, usize)) {
    let weights = random(rows, cols);
    bencher
        .counter(ItemsCount::new(rows * cols))
        .bench_local(|| no_feedback(black_box(weights.view()), 1, &mut Rounding));
}
