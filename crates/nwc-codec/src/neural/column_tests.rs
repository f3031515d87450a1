//! Latents on a trellis: what it wins over rounding, round trips of columns, and wrong arguments.

use nwc_chunk::ndarray::{Array2, s};
use nwc_chunk::{Parallelism, QualityLevel};
use proptest::prelude::*;

use super::tests::{mean_squared_error, mixed_levels, normal_chunks, random_codec};
use super::*;
use crate::{Codec, CodecConfig, Error};

const SERIAL: Parallelism = Parallelism::Serial;

fn with_states(config: CodecConfig, n_states: u16) -> CodecConfig {
    CodecConfig { n_states, ..config }
}

/// Codes and decodes whole columns, checks that they come back, and gives error and stored bits a weight.
#[track_caller]
fn check(
    codec: &NeuralCodec,
    chunks: &Array2<f32>,
    levels: &[QualityLevel],
    per_column: usize,
) -> (f64, f64) {
    let quantise = |parallelism| {
        codec
            .quantize_columns(chunks.view(), levels, per_column, parallelism)
            .unwrap()
    };
    let coded = quantise(Parallelism::Rayon);
    assert_eq!(coded, quantise(SERIAL));
    let symbols = coded.symbols.view();
    let encode = |parallelism| {
        codec
            .encode_columns(symbols, levels, per_column, parallelism)
            .unwrap()
    };
    let substreams = encode(Parallelism::Rayon);
    assert_eq!(substreams, encode(SERIAL));
    let slices: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    for parallelism in [SERIAL, Parallelism::Rayon] {
        let decoded = codec
            .decode_columns(&slices, levels, per_column, parallelism)
            .unwrap();
        assert_eq!(decoded, coded.symbols);
        let chunks = codec
            .synthesize(decoded.view(), levels, parallelism)
            .unwrap();
        assert_eq!(chunks, coded.reconstruction);
    }
    let n_bits = 8.0 * substreams.iter().map(Vec::len).sum::<usize>() as f64;
    let ideal = codec.ideal_bits(symbols, levels).unwrap();
    assert!(
        n_bits <= 1.01 * ideal + 2048.0 * substreams.len() as f64,
        "{n_bits} {ideal}"
    );
    let n = chunks.len().max(1) as f64;
    (
        mean_squared_error(chunks, &coded.reconstruction),
        n_bits / n,
    )
}

/// Bits above the rate-distortion function of N(0, 1).
fn gap((error, bits): (f64, f64)) -> f64 {
    bits + 0.5 * error.log2()
}

#[test]
fn a_trellis_over_scalar_quantisation_wins_what_theory_says() {
    let chunks = normal_chunks(1 << 15, 16, 21);
    let levels = vec![QualityLevel(0); chunks.nrows()];
    // Twice the density of points at the same rate.
    let gap_of = |n_states, step: f32| {
        let config = with_states(CodecConfig::small(30.0), n_states);
        let codec = NeuralCodec::identity(config, &[step; 4]).unwrap();
        gap(check(&codec, &chunks, &levels, 64))
    };
    for step in [0.5224, 0.2590] {
        let scalar = gap_of(1, step);
        assert!((0.250..0.275).contains(&scalar), "{scalar}");
        for (n_states, least, most) in [(4, 0.15, 0.18), (8, 0.165, 0.195), (64, 0.19, 0.225)] {
            let won = scalar - gap_of(n_states, 0.5 * step);
            assert!((least..most).contains(&won), "{n_states} states: {won}");
        }
    }
}

