//! The codec as a whole: against scalar quantisation's known figures, against itself, and against bad files.

use nwc_chunk::ndarray::{Array2, s};
use nwc_chunk::{Parallelism, QualityLevel};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::freeze::{SymbolHistogram, count_symbols, freeze_from_counts};
use super::*;
use crate::{Codec, CodecConfig, Error};

/// Chunks of N(0, 1) weights, `[n_chunks, chunk_len]`.
pub(super) fn normal_chunks(n_chunks: usize, chunk_len: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((n_chunks, chunk_len), || standard_normal(&mut rng))
}

pub(super) fn mixed_levels(n_chunks: usize, n_levels: usize) -> Vec<QualityLevel> {
    (0..n_chunks)
        .map(|i| QualityLevel((i * 7 % n_levels) as u8))
        .collect()
}

/// A codec with every parameter alive, and tables that fit what it makes of N(0, 1).
pub(super) fn random_codec(config: CodecConfig, seed: u64) -> NeuralCodec {
    let n_levels = config.n_quality_levels();
    let mut parameters = random_parameters(&config, seed).unwrap();
    // Larger latents than the initialisation gives, so that more than one symbol occurs.
    parameters
        .get_mut("encoder.output.weight")
        .unwrap()
        .mapv_inplace(|x| x * 8.0);
    let medians = parameters.get_mut("median").unwrap();
    medians
        .iter_mut()
        .enumerate()
        .for_each(|(i, m)| *m = (i % 5) as f32 * 0.07);
    let tables = freeze_from_pmf(&config, |_, _, _| (-8, vec![1.0 / 17.0; 17])).unwrap();
    let codec =
        NeuralCodec::new(config.clone(), parameters.clone(), tables, String::new()).unwrap();
    let chunks = normal_chunks(2000, config.chunk_len, seed + 1);
    let levels = mixed_levels(2000, n_levels);
    let coded = codec
        .quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)
        .unwrap();
    let histograms = count_symbols(&config, coded.symbols.view(), &levels).unwrap();
    let tables = freeze_from_counts(&histograms).unwrap();
    NeuralCodec::new(config, parameters, tables, r#"{"n_steps":0}"#.into()).unwrap()
}

pub(super) fn mean_squared_error(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

/// Codes and decodes `chunks`, checks that it comes back, and gives the mean squared error and the bits a
/// weight, stored and ideal.
#[track_caller]
fn check_round_trip(
    codec: &NeuralCodec,
    chunks: &Array2<f32>,
    levels: &[QualityLevel],
) -> (f64, f64, f64) {
    let coded = codec
        .quantize_columns(chunks.view(), levels, 1, Parallelism::Rayon)
        .unwrap();
    let serial = codec
        .quantize_columns(chunks.view(), levels, 1, Parallelism::Serial)
        .unwrap();
    assert_eq!(coded, serial);
    let symbols = coded.symbols.view();
    let substreams = codec
        .encode_columns(symbols, levels, 1, Parallelism::Rayon)
        .unwrap();
    assert_eq!(
        codec
            .encode_columns(symbols, levels, 1, Parallelism::Serial)
            .unwrap(),
        substreams
    );
    let slices: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    for parallelism in [Parallelism::Serial, Parallelism::Rayon] {
        let decoded = codec
            .decode_columns(&slices, levels, 1, parallelism)
            .unwrap();
        assert_eq!(decoded, coded.symbols);
        let chunks = codec
            .synthesize(decoded.view(), levels, parallelism)
            .unwrap();
        assert_eq!(chunks, coded.reconstruction);
    }
    let n_weights = chunks.len().max(1) as f64;
    let n_bytes: usize = substreams.iter().map(Vec::len).sum();
    let ideal = codec.ideal_bits(symbols, levels).unwrap();
    let error = mean_squared_error(chunks, &coded.reconstruction);
    (error, n_bytes as f64 * 8.0 / n_weights, ideal / n_weights)
}

#[test]
fn identity_is_scalar_quantisation_with_its_known_figures() {
    // `docs/METHOD.md` 2.1: steps of 2, 3, 4 and 5 bits. Reconstruction at the middle of each
    // interval, not at its centroid, leaves step² / 12: 0.0227 where the table of centroids has 0.0222.
    let steps = [1.0824, 0.5224, 0.2590, 0.1292];
    let expected = [
        (0.09763, 2.0),
        (0.02274, 3.0),
        (0.00559, 4.0),
        (0.001391, 5.0),
    ];
    for config in [CodecConfig::small(300.0), CodecConfig::tiny(300.0)] {
        let codec = NeuralCodec::identity(config, &steps).unwrap();
        let chunk_len = codec.config().chunk_len;
        let chunks = normal_chunks((1 << 19) / chunk_len, chunk_len, 1);
        for (level, (mse, bits)) in expected.into_iter().enumerate() {
            let levels = vec![QualityLevel(level as u8); chunks.nrows()];
            let (found_mse, stored, ideal) = check_round_trip(&codec, &chunks, &levels);
            assert!(
                (found_mse / mse - 1.0).abs() < 0.01,
                "level {level}: mse {found_mse}, {mse}"
            );
            assert!(
                (ideal - bits).abs() < 0.01,
                "level {level}: {ideal} bits, {bits}"
            );
            assert!(
                stored < ideal * 1.002,
                "level {level}: stored {stored}, ideal {ideal}"
            );
        }
    }
}

#[test]
fn identity_rounds_each_weight() {
    let codec = NeuralCodec::identity(CodecConfig::small(30.0), &[1.0, 0.5, 0.25, 0.125]).unwrap();
    let chunks = normal_chunks(300, 16, 2);
    let levels = mixed_levels(300, 4);
    let coded = codec
        .quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)
        .unwrap();
    for (idx, (chunk, level)) in chunks.rows().into_iter().zip(&levels).enumerate() {
        let step = 0.5f32.powi(i32::from(level.0));
        for (channel, &weight) in chunk.iter().enumerate() {
            let exact = weight / step;
            let symbol = coded.symbols[[idx, channel]] as f32;
            assert!((symbol - exact).abs() < 0.5001, "{symbol} {exact}");
            let decoded = coded.reconstruction[[idx, channel]];
            assert!(
                (decoded - symbol * step).abs() <= 1e-5 * decoded.abs(),
                "{decoded}"
            );
        }
    }
}

