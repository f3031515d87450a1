//! Whole shards: round trips, damage, bombs, and the exact bytes.

mod damage;
mod errors;
mod folder_lists;
mod golden;
mod read_version_1;
mod round_trip;

use std::collections::BTreeMap;
use std::io::Cursor;

use serde_json::Value;

use crate::shard::{digest_place, header_digest};
use crate::{
    BaseModel, Coding, DType, Digest, Error, Header, Limits, Result, Section, Shard, ShardMetadata,
    ShardWriter, TensorRecord, encode_payload,
};

/// A record without figures.
fn record(
    name: &str,
    dtype: DType,
    shape: &[usize],
    coding: Coding,
    sections: Vec<Section>,
) -> TensorRecord {
    TensorRecord {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        coding,
        bits_estimated: None,
        nmse: None,
        reason: None,
        sections,
    }
}

/// A shard with one tensor of each kind.
fn small_shard(reserve: usize) -> Vec<u8> {
    let mut writer = ShardWriter::new(Cursor::new(Vec::new()), reserve).unwrap();
    let norm = writer
        .raw("norm", DType::BF16, &[2], &[1, 2, 3, 4])
        .unwrap();
    let codec = writer.codec("c0", b"codec").unwrap();
    let payload = encode_payload(&[&[9, 8, 7][..], &[6]]);
    let payload = writer.coded("w", "payload", &payload).unwrap();
    let scales = writer
        .coded_as("w", "scales", DType::F16, &[1], &[0, 60])
        .unwrap();
    let parameters = BTreeMap::from([("step".to_owned(), 0.1)]);
    let coding = Coding::Coded {
        family: "neural".into(),
        codec: "c0".into(),
        parameters,
        base: false,
    };
    let mut w = record("w", DType::F32, &[1, 3], coding, vec![payload, scales]);
    w.bits_estimated = Some(30.5);
    w.nmse = Some(0.01);
    let mut norm = record("norm", DType::BF16, &[2], Coding::Raw, vec![norm]);
    norm.reason = Some("1-d".into());
    let packed = writer.coded("bias", "payload", b"packed!").unwrap();
    let coding = Coding::Packed {
        method: "toy".into(),
        parameters: BTreeMap::new(),
        base: true,
    };
    let bias = record("bias", DType::F32, &[4], coding, vec![packed]);
    let tied = Coding::TiedTo { name: "w".into() };
    let mut metadata = ShardMetadata::new("test", Digest::of(b"model"));
    metadata.tensors = vec![
        w,
        norm,
        bias,
        record("head", DType::F32, &[1, 3], tied, vec![]),
    ];
    metadata.codecs = vec![codec];
    metadata
        .files
        .insert("config.json".into(), Digest::of(b"{}"));
    metadata.extra.insert("format".into(), "pt".into());
    // What the original says under keys that are the format's own.
    metadata
        .extra
        .insert("total_parameters".into(), "many".into());
    metadata.base = Some(BaseModel {
        name: "org/base".into(),
        fingerprint: Digest::of(b"base"),
    });
    metadata.provenance.insert("bpw".into(), "3.5".into());
    metadata.total_parameters = Some(9);
    writer.finish(metadata).unwrap().into_inner()
}

/// Opens and verifies: what a reader does before it trusts a file.
fn read(bytes: &[u8]) -> Result<ShardMetadata> {
    let shard = Shard::parse(bytes, &Limits::default())?;
    shard.verify()?;
    Ok(shard.metadata().clone())
}

/// Writes a header and table that were changed on purpose, with a right digest, so that the checks behind it are seen.
fn forge(edit: impl FnOnce(&mut Value, &mut Value)) -> Vec<u8> {
    forge_from(&small_shard(0), edit)
}

/// Where the data of a file starts: behind the header and its length.
fn data_start(file: &[u8]) -> usize {
    let n_header = u64::from_le_bytes(file[..8].try_into().unwrap());
    8 + usize::try_from(n_header).unwrap()
}

/// [`forge`] with another file to start from.
fn forge_from(bytes: &[u8], edit: impl FnOnce(&mut Value, &mut Value)) -> Vec<u8> {
    let (front, data) = bytes.split_at(data_start(bytes));
    let mut json: Value = serde_json::from_slice(&front[8..]).unwrap();
    let mut table: Value =
        serde_json::from_str(json["__metadata__"]["nwc"].as_str().unwrap()).unwrap();
    edit(&mut json, &mut table);
    let is_nwc = json["__metadata__"].get("nwc").is_some();
    if is_nwc {
        json["__metadata__"]["nwc"] = table.to_string().into();
    }
    seal(&json.to_string(), data)
}

/// A file of this header text and data, with the digest that belongs there.
fn seal(json: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    if let Some(place) = digest_place(&bytes, Digest::HEX_LEN) {
        bytes[place.clone()].fill(b'0');
        let digest = header_digest(&bytes, &"0".repeat(Digest::HEX_LEN))
            .unwrap()
            .to_string();
        bytes[place].copy_from_slice(digest.as_bytes());
    }
    bytes.extend_from_slice(data);
    bytes
}

#[track_caller]
fn check_error<T: std::fmt::Debug>(result: Result<T>, expected: &str) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), expected);
    error
}