#[test]
fn a_codec_made_over_keeps_its_rate_and_halves_no_parameter_for_good() {
    let scalar = NeuralCodec::identity(CodecConfig::small(30.0), &[1.0, 0.7, 0.3, 0.2]).unwrap();
    let chunks = normal_chunks(1 << 13, 16, 22);
    let made = scalar.with_states(8, chunks.view(), 64, SERIAL).unwrap();
    assert_eq!(made.config().n_states, 8);
    let levels = vec![QualityLevel(2); chunks.nrows()];
    let (before, after) = (
        check(&scalar, &chunks, &levels, 64),
        check(&made, &chunks, &levels, 64),
    );
    assert!((before.1 - after.1).abs() < 0.02, "{before:?} {after:?}");
    assert!(gap(before) - gap(after) > 0.16, "{before:?} {after:?}");
    let back = made.with_states(1, chunks.view(), 64, SERIAL).unwrap();
    assert_eq!(back.parameters(), scalar.parameters());
    let again = made.with_states(64, chunks.view(), 64, SERIAL).unwrap();
    assert_eq!(again.parameters(), made.parameters());
    assert!(made.with_states(5, chunks.view(), 64, SERIAL).is_err());
}

#[test]
fn odd_columns_go_round() {
    let odd = |chunk_len, latent_dim, width, n_states| CodecConfig {
        chunk_len,
        latent_dim,
        width,
        n_states,
        ..CodecConfig::tiny(30.0)
    };
    for config in [odd(16, 16, 64, 8), odd(3, 5, 7, 4), odd(1, 1, 2, 256)] {
        let codec = random_codec(config.clone(), 5);
        for (n_columns, per_column) in [(0, 0), (0, 3), (1, 1), (31, 2), (33, 7), (100, 1)] {
            let n_chunks = n_columns * per_column;
            let chunks = normal_chunks(n_chunks, config.chunk_len, 6);
            check(&codec, &chunks, &mixed_levels(n_chunks, 4), per_column);
        }
    }
}

#[test]
fn substreams_hold_whole_groups_of_columns() {
    let config = with_states(CodecConfig::tiny(30.0), 8);
    let codec = NeuralCodec::identity(config, &[0.5; 4]).unwrap();
    // Columns of 12 symbols: 2^18 of them are 21845.3 columns, 21856 with whole groups.
    let n_chunks = 3 * (21_856 + 5);
    let chunks = normal_chunks(n_chunks, 4, 9);
    let levels = mixed_levels(n_chunks, 4);
    check(&codec, &chunks, &levels, 3);
    let coded = codec
        .quantize_columns(chunks.view(), &levels, 3, Parallelism::Rayon)
        .unwrap();
    let substreams = codec
        .encode_columns(coded.symbols.view(), &levels, 3, SERIAL)
        .unwrap();
    assert_eq!(substreams.len(), 2);
    let second = [substreams[1].as_slice()];
    let from = 3 * 21_856;
    let alone = codec
        .decode_columns(&second, &levels[from..], 3, SERIAL)
        .unwrap();
    assert_eq!(alone, coded.symbols.slice(s![from.., ..]));
}

#[test]
fn a_chunk_by_itself_is_a_column_of_one() {
    let codec = random_codec(with_states(CodecConfig::small(30.0), 8), 3);
    let chunks = normal_chunks(70, 16, 4);
    let levels = mixed_levels(70, 4);
    check(&codec, &chunks, &levels, 1);
    let quantise = |from: usize, to: usize| {
        let part = chunks.slice(s![from..to, ..]);
        let coded = codec.quantize_columns(part, &levels[from..to], 1, SERIAL);
        coded.unwrap().symbols
    };
    assert_eq!(quantise(0, 70).slice(s![33..34, ..]), quantise(33, 34));
}

#[test]
fn substreams_are_counted_before_anything_is_taken() {
    for n_states in [1, 8] {
        let config = with_states(CodecConfig::tiny(30.0), n_states);
        let codec = NeuralCodec::identity(config, &[0.5; 4]).unwrap();
        // 2^35 columns of one chunk, as a file may claim.
        let error = codec.check_substreams(1, 1 << 35, 1).unwrap_err();
        let expected = "found 1 substreams, 524288 code 34359738368 chunks";
        assert_eq!(error.to_string(), expected, "{n_states} states");
        codec.check_substreams(1 << 19, 1 << 35, 1).unwrap();
        codec
            .check_substreams(1, usize::MAX, usize::MAX)
            .unwrap_or_default();
        codec.check_substreams(0, 0, usize::MAX).unwrap();
        assert!(matches!(
            codec.check_substreams(1, 7, 2),
            Err(Error::Columns { .. })
        ));
    }
}

