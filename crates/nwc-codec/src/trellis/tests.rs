//! Whole-codec tests: round trips, bad input, closeness to the rate-distortion limit.

use ndarray::{Array2, ArrayView1};
use nwc_chunk::Parallelism;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

use super::*;

/// What one matrix became.
struct Coded {
    reconstruction: Array2<f32>,
    symbols: TrellisSymbols,
    substreams: Vec<Vec<u8>>,
}

fn code(codec: &TrellisCodec, scales: &TensorScales, weights: &Array2<f32>) -> Coded {
    let (rows, cols) = weights.dim();
    let mut quantizer = TrellisQuantizer::new(codec, scales, rows, cols).unwrap();
    let mut reconstruction = Array2::zeros((rows, cols));
    let mut column = vec![0.0; rows];
    for col in (0..cols).rev() {
        quantizer
            .quantize_column(col, &weights.column(col).to_vec(), &mut column)
            .unwrap();
        reconstruction
            .column_mut(col)
            .assign(&ArrayView1::from(&column));
    }
    let symbols = quantizer.finish().unwrap();
    let substreams = encode(codec, scales, &symbols, Parallelism::Rayon).unwrap();
    Coded {
        reconstruction,
        symbols,
        substreams,
    }
}

/// Codes, decodes, and checks that the decoder sees what the quantiser said.
#[track_caller]
fn check(codec: &TrellisCodec, scales: &TensorScales, weights: &Array2<f32>) -> Coded {
    let coded = code(codec, scales, weights);
    let serial = encode(codec, scales, &coded.symbols, Parallelism::Serial).unwrap();
    assert_eq!(
        coded.substreams, serial,
        "bytes depend on the number of threads"
    );
    let substreams: Vec<&[u8]> = coded.substreams.iter().map(Vec::as_slice).collect();
    for parallelism in [Parallelism::Serial, Parallelism::Rayon] {
        let mut decoded = Array2::from_elem(weights.dim(), f32::NAN);
        decode(codec, scales, &substreams, decoded.view_mut(), parallelism).unwrap();
        assert_eq!(decoded, coded.reconstruction);
        let mut transposed = Array2::from_elem((weights.ncols(), weights.nrows()), f32::NAN);
        decode(
            codec,
            scales,
            &substreams,
            transposed.view_mut().reversed_axes(),
            parallelism,
        )
        .unwrap();
        assert_eq!(transposed.t(), coded.reconstruction);
    }
    coded
}

/// Standard normal deviates by Box and Muller.
fn gaussian(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, cols), || {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
    })
}

fn stored_bits(coded: &Coded) -> f64 {
    8.0 * coded.substreams.iter().map(Vec::len).sum::<usize>() as f64
}

fn mean_squared_error(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| f64::from(a - b).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

/// Gap in bits a weight between a codec fitted to normal deviates and D(R) = 2^-2R, stored bytes.
fn gap(n_states: u16, step: f32) -> (f64, f64) {
    let weights = gaussian(512, 512, 7);
    let scales = TensorScales::uniform(512, 512, step, 1.0);
    let columns: Vec<_> = (0..512).step_by(8).collect();
    let sample = FitSample {
        weights: weights.view(),
        scales: &scales,
        columns: &columns,
    };
    let codec = TrellisCodec::fit(TrellisConfig::wide(n_states), &[sample]).unwrap();
    let coded = check(&codec, &scales, &weights);
    let rate = stored_bits(&coded) / weights.len() as f64;
    let limit = -0.5 * mean_squared_error(&weights, &coded.reconstruction).log2();
    (rate, rate - limit)
}

/// Measured at 1024 × 1024 by `examples/gaussian_gap.rs`: 0.08 and 0.10 bit; a quarter of the weights adds the
/// substream's overhead and noise.
#[test]
fn close_to_the_rate_distortion_limit() {
    for (n_states, most) in [(4, 0.115), (8, 0.10)] {
        let (rate, gap) = gap(n_states, 0.35);
        assert!((2.2..3.3).contains(&rate), "{rate}");
        assert!(gap < most, "{n_states} states: {gap} at {rate}");
    }
}

#[test]
fn odd_matrices_round_trip() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(8)).unwrap();
    let uniform = |weights: &Array2<f32>, step| {
        TensorScales::uniform(weights.nrows(), weights.ncols(), step, 4.0 * step)
    };
    let mut outlier = gaussian(40, 3, 1);
    outlier[[17, 1]] = 1e6;
    let mut sparse = gaussian(9, 40, 2);
    sparse.row_mut(3).fill(0.0);
    sparse.column_mut(39).fill(0.0);
    for weights in [
        Array2::zeros((0, 0)),
        Array2::zeros((5, 0)),
        Array2::zeros((0, 5)),
        Array2::zeros((33, 65)),
        Array2::from_elem((7, 31), 0.125),
        Array2::from_elem((1, 1), -3e30),
        gaussian(1, 100, 3),
        gaussian(100, 1, 3),
        outlier.clone(),
        sparse,
    ] {
        let scales = uniform(&weights, 0.25);
        let coded = check(&codec, &scales, &weights);
        let zeros = weights
            .iter()
            .zip(&coded.reconstruction)
            .filter(|(w, _)| **w == 0.0);
        // Under a table for scale 4 the odd class has no zero, but nothing is far.
        assert!(zeros.into_iter().all(|(_, r)| r.abs() <= 0.5));
    }
    let coded = check(&codec, &uniform(&outlier, 0.25), &outlier);
    assert!(
        (coded.reconstruction[[17, 1]] - 1e6).abs() < 1.0,
        "an escape holds the outlier"
    );
}

