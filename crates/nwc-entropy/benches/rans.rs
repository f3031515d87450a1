//! Symbols a second of one thread, with peers beside: constriction's ANS (its fastest lookup model, the same tables)
//! and zstd at level 3 on the same symbols, one byte each; bytes are those that are stored.
#![expect(
    clippy::unwrap_used,
    reason = "nothing but this file makes what is unwrapped"
)]

use constriction::stream::Decode;
use constriction::stream::model::ContiguousCategoricalEntropyModel;
use constriction::stream::stack::AnsCoder;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use nwc_entropy::{Backend, CdfTable, DecodeTables, LANES, StreamDecoder, StreamEncoder, TableSet};
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Symbols of a substream, as the codecs make them.
const N_SYMBOLS: usize = 1 << 18;
const PRECISIONS: [u32; 3] = [12, 14, 16];
/// Where the machine lacks one, the next lower one is measured.
#[cfg(not(target_arch = "aarch64"))]
const BACKENDS: [Backend; 3] = [Backend::Portable, Backend::Avx2, Backend::Avx512];
#[cfg(target_arch = "aarch64")]
const BACKENDS: [Backend; 2] = [Backend::Portable, Backend::Neon];

fn main() {
    divan::main();
}

struct Case {
    tables: TableSet,
    table_idx: Vec<u16>,
    symbols: Vec<i32>,
}

fn pmf(std_dev: f64) -> Vec<f64> {
    let density: Vec<f64> = (-31..=31)
        .map(|x| (-0.5 * (f64::from(x) / std_dev).powi(2)).exp())
        .collect();
    let sum: f64 = density.iter().sum();
    density.iter().map(|d| d / sum).collect()
}

/// `n_tables` Gaussians of 2 to 4 bits; `pick` gives each symbol's table.
fn case(
    precision: u32,
    n_tables: usize,
    mut pick: impl FnMut(usize, &mut ChaCha8Rng) -> usize,
) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let pmfs: Vec<Vec<f64>> = (0..n_tables)
        .map(|i| pmf(1.94 * 2_f64.powf(i as f64 / n_tables as f64)))
        .collect();
    let tables = pmfs
        .iter()
        .map(|pmf| CdfTable::from_pmf(pmf, -31, precision).unwrap())
        .collect();
    let index: Vec<_> = pmfs
        .iter()
        .map(|pmf| WeightedIndex::new(pmf).unwrap())
        .collect();
    let table_idx: Vec<u16> = (0..N_SYMBOLS).map(|i| pick(i, &mut rng) as u16).collect();
    let symbols = table_idx
        .iter()
        .map(|&idx| index[usize::from(idx)].sample(&mut rng) as i32 - 31)
        .collect();
    Case {
        tables: TableSet::new(tables).unwrap(),
        table_idx,
        symbols,
    }
}

/// One table.
fn single(precision: u32) -> Case {
    case(precision, 1, |_, _| 0)
}

/// A table for each of 16 latent channels.
fn channels(precision: u32) -> Case {
    case(precision, 16, |i, _| i % 16)
}

/// One of 200 tables for each symbol.
fn mixed(precision: u32) -> Case {
    case(precision, 200, |_, rng| rng.random_range(0..200))
}

fn encoded(case: &Case) -> Vec<u8> {
    let mut encoder = StreamEncoder::new(&case.tables);
    encoder.push_all(&case.table_idx, &case.symbols).unwrap();
    encoder.finish()
}

fn decode_bulk(bencher: Bencher, case: &Case) {
    decode_bulk_by(bencher, case, Backend::best());
}

fn decode_bulk_by(bencher: Bencher, case: &Case, backend: Backend) {
    let bytes = encoded(case);
    let tables = DecodeTables::with_backend(&case.tables, backend);
    let table_of_lane: [u16; LANES] = case.table_idx[..LANES].try_into().unwrap();
    let mut out = vec![0; N_SYMBOLS];
    let bencher = bencher
        .counter(ItemsCount::new(N_SYMBOLS))
        .counter(BytesCount::new(bytes.len()));
    bencher.bench_local(|| {
        let mut decoder = StreamDecoder::new(&tables, black_box(&bytes)).unwrap();
        decoder.decode_bulk(&table_of_lane, &mut out).unwrap();
        decoder.finish().unwrap();
    });
    assert_eq!(out, case.symbols);
}

#[divan::bench(args = PRECISIONS)]
fn decode_single_table(bencher: Bencher, precision: u32) {
    decode_bulk(bencher, &single(precision));
}

#[divan::bench(args = BACKENDS)]
fn decode_single_table_14_by(bencher: Bencher, backend: Backend) {
    decode_bulk_by(bencher, &single(14), backend);
}

#[divan::bench(args = BACKENDS)]
fn encode_single_table_14_by(bencher: Bencher, backend: Backend) {
    encode_bulk_by(bencher, &single(14), backend);
}

#[divan::bench(args = PRECISIONS)]
fn decode_16_channels(bencher: Bencher, precision: u32) {
    decode_bulk(bencher, &channels(precision));
}

