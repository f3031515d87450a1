//! What fuzzing calls: every function takes any bytes, and fails by panicking.
//!
//! `fuzz/` hands them what libFuzzer makes up, `tests/fuzz_replay.rs` the seeds and their mutations.
//! What is checked of all: an error is returned, never a panic, and no more memory is taken than the bytes justify.

use std::fs;
use std::sync::LazyLock;

use ndarray::Array2;
use nwc::Checkpoint;
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::trellis::{self, TensorScales};
use nwc_codec::{Codec, NeuralCodec};
use nwc_entropy::{Backend, CdfTable, DecodeTables, LANES, StreamDecoder, TableSet};
use nwc_format::{Limits, ModelIndex, Payload, Shard, check_base};

use crate::mending::mended;

/// A function that is fuzzed; it tells whether it accepted the bytes, so that seeds are known to be good.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of target and seed folder.
pub const TARGETS: [(&str, Target); 5] = [
    ("entropy_stream", entropy_stream),
    ("codec_file", codec_file),
    ("container", container),
    ("checkpoint", checkpoint),
    ("payload", payload),
];

/// Precision of the tables of [`entropy_stream`].
pub const PRECISION: u32 = 12;

/// The tables of [`entropy_stream`]: a wide one, one with escapes at both ends, one of a single symbol.
pub fn tables() -> TableSet {
    let bell: Vec<f64> = (-20_i32..=20)
        .map(|x| (-0.02 * f64::from(x * x)).exp())
        .collect();
    let sum: f64 = bell.iter().sum();
    let bell: Vec<f64> = bell.iter().map(|p| p / sum).collect();
    let table = |pmf: &[f64], offset| CdfTable::from_pmf(pmf, offset, PRECISION).expect("a pmf");
    TableSet::new(vec![
        table(&bell, -20),
        table(&[0.25, 0.5, 0.125], -1),
        table(&[1.0], 7),
    ])
    .expect("three tables of one precision")
}

/// Decodes a substream: two bytes say how many symbols, one under which tables, the rest is the stream.
///
/// Every backend must accept and refuse the same streams, and decode the same symbols.
pub fn entropy_stream(data: &[u8]) -> bool {
    static TABLES: LazyLock<TableSet> = LazyLock::new(tables);
    let Some((&[low, high, kind], stream)) = data.split_first_chunk() else {
        return false;
    };
    let n_symbols = usize::from(u16::from_le_bytes([low, high]));
    let table_idx: Vec<u16> = (0..n_symbols)
        .map(|i| match kind % 4 {
            3 => (i % 3) as u16,
            only => u16::from(only),
        })
        .collect();
    let decode = |backend| {
        let tables = DecodeTables::with_backend(&TABLES, backend);
        let mut decoder = StreamDecoder::new(&tables, stream)?;
        let mut symbols = vec![0; n_symbols];
        if kind & 4 != 0 && kind % 4 != 3 {
            decoder.decode_bulk(&[u16::from(kind % 4); LANES], &mut symbols)?;
        } else {
            decoder.decode_all(&table_idx, &mut symbols)?;
        }
        decoder.finish()?;
        nwc_entropy::Result::Ok(symbols)
    };
    let portable = decode(Backend::Portable);
    for &backend in Backend::ALL {
        match (&portable, decode(backend)) {
            (Ok(expected), Ok(found)) => assert_eq!(*expected, found, "{backend:?}"),
            (Err(_), Err(_)) => {}
            (expected, found) => panic!("{backend:?}: {found:?}, portable {expected:?}"),
        }
    }
    portable.is_ok()
}

/// Parses a codec file of any family; what is accepted is written and accepted again.
pub fn codec_file(data: &[u8]) -> bool {
    let Ok(codec) = Codec::from_bytes(data) else {
        return false;
    };
    let bytes = codec.to_bytes().expect("a codec that was read is written");
    let again = Codec::from_bytes(&bytes).expect("what was written is read");
    assert_eq!(again.to_bytes().expect("as before"), bytes);
    true
}

/// Parses a shard and everything in it that has a range, and an index; once as it is and once with its digests mended,
/// which random damage does not get past.
pub fn container(data: &[u8]) -> bool {
    if let Some(mended) = mended(data) {
        container_as_it_is(&mended);
    }
    container_as_it_is(data)
}

fn container_as_it_is(data: &[u8]) -> bool {
    let limits = Limits::default();
    let is_index = ModelIndex::parse(data, &limits).is_ok();
    let Ok(shard) = Shard::parse(data, &limits) else {
        return is_index;
    };
    let metadata = shard.metadata();
    let _ = check_base(metadata, None);
    for codec in &metadata.codecs {
        let _ = shard.codec(codec);
    }
    for section in metadata.tensors.iter().flat_map(|t| &t.sections) {
        let _ = shard.section(section);
        let _ = shard.section_unchecked(section).map(Payload::parse);
    }
    shard.verify().is_ok()
}