#[test]
fn training_starts_at_scalar_quantisation() {
    let config = CodecConfig::small(10_000.0);
    let steps = [0.05; 4];
    let identity = NeuralCodec::identity(config.clone(), &steps).unwrap();
    let parameters = initial_parameters(&config, &steps, 3).unwrap();
    let start =
        NeuralCodec::new(config, parameters, identity.tables().clone(), String::new()).unwrap();
    let chunks = normal_chunks(20_000, 16, 4);
    let levels = mixed_levels(20_000, 4);
    let error = |codec: &NeuralCodec| {
        let coded = codec
            .quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)
            .unwrap();
        mean_squared_error(&chunks, &coded.reconstruction)
    };
    let (exact, started) = (error(&identity), error(&start));
    assert!(started < 1.001 * exact, "{started} {exact}");
    assert!(started != exact, "the random part is dead");
}

#[test]
fn odd_shapes_go_round() {
    let odd = |chunk_len, latent_dim, width, n_blocks, shared| CodecConfig {
        chunk_len,
        latent_dim,
        width,
        n_blocks,
        shared_quality_embedding: shared,
        ..CodecConfig::tiny(30.0)
    };
    let configs = [
        odd(16, 16, 64, 2, false),
        odd(3, 5, 7, 1, true),
        odd(1, 1, 1, 0, true),
        odd(5, 2, 33, 3, false),
        odd(2, 9, 600, 1, true),
    ];
    for config in configs {
        let chunk_len = config.chunk_len;
        let codec = random_codec(config, 5);
        for n_chunks in [0, 1, 63, 257, 600] {
            let chunks = normal_chunks(n_chunks, chunk_len, 6);
            check_round_trip(&codec, &chunks, &mixed_levels(n_chunks, 4));
        }
    }
}

#[test]
fn a_chunk_does_not_depend_on_its_neighbours() {
    for config in [
        CodecConfig::small(30.0),
        CodecConfig::tiny(30.0),
        CodecConfig::paper(30.0),
    ] {
        let codec = random_codec(config, 7);
        let chunks = normal_chunks(300, codec.config().chunk_len, 8);
        let levels = mixed_levels(300, 4);
        let whole = codec
            .quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)
            .unwrap();
        for (from, to) in [(0, 1), (5, 70), (299, 300), (100, 300)] {
            let part = chunks.slice(s![from..to, ..]);
            let part = codec
                .quantize_columns(part, &levels[from..to], 1, Parallelism::Serial)
                .unwrap();
            assert_eq!(part.symbols, whole.symbols.slice(s![from..to, ..]));
            assert_eq!(
                part.reconstruction,
                whole.reconstruction.slice(s![from..to, ..])
            );
        }
    }
}

