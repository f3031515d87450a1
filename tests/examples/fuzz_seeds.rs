//! Writes the seeds of fuzzing, valid inputs of every target: `cargo run -p nwc-tests --example fuzz_seeds`.

use std::fs;
use std::path::Path;

use nwc_chunk::{Parallelism, QualityLevel};
use nwc_entropy::StreamEncoder;
use nwc_format::{
    BaseModel, Coding, DType, Digest, Limits, Shard, ShardMetadata, ShardWriter, TensorRecord,
    encode_payload,
};
use nwc_tests::fuzzing::{self, TRELLIS_SHARD};
use nwc_tests::mending::rewritten;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| -> Result<()> {
        fs::create_dir_all(folder.join(target))?;
        Ok(fs::write(folder.join(target).join(name), bytes)?)
    };
    for (name, kind, n_symbols) in [
        ("one_step", 0, 32),
        ("escapes", 1, 100),
        ("one_symbol", 2, 200),
        ("mixed", 3, 700),
        ("bulk", 4, 900),
        ("bulk_escapes", 5, 333),
        ("short", 3, 5),
        ("none", 0, 0),
    ] {
        write("entropy_stream", name, &entropy_stream(kind, n_symbols)?)?;
    }
    let shard = Shard::parse(TRELLIS_SHARD, &Limits::default())?;
    for target in ["container", "checkpoint"] {
        write(target, "trellis", TRELLIS_SHARD)?;
        write(target, "trellis_v2", &rewritten(TRELLIS_SHARD)?)?;
    }
    write("container", "relative", &relative()?)?;
    write(
        "codec_file",
        "trellis",
        &fuzzing::trellis_codec().to_bytes()?,
    )?;
    write("payload", "neural", &neural_payload()?)?;
    // A matrix whose sizes fit a byte each.
    for record in &shard.metadata().tensors {
        let section = |role: &str| record.sections.iter().find(|s| s.role == role);
        if let ([rows, cols], Some(scales), Some(payload)) = (
            record.shape.as_slice(),
            section("scales"),
            section("payload"),
        ) && let (Ok(rows), Ok(cols)) = (u8::try_from(*rows), u8::try_from(*cols))
        {
            let (scales, payload) = (shard.section(scales)?, shard.section(payload)?);
            let mut bytes = vec![1, rows, cols];
            bytes.extend(u16::try_from(scales.len())?.to_le_bytes());
            bytes.extend(scales);
            bytes.extend(payload);
            write("payload", "trellis", &bytes)?;
        }
    }
    Ok(())
}

/// A shard with a packed tensor that is stored as a difference.
fn relative() -> Result<Vec<u8>> {
    let mut writer = ShardWriter::new(std::io::Cursor::new(Vec::new()), 0)?;
    let mut metadata = ShardMetadata::new("seed", Digest::of(b"fine-tune"));
    metadata.base = Some(BaseModel {
        name: "org/base".into(),
        fingerprint: Digest::of(b"base"),
    });
    metadata.tensors.push(TensorRecord {
        name: "bias".into(),
        dtype: DType::F32,
        shape: vec![4],
        coding: Coding::Packed {
            method: "toy".into(),
            parameters: [("a".to_owned(), 0.5)].into(),
            base: true,
        },
        bits_estimated: None,
        nmse: None,
        reason: None,
        sections: vec![writer.coded("bias", "payload", b"packed!")?],
    });
    Ok(writer.finish(metadata)?.into_inner())
}

/// Symbols of the middle of each table, some beyond its ends.
fn entropy_stream(kind: u8, n_symbols: u16) -> Result<Vec<u8>> {
    let tables = fuzzing::tables();
    let mut table_idx = Vec::new();
    let mut symbols = Vec::new();
    for i in 0..i32::from(n_symbols) {
        let idx = if kind % 4 == 3 {
            i % 3
        } else {
            i32::from(kind % 4)
        };
        table_idx.push(u16::try_from(idx)?);
        symbols.push(match (idx, i % 41) {
            (1, 40) => 1000 * i,
            (1, _) => i % 3 - 1,
            (2, _) => 7,
            _ => i * i % 13 - 6,
        });
    }
    let mut encoder = StreamEncoder::new(&tables);
    encoder.push_all(&table_idx, &symbols)?;
    let mut bytes = n_symbols.to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(encoder.finish());
    Ok(bytes)
}

fn neural_payload() -> Result<Vec<u8>> {
    let codec = fuzzing::neural();
    let levels = vec![QualityLevel(1); 64 * 32 / 16];
    let symbols =
        ndarray::Array2::from_shape_fn((levels.len(), 16), |(i, j)| (i + j) as i32 % 5 - 2);
    let substreams = codec.encode_columns(symbols.view(), &levels, 1, Parallelism::Serial)?;
    let mut bytes = vec![2, 64, 32];
    bytes.extend(encode_payload(&substreams));
    Ok(bytes)
}
