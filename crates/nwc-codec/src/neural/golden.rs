//! Learned codecs over made-up symbols, bit for bit.

use nwc_chunk::ndarray::Array2;
use nwc_chunk::{Parallelism, QualityLevel};

use super::freeze::{SymbolHistogram, freeze_from_counts};
use super::*;
use crate::golden::{Made, check_golden, digest_of_substreams, fixture_codec};
use crate::trellis::TrellisCode;
use crate::{Codec, CodecConfig};

const PER_COLUMN: usize = 7;
const N_CHUNKS: usize = 45 * PER_COLUMN;

/// Codes `symbols`, compares the bytes' digest, and decodes them again.
#[track_caller]
fn check(name: &str, codec: &NeuralCodec, symbols: &Array2<i32>, levels: &[QualityLevel]) {
    let substreams = codec
        .encode_columns(symbols.view(), levels, PER_COLUMN, Parallelism::Serial)
        .unwrap();
    check_golden(name, digest_of_substreams(&substreams));
    let substreams: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    let decoded = codec.decode_columns(&substreams, levels, PER_COLUMN, Parallelism::Serial);
    assert_eq!(decoded.unwrap(), symbols);
}

fn levels(codec: &NeuralCodec) -> Vec<QualityLevel> {
    let n_levels = codec.config().n_quality_levels() as u8;
    let level = |i: usize| QualityLevel((i / PER_COLUMN) as u8 % n_levels);
    (0..N_CHUNKS).map(level).collect()
}

#[test]
fn symbols_of_a_learned_codec_are_the_same_for_ever() {
    let Codec::Neural(codec) = fixture_codec("neural", "neural-9d07448f3f90") else {
        panic!("another family");
    };
    let levels = levels(&codec);
    let mut made = Made::new(3);
    let symbols =
        Array2::from_shape_simple_fn((N_CHUNKS, codec.config().latent_dim), || made.symbol());
    check("neural substreams", &codec, &symbols, &levels);
}

#[test]
fn symbols_on_a_trellis_are_the_same_for_ever() {
    let config = CodecConfig {
        n_states: 8,
        ..CodecConfig::tiny(30.0)
    };
    let mut made = Made::new(4);
    let mut histogram = |_| SymbolHistogram {
        min_symbol: -3,
        counts: (0..7)
            .map(|k: i32| (made.integer(1, 100) + 300 * (3 - (k - 3).abs())) as u64)
            .collect(),
    };
    let histograms: Vec<_> = (0..config.n_tables()).map(&mut histogram).collect();
    let tables = freeze_from_counts(&histograms).unwrap();
    let parameters = random_parameters(&config, 1).unwrap();
    let codec = NeuralCodec::new(config, parameters, tables, String::new()).unwrap();
    let code = TrellisCode::new(8).unwrap();
    let mut state = 0;
    let mut symbols = Array2::zeros((N_CHUNKS, codec.config().latent_dim));
    for (chunk_idx, mut row) in symbols.rows_mut().into_iter().enumerate() {
        if chunk_idx.is_multiple_of(PER_COLUMN) {
            state = 0;
        }
        for symbol in &mut row {
            let half = made.symbol();
            *symbol = 2 * half + i32::from(code.parity(state));
            state = code.next(state, half);
        }
    }
    check(
        "neural substreams, 8 states",
        &codec,
        &symbols,
        &levels(&codec),
    );
}
