//! Whole-codec tests: round trips, bad input, closeness to the rate-distortion limit.

use std::sync::Arc;

use ndarray::{Array2, ArrayView1};
use nwc_chunk::{Parallelism, ZeroMask};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

use super::quantizer::SequenceQuantizer;
use super::stream::substream_columns;
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

/// A matrix of which half is zero takes half of the bits, and what is left is as close as in a whole one.
#[test]
fn marked_zeros_cost_nothing() {
    let whole = gaussian(512, 256, 3);
    let scales = TensorScales::uniform(512, 256, 0.25, 1.0);
    let mut sparse = whole.clone();
    for ((row, col), w) in sparse.indexed_iter_mut() {
        if (row * 7 + col * 3 + row * col) % 4 < 2 {
            *w = 0.0;
        }
    }
    let zeros = ZeroMask::of(sparse.view());
    let kept = zeros.n_kept() as f64 / whole.len() as f64;
    let columns: Vec<_> = (0..256).collect();
    let code_all = |weights: &Array2<f32>, scales: &TensorScales| {
        let sample = FitSample {
            weights: weights.view(),
            scales,
            columns: &columns,
        };
        let codec = TrellisCodec::fit(TrellisConfig::wide(8), &[sample]).unwrap();
        let coded = check(&codec, scales, weights);
        let ideal = ideal_bits(&codec, scales, &coded.symbols).unwrap();
        assert!((stored_bits(&coded) / ideal - 1.0).abs() < 0.02);
        (
            stored_bits(&coded),
            mean_squared_error(weights, &coded.reconstruction),
        )
    };
    let (whole_bits, whole_error) = code_all(&whole, &scales);
    let masked = scales.with_zeros(Some(Arc::new(zeros)));
    let (bits, error) = code_all(&sparse, &masked);
    assert!(
        (bits / (kept * whole_bits) - 1.0).abs() < 0.02,
        "{bits} of {whole_bits}"
    );
    assert!(
        (error / (kept * whole_error) - 1.0).abs() < 0.05,
        "{error} {whole_error}"
    );
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

/// Entropy and squared error of the scalar quantiser of that step with centroids on N(0, 1).
fn scalar_quantiser(step: f64) -> (f64, f64) {
    const PIECES: usize = 64;
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let last = (9.0 / step).ceil() as i64;
    let (mut entropy, mut energy) = (0.0, 0.0);
    for cell in -last..=last {
        let (mut mass, mut moment) = (0.0, 0.0);
        for piece in 0..PIECES {
            let x = step * (cell as f64 - 0.5 + (piece as f64 + 0.5) / PIECES as f64);
            mass += density(x) * step / PIECES as f64;
            moment += x * density(x) * step / PIECES as f64;
        }
        if mass > 0.0 {
            entropy -= mass * mass.log2();
            energy += moment * moment / mass;
        }
    }
    (entropy, 1.0 - energy)
}

/// The oracle values of `docs/METHOD.md` 2.1.
#[test]
fn scalar_quantiser_is_the_known_one() {
    for (rate, step, mse) in [
        (2.0, 1.0824, 0.088941),
        (3.0, 0.5224, 0.022239),
        (4.0, 0.2590, 0.0055597),
        (5.0, 0.1292, 0.0013899),
        (6.0, 0.0646, 0.00034748),
    ] {
        let (found_rate, found_mse) = scalar_quantiser(step);
        assert!((found_rate - rate).abs() < 1e-3, "{found_rate} {rate}");
        assert!((found_mse / mse - 1.0).abs() < 1e-3, "{found_mse} {mse}");
    }
}

/// One state is the entropy-coded scalar quantiser: what the coder stores agrees with the integrals.
#[test]
fn one_state_is_the_scalar_quantiser() {
    let weights = gaussian(512, 512, 8);
    // Two steps apart are the points of one class.
    let scales = TensorScales::uniform(512, 512, 0.5224 / 2.0, 1.0);
    let config = TrellisConfig {
        lagrangian: 0.0,
        ..TrellisConfig::wide(1)
    };
    let codec = TrellisCodec::parametric(config).unwrap();
    let coded = check(&codec, &scales, &weights);
    let (rate, centroid_mse) = scalar_quantiser(0.5224);
    let mse = mean_squared_error(&weights, &coded.reconstruction);
    // Points at the middle of a cell instead of its centroid: no more than 2 % worse at 3 bits.
    assert!(
        (1.0..1.03).contains(&(mse / centroid_mse)),
        "{mse} {centroid_mse}"
    );
    let mut counts = SymbolCounts::new(&codec);
    counts.add(&codec, &scales, &coded.symbols).unwrap();
    let fitted = codec.with_counts(&counts).unwrap();
    let bits = ideal_bits(&fitted, &scales, &coded.symbols).unwrap() / weights.len() as f64;
    assert!((bits - rate).abs() < 5e-3, "{bits} {rate}");
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
    check_substreams(2, 5000, 150).unwrap();
    // As a file may claim; counted without a list of them.
    let error = check_substreams(2, 1 << 13, 1 << 35).unwrap_err();
    let expected = "number of substreams is 2, expected 1073741824";
    assert_eq!(error.to_string(), expected);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_matrix_round_trips(
        (rows, cols) in (0_usize..40, 0_usize..70),
        seed in any::<u64>(),
        n_states in proptest::sample::select(N_STATES.to_vec()),
        exponent in -10.0_f32..10.0,
    ) {
        let config = TrellisConfig { n_buckets: 30, ..TrellisConfig::wide(n_states as u16) };
        let codec = TrellisCodec::parametric(config).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut exponents = |n: usize| (0..n).map(|_| rng.random_range(-8..8)).collect::<Vec<i8>>();
        let scales = TensorScales {
            tensor_step: exponent.exp2(),
            row_step: exponents(rows),
            col_step: exponents(cols),
            row_rms: exponents(rows),
            col_rms: exponents(cols),
            zeros: None,
        };
        let mut weights = gaussian(rows, cols, seed);
        check(&codec, &scales, &weights);
        // The same with zeros, more in some columns than in others.
        let share = |col: usize| [0.0, 0.1, 0.5, 0.9, 1.0][col % 5];
        for ((_, col), w) in weights.indexed_iter_mut() {
            if rng.random_bool(share(col)) {
                *w = 0.0;
            }
        }
        let zeros = ZeroMask::of(weights.view());
        let scales = scales.with_zeros(Some(Arc::new(zeros)));
        let coded = check(&codec, &scales, &weights);
        for (at, &w) in weights.indexed_iter() {
            prop_assert!(w != 0.0 || coded.reconstruction[at] == 0.0);
        }
    }

    #[test]
    fn arbitrary_substreams_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        (rows, cols) in (1_usize..20, 1_usize..40),
    ) {
        let codec = TrellisCodec::parametric(TrellisConfig::wide(8)).unwrap();
        let scales = TensorScales::uniform(rows, cols, 1.0, 2.0);
        let mut weights = Array2::zeros((rows, cols));
        let _ = decode(&codec, &scales, &[&bytes], weights.view_mut(), Parallelism::Serial);
    }

    #[test]
    fn damaged_codec_files_never_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let config = TrellisConfig { n_buckets: 3, ..TrellisConfig::wide(4) };
        let mut bytes = TrellisCodec::parametric(config).unwrap().to_bytes().unwrap();
        let len = bytes.len();
        bytes[at.index(len)] = byte;
        let _ = TrellisCodec::from_bytes(&bytes);
        let _ = TrellisCodec::from_bytes(&bytes[..cut.index(len)]);
    }
}

