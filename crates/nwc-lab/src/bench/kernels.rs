//! The parts of decoding and encoding, one thread each, from the crates' divan benches.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::divan::{self, Entry};

/// Everything that runs on one core, the machine's ceilings beside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Kernels {
    /// Bytes copied a second, of blocks larger than a core's own caches.
    pub(super) memory_copy_bytes_per_s: f64,
    pub(super) entropy: Vec<EntropyRow>,
    pub(super) synthesis: Vec<SynthesisRow>,
    pub(super) trellis: Vec<TrellisRow>,
}

/// An entropy coder on the same symbols: one Gaussian table of about 3 bits, 2^18 symbols.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct EntropyRow {
    pub(super) what: &'static str,
    /// Name of the bench.
    pub(super) bench: String,
    pub(super) symbols_per_s: f64,
    /// Stored bytes a second; `None` where the bench counts none.
    pub(super) stored_bytes_per_s: Option<f64>,
}

/// The synthesis transform of one preset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SynthesisRow {
    pub(super) preset: &'static str,
    pub(super) width: usize,
    pub(super) weights_per_s: f64,
    /// Weights a second of the matrix products of the same shapes and nothing else.
    pub(super) products_per_s: f64,
    /// Weights a second that one large square product has the multiply-adds for.
    pub(super) square_product_per_s: f64,
}

impl SynthesisRow {
    /// Share of what the products of the same shapes would allow.
    pub(super) fn share_of_products(&self) -> f64 {
        self.weights_per_s / self.products_per_s
    }

    /// Share of what a large square product would allow.
    pub(super) fn share_of_square(&self) -> f64 {
        self.weights_per_s / self.square_product_per_s
    }
}

/// One step of the trellis codec with 8 states.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TrellisRow {
    pub(super) what: &'static str,
    pub(super) weights_per_s: f64,
}

/// What is read of `benches/rans.rs`, with the names that tables show.
const ENTROPY: [(&str, &[&str]); 9] = [
    (
        "decode, portable",
        &["decode_single_table_14_by", "Portable"],
    ),
    ("decode, AVX2", &["decode_single_table_14_by", "Avx2"]),
    ("decode, AVX-512", &["decode_single_table_14_by", "Avx512"]),
    (
        "encode, portable",
        &["encode_single_table_14_by", "Portable"],
    ),
    ("encode, AVX2", &["encode_single_table_14_by", "Avx2"]),
    ("encode, AVX-512", &["encode_single_table_14_by", "Avx512"]),
    (
        "constriction's ANS, decode",
        &["constriction_decode_single_table_14"],
    ),
    (
        "constriction's ANS, encode",
        &["constriction_encode_single_table_14"],
    ),
    ("zstd -3, decode", &["zstd_3_decode_single_table_14"]),
];
/// Presets and their widths.
const PRESETS: [(&str, usize); 2] = [("small", 64), ("paper", 512)];
const TRELLIS: [&str; 3] = ["decode", "quantize", "encode"];

/// Runs the benches, `seconds` each.
///
/// # Errors
/// Where one does not build or run, or a figure is missing.
pub(super) fn measure(seconds: f64) -> Result<Kernels> {
    let rans = divan::run(
        "nwc-entropy",
        "rans",
        "single_table_14|memory_copy",
        seconds,
    )?;
    let neural = divan::run("nwc-codec", "neural", "synthesis|product", seconds)?;
    let trellis = divan::run(
        "nwc-codec",
        "trellis",
        "(decode|quantize|encode).*8$",
        seconds,
    )?;
    let entropy = ENTROPY
        .iter()
        .map(|(what, path)| {
            let entry = find(&rans, path)?;
            Ok(EntropyRow {
                what,
                bench: path.join("::"),
                symbols_per_s: items(entry)?,
                stored_bytes_per_s: entry.bytes_per_s,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let synthesis = PRESETS
        .iter()
        .map(|&(preset, width)| {
            let weights = |bench| items(find(&neural, &[bench, preset])?);
            Ok(SynthesisRow {
                preset,
                width,
                weights_per_s: weights("synthesis")?,
                products_per_s: weights("products")?,
                square_product_per_s: weights("square_product")?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let trellis = TRELLIS
        .iter()
        .map(|&what| {
            let weights_per_s = items(find(&trellis, &[what, "8"])?)?;
            Ok(TrellisRow {
                what,
                weights_per_s,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let copy = find(&rans, &["memory_copy"])?;
    Ok(Kernels {
        memory_copy_bytes_per_s: copy.bytes_per_s.context("memory_copy counts no bytes")?,
        entropy,
        synthesis,
        trellis,
    })
}

fn find<'a>(entries: &'a [Entry], path: &[&str]) -> Result<&'a Entry> {
    entries
        .iter()
        .find(|entry| entry.path == path)
        .with_context(|| format!("no figure of bench {}", path.join("::")))
}

fn items(entry: &Entry) -> Result<f64> {
    entry
        .items_per_s
        .with_context(|| format!("bench {} counts no items", entry.path.join("::")))
}