#[divan::bench(args = PRECISIONS)]
fn decode_200_tables(bencher: Bencher, precision: u32) {
    let case = mixed(precision);
    let bytes = encoded(&case);
    let tables = DecodeTables::new(&case.tables);
    let mut out = vec![0; N_SYMBOLS];
    bencher.counter(ItemsCount::new(N_SYMBOLS)).bench_local(|| {
        let mut decoder = StreamDecoder::new(&tables, black_box(&bytes)).unwrap();
        decoder.decode_all(&case.table_idx, &mut out).unwrap();
        decoder.finish().unwrap();
    });
    assert_eq!(out, case.symbols);
}

fn encode_bulk_by(bencher: Bencher, case: &Case, backend: Backend) {
    let bencher = bencher
        .counter(ItemsCount::new(N_SYMBOLS))
        .counter(BytesCount::new(encoded(case).len()));
    bencher.bench_local(|| {
        let mut encoder = StreamEncoder::with_backend(&case.tables, backend);
        encoder
            .push_bulk(&[0; LANES], black_box(&case.symbols))
            .unwrap();
        encoder.finish()
    });
}

#[divan::bench(args = PRECISIONS)]
fn encode_single_table(bencher: Bencher, precision: u32) {
    encode_bulk_by(bencher, &single(precision), Backend::best());
}

#[divan::bench(args = PRECISIONS)]
fn encode_200_tables(bencher: Bencher, precision: u32) {
    let case = mixed(precision);
    bencher
        .counter(ItemsCount::new(N_SYMBOLS))
        .bench_local(|| encoded(black_box(&case)));
}

type Peer = ContiguousCategoricalEntropyModel<u32, Vec<u32>, 14>;

fn peer(case: &Case) -> (Peer, AnsCoder<u32, u64>) {
    let cdf = case.tables.tables()[0].cdf();
    let masses = cdf.windows(2).map(|pair| pair[1] - pair[0]);
    let model =
        Peer::from_nonzero_fixed_point_probabilities(masses.collect::<Vec<u32>>(), false).unwrap();
    let mut coder = AnsCoder::new();
    let bins = case.symbols.iter().map(|&symbol| (symbol + 31) as usize);
    coder
        .encode_iid_symbols_reverse(bins, model.as_view())
        .unwrap();
    (model, coder)
}

#[divan::bench]
fn constriction_decode_single_table_14(bencher: Bencher) {
    let case = single(14);
    let (model, coder) = peer(&case);
    let masses: Vec<u16> = case.tables.tables()[0]
        .cdf()
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) as u16)
        .collect();
    let lookup =
        ContiguousCategoricalEntropyModel::<u16, _, 14>::from_nonzero_fixed_point_probabilities(
            masses, false,
        );
    let lookup = lookup.unwrap().to_lookup_decoder_model();
    let mut out = vec![0; N_SYMBOLS];
    drop(model);
    bencher.counter(ItemsCount::new(N_SYMBOLS)).bench_local(|| {
        let mut coder = coder.clone();
        let symbols = coder.decode_iid_symbols(N_SYMBOLS, lookup.as_view());
        for (out, symbol) in out.iter_mut().zip(symbols) {
            *out = symbol.unwrap() as i32 - 31;
        }
    });
    assert_eq!(out, case.symbols);
}

#[divan::bench]
fn constriction_encode_single_table_14(bencher: Bencher) {
    let case = single(14);
    let (model, _) = peer(&case);
    bencher.counter(ItemsCount::new(N_SYMBOLS)).bench_local(|| {
        let mut coder = AnsCoder::<u32, u64>::new();
        let bins = black_box(&case.symbols)
            .iter()
            .map(|&symbol| (symbol + 31) as usize);
        coder
            .encode_iid_symbols_reverse(bins, model.as_view())
            .unwrap();
        coder.into_compressed().unwrap()
    });
}

#[divan::bench]
fn zstd_3_decode_single_table_14(bencher: Bencher) {
    let symbols: Vec<u8> = single(14).symbols.iter().map(|&s| s as u8).collect();
    let stored = zstd::bulk::compress(&symbols, 3).unwrap();
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let mut out = Vec::with_capacity(N_SYMBOLS);
    let bencher = bencher
        .counter(ItemsCount::new(N_SYMBOLS))
        .counter(BytesCount::new(stored.len()));
    bencher.bench_local(|| {
        out.clear();
        decompressor
            .decompress_to_buffer(black_box(&stored), &mut out)
            .unwrap();
    });
    assert_eq!(out, symbols);
}

/// What a core can move: bytes copied, more than its own caches hold.
#[divan::bench(min_time = 0.5)]
fn memory_copy(bencher: Bencher) {
    const N_BYTES: usize = 64 << 20;
    let from = vec![1u8; N_BYTES];
    // Not zeros: those are pages that the first copy would have to be given.
    let mut to = vec![2u8; N_BYTES];
    bencher
        .counter(BytesCount::new(N_BYTES))
        .bench_local(|| to.copy_from_slice(black_box(&from)));
}