#[test]
fn misuse_is_refused() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(4)).unwrap();
    let scales = TensorScales::uniform(3, 2, 1.0, 1.0);
    assert!(matches!(
        TrellisQuantizer::new(&codec, &scales, 2, 2),
        Err(Error::ShapeMismatch { .. })
    ));
    let mut quantizer = TrellisQuantizer::new(&codec, &scales, 3, 2).unwrap();
    let mut out = [0.0; 3];
    let mut quantize = |col, target: &[f32]| quantizer.quantize_column(col, target, &mut out);
    quantize(1, &[1.0, -2.0, 0.3]).unwrap();
    assert!(matches!(
        quantize(1, &[0.0; 3]),
        Err(Error::Column { col: 1, cols: 2 })
    ));
    assert!(matches!(
        quantize(2, &[0.0; 3]),
        Err(Error::Column { col: 2, cols: 2 })
    ));
    assert!(matches!(
        quantize(0, &[0.0; 4]),
        Err(Error::ShapeMismatch { what: "target", .. })
    ));
    assert!(matches!(
        quantize(0, &[0.0, f32::NAN, 0.0]),
        Err(Error::NotFinite { row: 1, col: 0, .. })
    ));
    assert!(matches!(
        quantizer.finish(),
        Err(Error::Unfinished {
            found: 1,
            expected: 2
        })
    ));

    let mut sequence = SequenceQuantizer::new(&codec);
    let mut run = |values: &[f32], table: u16| {
        sequence.quantize(values, &[table; 2], &mut [0; 2], &mut [0.0; 2])
    };
    run(&[0.4, -7.0], codec.first_table(0)).unwrap();
    assert!(matches!(run(&[0.4], 0), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(
        run(&[0.4, f32::INFINITY], 0),
        Err(Error::NotFinite { row: 1, .. })
    ));
    assert!(matches!(
        run(&[0.4, 0.4], 113),
        Err(Error::ShapeMismatch {
            what: "first table of a bucket",
            ..
        })
    ));

    let mut weights = Array2::zeros((3, 2));
    let mut decode_streams = |streams: &[&[u8]]| {
        decode(
            &codec,
            &scales,
            streams,
            weights.view_mut(),
            Parallelism::Serial,
        )
    };
    assert!(matches!(
        decode_streams(&[]),
        Err(Error::ShapeMismatch {
            found: 0,
            expected: 1,
            ..
        })
    ));
    assert!(matches!(
        decode_streams(&[&[1, 2]]),
        Err(Error::Substream { substream: 0, .. })
    ));
    let column = FitSample {
        weights: weights.view(),
        scales: &scales,
        columns: &[2],
    };
    assert!(matches!(
        TrellisCodec::fit(TrellisConfig::wide(4), &[column]),
        Err(Error::Column { col: 2, cols: 2 })
    ));
}