#[test]
fn many_substreams_decode_alone() {
    let codec = NeuralCodec::identity(CodecConfig::tiny(30.0), &[1.0; 4]).unwrap();
    let n_chunks = (3 << 16) + 77;
    let chunks = normal_chunks(n_chunks, 4, 9);
    codec.check_substreams(4, n_chunks, 1).unwrap();
    assert!(codec.check_substreams(3, n_chunks, 1).is_err());
    check_round_trip(&codec, &chunks, &mixed_levels(n_chunks, 4));
}

#[test]
fn wild_weights_are_coded_or_refused() {
    let codec = NeuralCodec::identity(CodecConfig::small(30.0), &[0.5; 4]).unwrap();
    let mut chunks = normal_chunks(600, 16, 10);
    let levels = mixed_levels(600, 4);
    chunks[[7, 3]] = 1e20;
    chunks[[8, 3]] = -3e5;
    let coded = codec.quantize_columns(chunks.view(), &levels, 1, Parallelism::Rayon);
    // 1e20 squared is beyond f32, and LayerNorm makes nothing of it: what is left is the residual path.
    let coded = coded.unwrap();
    assert_eq!(coded.symbols[[7, 3]], i32::MAX);
    assert_eq!(coded.symbols[[8, 3]], -600_000);
    check_round_trip(&codec, &chunks, &levels);
    for value in [f32::NAN, f32::INFINITY] {
        chunks[[555, 0]] = value;
        chunks[[300, 15]] = f32::NAN;
        for parallelism in [Parallelism::Serial, Parallelism::Rayon] {
            let error = codec
                .quantize_columns(chunks.view(), &levels, 1, parallelism)
                .unwrap_err();
            assert!(
                matches!(error, Error::NotANumber { chunk_idx: 300 }),
                "{error}"
            );
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let codec = NeuralCodec::identity(CodecConfig::tiny(30.0), &[0.5; 4]).unwrap();
    let chunks = normal_chunks(3, 4, 11);
    let levels = [QualityLevel(0); 3];
    let serial = Parallelism::Serial;
    let shape = |error: Error| assert!(matches!(error, Error::Shape { .. }), "{error}");
    shape(
        codec
            .quantize_columns(chunks.view(), &levels[..2], 1, serial)
            .unwrap_err(),
    );
    shape(
        codec
            .quantize_columns(chunks.slice(s![.., ..3]), &levels, 1, serial)
            .unwrap_err(),
    );
    let symbols = Array2::zeros((3, 5));
    shape(
        codec
            .synthesize(symbols.view(), &levels, serial)
            .unwrap_err(),
    );
    shape(
        codec
            .encode_columns(symbols.view(), &levels, 1, serial)
            .unwrap_err(),
    );
    shape(codec.ideal_bits(symbols.view(), &levels).unwrap_err());
    let bad = [QualityLevel(0), QualityLevel(4), QualityLevel(0)];
    let error = codec
        .quantize_columns(chunks.view(), &bad, 1, serial)
        .unwrap_err();
    let expected = "chunk 1 asks for quality level 4, the codec has 4";
    assert_eq!(error.to_string(), expected);
    let error = codec.decode_columns(&[], &levels, 1, serial).unwrap_err();
    assert_eq!(error.to_string(), "found 0 substreams, 1 code 3 chunks");
    let error = codec
        .decode_columns(&[&[1, 2, 3]], &levels, 1, serial)
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Substream {
                substream_idx: 0,
                ..
            }
        ),
        "{error}"
    );
    let tables = freeze_from_counts(&[SymbolHistogram::default()]).unwrap();
    let parameters = codec.parameters().clone();
    let error = NeuralCodec::new(codec.config().clone(), parameters, tables, String::new());
    let expected = "codec has 1 tables, expected 16";
    assert_eq!(error.unwrap_err().to_string(), expected);
    for (steps, config) in [
        (vec![0.5; 3], CodecConfig::tiny(30.0)),
        (vec![0.5, 0.5, 0.5, -1.0], CodecConfig::tiny(30.0)),
        (vec![0.5, 0.5, 0.5, 0.4], CodecConfig::paper(30.0)),
        (
            vec![0.5; 4],
            CodecConfig {
                width: 3,
                ..CodecConfig::tiny(30.0)
            },
        ),
    ] {
        let error = NeuralCodec::identity(config, &steps).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
}

#[test]
fn a_codec_file_goes_round() {
    for config in [CodecConfig::tiny(0.1), CodecConfig::small(300.0)] {
        let codec = random_codec(config, 12);
        let bytes = codec.to_bytes().unwrap();
        let read = NeuralCodec::from_bytes(&bytes).unwrap();
        assert_eq!(read.config(), codec.config());
        assert_eq!(read.parameters(), codec.parameters());
        assert_eq!(read.training_json(), codec.training_json());
        assert_eq!(read.to_bytes().unwrap(), bytes);
        assert_eq!(
            Codec::from_bytes(&bytes).unwrap().to_bytes().unwrap(),
            bytes
        );
    }
}

/// Replaces `from` by `to`, of the same length, in the header of a codec file.
#[track_caller]
fn check_file(from: &str, to: &str, expected: &str) {
    assert_eq!(from.len(), to.len());
    let codec = NeuralCodec::identity(CodecConfig::tiny(30.0), &[0.5; 4]).unwrap();
    let mut bytes = codec.to_bytes().unwrap();
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    bytes[at.unwrap()..][..from.len()].copy_from_slice(to.as_bytes());
    let error = NeuralCodec::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn wrong_files_are_refused() {
    let version = "codec file is of version 7, this program reads version 1";
    check_file(r#"version":"1""#, r#"version":"7""#, version);
    check_file(
        "nwc_codec_version",
        "nwc_codec_Version",
        "no metadata entry nwc_codec_version",
    );
    check_file(
        "neural",
        "neuron",
        "codec is of family neuron, expected: neural",
    );
    check_file(
        r#"width\":16"#,
        r#"width\":17"#,
        "has shape [16, 4], expected [17, 4]",
    );
    check_file(
        r#"width\":16"#,
        r#"width\":-1"#,
        "metadata entry nwc_codec is not valid",
    );
    check_file(
        r#"width\":16"#,
        r#"width\":00"#,
        "metadata entry nwc_codec is not valid",
    );
    check_file("lambda", "lambdq", "unknown field");
    check_file(
        "\"median\"",
        "\"nedian\"",
        "tensor nedian that its configuration does not know",
    );
    check_file(
        "\"U8\"",
        "\"I8\"",
        "tensor cdf_tables has type I8, expected U8",
    );
    let codec = NeuralCodec::identity(CodecConfig::tiny(30.0), &[0.5; 4]).unwrap();
    let mut bytes = codec.to_bytes().unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = NeuralCodec::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("holds NaN at element"), "{error}");
}

#[test]
fn no_changed_or_cut_byte_panics() {
    let codec = NeuralCodec::identity(CodecConfig::tiny(30.0), &[1.0; 4]).unwrap();
    let bytes = codec.to_bytes().unwrap();
    let header_bytes = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for at in (0..header_bytes).chain((header_bytes..bytes.len()).step_by(97)) {
        for flip in [1, 0x20, 0x80] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let _ = Codec::from_bytes(&bytes);
        }
        assert!(Codec::from_bytes(&bytes[..at]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Codec::from_bytes(&bytes).is_err());
    }

    #[test]
    fn no_payload_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let codec = NeuralCodec::identity(CodecConfig::tiny(30.0), &[1.0; 4]).unwrap();
        let _ = codec.decode_columns(&[&bytes], &[QualityLevel(1); 40], 1, Parallelism::Serial);
    }

    #[test]
    fn any_symbols_go_round(
        symbols in proptest::collection::vec(prop_oneof![-3i32..4, any::<i32>()], 0..300),
        seed in any::<u8>(),
    ) {
        let codec = NeuralCodec::identity(CodecConfig::tiny(30.0), &[1.0; 4]).unwrap();
        let n_chunks = symbols.len() / 4;
        let symbols = Array2::from_shape_vec((n_chunks, 4), symbols[..n_chunks * 4].to_vec()).unwrap();
        let levels: Vec<_> = (0..n_chunks).map(|i| QualityLevel((i as u8 ^ seed) % 4)).collect();
        let bytes = codec.encode_columns(symbols.view(), &levels, 1, Parallelism::Serial).unwrap();
        let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let decoded = codec.decode_columns(&slices, &levels, 1, Parallelism::Serial).unwrap();
        prop_assert_eq!(&decoded, &symbols);
        let chunks = codec.synthesize(symbols.view(), &levels, Parallelism::Serial).unwrap();
        prop_assert_eq!(chunks.dim(), (n_chunks, 4));
    }
}
