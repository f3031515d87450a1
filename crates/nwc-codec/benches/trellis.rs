//! Weights a second of the trellis codec, one thread: quantise by number of states, encode, decode.
#![allow(clippy::unwrap_used, reason = "a bench may stop where something fails")]

use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::Array2;
use nwc_chunk::Parallelism;
use nwc_codec::trellis::{
    self, FitSample, ScalePrediction, StepFactors, TensorScales, TrellisCodec, TrellisConfig,
    TrellisQuantizer, TrellisSymbols,
};
use rand::{Rng, SeedableRng};

const SIZE: usize = 576;
/// About 3 bits a weight.
const STEP: f32 = 0.26;

fn main() {
    divan::main();
}

fn weights() -> Array2<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    // A sum of uniform deviates is near enough to a normal one.
    Array2::from_shape_simple_fn((SIZE, SIZE), || {
        (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
    })
}

fn setup(n_states: u16) -> (TrellisCodec, TensorScales, Array2<f32>) {
    let weights = weights();
    let scales = TensorScales::uniform(SIZE, SIZE, STEP, 1.0);
    let columns: Vec<usize> = (0..SIZE).step_by(16).collect();
    let sample = FitSample {
        weights: weights.view(),
        scales: &scales,
        columns: &columns,
    };
    let codec = TrellisCodec::fit(TrellisConfig::wide(n_states), &[sample]).unwrap();
    (codec, scales, weights)
}

fn quantized(codec: &TrellisCodec, scales: &TensorScales, columns: &[Vec<f32>]) -> TrellisSymbols {
    let mut quantizer = TrellisQuantizer::new(codec, scales, SIZE, SIZE).unwrap();
    let mut reconstruction = vec![0.0; SIZE];
    for (col, target) in columns.iter().enumerate() {
        quantizer
            .quantize_column(col, target, &mut reconstruction)
            .unwrap();
    }
    quantizer.finish().unwrap()
}

fn columns(weights: &Array2<f32>) -> Vec<Vec<f32>> {
    weights
        .columns()
        .into_iter()
        .map(|column| column.to_vec())
        .collect()
}

#[divan::bench(args = [1, 4, 8, 16, 64, 256])]
fn quantize(bencher: Bencher<'_, '_>, n_states: u16) {
    let (codec, scales, weights) = setup(n_states);
    let columns = columns(&weights);
    bencher
        .counter(ItemsCount::new(SIZE * SIZE))
        .bench_local(|| quantized(&codec, &scales, &columns));
}

#[divan::bench(args = [8, 256])]
fn encode(bencher: Bencher<'_, '_>, n_states: u16) {
    let (codec, scales, weights) = setup(n_states);
    let symbols = quantized(&codec, &scales, &columns(&weights));
    bencher
        .counter(ItemsCount::new(SIZE * SIZE))
        .bench_local(|| trellis::encode(&codec, &scales, &symbols, Parallelism::Serial).unwrap());
}

#[divan::bench(args = [8, 256])]
fn decode(bencher: Bencher<'_, '_>, n_states: u16) {
    let (codec, scales, weights) = setup(n_states);
    let symbols = quantized(&codec, &scales, &columns(&weights));
    let substreams = trellis::encode(&codec, &scales, &symbols, Parallelism::Serial).unwrap();
    let substreams: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    let mut out = Array2::zeros((SIZE, SIZE));
    bencher
        .counter(ItemsCount::new(SIZE * SIZE))
        .bench_local(|| {
            trellis::decode(
                &codec,
                &scales,
                &substreams,
                out.view_mut(),
                Parallelism::Serial,
            )
            .unwrap();
        });
}

/// The gate and up projections and the down projection of SmolLM2, `[out, in]`.
#[divan::bench(args = [(1536, 576), (576, 1536)], sample_count = 10)]
fn scale_prediction(bencher: Bencher<'_, '_>, (rows, cols): (usize, usize)) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let weights = Array2::from_shape_simple_fn((rows, cols), || rng.random_range(-1.0..1.0_f32));
    let factors = StepFactors::allocate(weights.view(), None, None)
        .unwrap()
        .factors;
    bencher
        .counter(ItemsCount::new(rows * cols))
        .bench_local(|| {
            ScalePrediction::fit(divan::black_box(weights.view()), None, &factors, 0.25)
        });
}