#[test]
fn without_states_columns_are_chunks() {
    let codec = random_codec(CodecConfig::small(30.0), 3);
    let chunks = normal_chunks(70, 16, 4);
    let levels = mixed_levels(70, 4);
    let coded = codec
        .quantize_columns(chunks.view(), &levels, 1, SERIAL)
        .unwrap();
    let columns = codec.quantize_columns(chunks.view(), &levels, 35, SERIAL);
    assert_eq!(coded, columns.unwrap());
    check(&codec, &chunks, &levels, 35);
}

#[test]
fn files_say_how_many_states() {
    let scalar = random_codec(CodecConfig::tiny(30.0), 1);
    let text = String::from_utf8_lossy(&scalar.to_bytes().unwrap()).into_owned();
    assert!(
        !text.contains("n_states"),
        "a codec of one state has the file that it always had"
    );
    let codec = random_codec(with_states(CodecConfig::tiny(30.0), 8), 1);
    assert_eq!(codec.tables().len(), 4 * 4 * 2);
    let bytes = codec.to_bytes().unwrap();
    let Ok(Codec::Neural(read)) = Codec::from_bytes(&bytes) else {
        panic!("another family");
    };
    assert_eq!(read.config(), codec.config());
    assert_eq!(read.to_bytes().unwrap(), bytes);
    let error = with_states(CodecConfig::tiny(30.0), 7)
        .validate()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "codec field n_states is 7, allowed: [1, 4, 8, 16, 64, 256]"
    );
    let (scalar_tables, config) = (scalar.tables().clone(), codec.config().clone());
    let too_few = NeuralCodec::new(
        config,
        codec.parameters().clone(),
        scalar_tables,
        String::new(),
    );
    assert!(matches!(
        too_few,
        Err(Error::Tables {
            found: 16,
            expected: 32
        })
    ));
}

#[test]
fn wrong_columns_are_refused() {
    let codec = random_codec(with_states(CodecConfig::tiny(30.0), 8), 2);
    let mut chunks = normal_chunks(6, 4, 3);
    let levels = mixed_levels(6, 4);
    let columns =
        |error: Error| assert_eq!(error.to_string(), "6 chunks are no whole columns of 4");
    let quantise = |chunks: &Array2<f32>, per_column| {
        codec.quantize_columns(chunks.view(), &levels, per_column, SERIAL)
    };
    columns(quantise(&chunks, 4).unwrap_err());
    assert!(matches!(quantise(&chunks, 0), Err(Error::Columns { .. })));
    let mut symbols = quantise(&chunks, 3).unwrap().symbols;
    let encode = |symbols: &Array2<i32>, per_column| {
        codec.encode_columns(symbols.view(), &levels, per_column, SERIAL)
    };
    columns(encode(&symbols, 4).unwrap_err());
    symbols[[3, 0]] = 1;
    assert_eq!(
        encode(&symbols, 3).unwrap_err().to_string(),
        "chunk 3 has a symbol 1 where the trellis allows even ones only"
    );
    columns(codec.decode_columns(&[], &levels, 4, SERIAL).unwrap_err());
    assert!(matches!(
        codec.decode_columns(&[], &levels, 3, SERIAL),
        Err(Error::SubstreamCount {
            found: 0,
            expected: 1,
            n_chunks: 6
        })
    ));
    chunks[[4, 1]] = f32::NAN;
    assert!(matches!(
        quantise(&chunks, 3),
        Err(Error::NotANumber { chunk_idx: 4 })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_payload_of_columns_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        (n_columns, per_column) in (1usize..40, 1usize..5),
    ) {
        let config = with_states(CodecConfig::tiny(30.0), 8);
        let codec = NeuralCodec::identity(config, &[0.3; 4]).unwrap();
        let levels = vec![QualityLevel(1); n_columns * per_column];
        let _ = codec.decode_columns(&[&bytes], &levels, per_column, SERIAL);
    }
}