/// Opens `data` as the only shard of a checkpoint folder and decodes every tensor; once as it is and once with its
/// digests mended.
pub fn checkpoint(data: &[u8]) -> bool {
    // Random shapes are mostly beyond what a fuzzer may take: it is handed small files.
    if let Some(mended) = mended(data).filter(|mended| decoded_bytes(mended) < 1 << 24) {
        checkpoint_as_it_is(&mended);
    }
    checkpoint_as_it_is(data)
}

/// Bytes that all tensors of a shard decode to; 0 where it is none.
fn decoded_bytes(data: &[u8]) -> u64 {
    Shard::parse(data, &Limits::default()).map_or(0, |shard| {
        let records = shard.metadata().tensors.iter();
        records
            .filter_map(|record| record.dtype.n_bytes(&record.shape))
            .fold(0, u64::saturating_add)
    })
}

fn checkpoint_as_it_is(data: &[u8]) -> bool {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("model.safetensors"), data).expect("a writable folder");
    let Ok(checkpoint) = Checkpoint::open(dir.path()) else {
        return false;
    };
    let mut is_whole = true;
    for name in checkpoint.names() {
        let info = checkpoint.info(name).expect("a name of the checkpoint");
        match checkpoint.tensor_bytes(name) {
            Ok(bytes) => {
                let n_elems: usize = info.shape.iter().product();
                assert_eq!(bytes.len(), n_elems * info.dtype.size(), "{name}");
            }
            Err(_) => is_whole = false,
        }
        let _ = checkpoint.tensor(name);
    }
    is_whole
}

/// Decodes a payload no digest protects: family, rows and columns in a byte each, then the sections.
///
/// For a trellis the scales are preceded by their length in two bytes; what follows is the payload.
pub fn payload(data: &[u8]) -> bool {
    let Some((&[family, rows, cols], rest)) = data.split_first_chunk() else {
        return false;
    };
    let (rows, cols) = (usize::from(rows), usize::from(cols));
    match family & 1 {
        0 => neural_payload(rest, family >> 1, rows * cols / 16),
        _ => trellis_payload(rest, rows, cols),
    }
}

fn neural_payload(bytes: &[u8], level: u8, n_chunks: usize) -> bool {
    let levels = vec![QualityLevel(level); n_chunks];
    let Ok(substreams) = Payload::parse(bytes) else {
        return false;
    };
    let codec = neural();
    let Ok(symbols) = codec.decode_columns(&substreams, &levels, 1, Parallelism::Serial) else {
        return false;
    };
    codec
        .synthesize(symbols.view(), &levels, Parallelism::Serial)
        .expect("symbols of these levels");
    true
}

fn trellis_payload(bytes: &[u8], rows: usize, cols: usize) -> bool {
    let sections = bytes
        .split_first_chunk()
        .and_then(|(&length, rest)| rest.split_at_checked(usize::from(u16::from_le_bytes(length))));
    let (Some((scales, payload)), Codec::Trellis(codec)) = (sections, trellis_codec()) else {
        return false;
    };
    let (Ok(scales), Ok(substreams)) = (
        TensorScales::from_bytes(scales, rows, cols),
        Payload::parse(payload),
    ) else {
        return false;
    };
    let mut weights = Array2::zeros((rows, cols));
    let out = weights.view_mut();
    trellis::decode(codec, &scales, &substreams, out, Parallelism::Serial).is_ok()
}

/// The neural codec of [`payload`].
pub fn neural() -> &'static NeuralCodec {
    static CODEC: LazyLock<Codec> = LazyLock::new(|| {
        let bytes = nwc::pretrained(100.0).expect("a pretrained codec");
        Codec::from_bytes(bytes).expect("a codec file")
    });
    match &*CODEC {
        Codec::Neural(codec) => codec,
        other => panic!("the pretrained codec is {other:?}"),
    }
}

/// The trellis of [`payload`]: that of the fixture.
pub fn trellis_codec() -> &'static Codec {
    static CODEC: LazyLock<Codec> = LazyLock::new(|| {
        let shard = Shard::parse(TRELLIS_SHARD, &Limits::default()).expect("the fixture");
        let record = shard.metadata().codecs.first().expect("it has a codec");
        Codec::from_bytes(shard.codec(record).expect("whole")).expect("a codec file")
    });
    &CODEC
}

/// A compressed checkpoint of one shard, the smallest there is.
pub const TRELLIS_SHARD: &[u8] = include_bytes!("../../fixtures/v1/trellis/model.safetensors");