#[test]
fn many_substreams_decode_alike() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(4)).unwrap();
    let weights = gaussian(5000, 150, 4);
    let coded = check(
        &codec,
        &TensorScales::uniform(5000, 150, 0.5, 1.0),
        &weights,
    );
    assert_eq!(coded.substreams.len(), 2);
    assert_eq!(substream_columns(5000, 150), [0..64, 64..150]);
    assert_eq!(substream_columns(0, 9), []);
    assert_eq!(substream_columns(9, 0), []);
    assert_eq!(substream_columns(usize::MAX, 40), [0..32, 32..40]);
}

#[test]
fn stored_bytes_are_the_ideal_bits() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(8)).unwrap();
    let weights = gaussian(300, 200, 5);
    let scales = TensorScales::uniform(300, 200, 0.5, 1.0);
    let coded = check(&codec, &scales, &weights);
    let ideal = ideal_bits(&codec, &scales, &coded.symbols).unwrap();
    let stored = stored_bits(&coded);
    assert!(
        ideal <= stored && stored < 1.01 * ideal + 1024.0,
        "{stored} {ideal}"
    );
}

#[test]
fn refitting_to_the_symbols_saves_bits_and_keeps_values() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(8)).unwrap();
    let weights = gaussian(300, 200, 6).mapv(|w| w * w * w);
    let scales = TensorScales::uniform(300, 200, 0.5, 3.0);
    let coded = check(&codec, &scales, &weights);
    let mut counts = SymbolCounts::new(&codec);
    counts.add(&codec, &scales, &coded.symbols).unwrap();
    let refitted = codec.with_counts(&counts).unwrap();
    let before = ideal_bits(&codec, &scales, &coded.symbols).unwrap();
    let after = ideal_bits(&refitted, &scales, &coded.symbols).unwrap();
    assert!(after < 0.9 * before, "{after} {before}");
    let substreams = encode(&refitted, &scales, &coded.symbols, Parallelism::Serial).unwrap();
    let substreams: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    let mut decoded = Array2::zeros((300, 200));
    decode(
        &refitted,
        &scales,
        &substreams,
        decoded.view_mut(),
        Parallelism::Serial,
    )
    .unwrap();
    assert_eq!(decoded, coded.reconstruction);
}

#[test]
fn codec_file_round_trips() {
    for n_states in N_STATES {
        let codec = TrellisCodec::parametric(TrellisConfig::wide(n_states as u16)).unwrap();
        let bytes = codec.to_bytes().unwrap();
        let read = TrellisCodec::from_bytes(&bytes).unwrap();
        assert_eq!(read.to_bytes().unwrap(), bytes);
        assert_eq!(read.config(), codec.config());
        assert!(matches!(
            crate::Codec::from_bytes(&bytes),
            Ok(crate::Codec::Trellis(_))
        ));
    }
}
