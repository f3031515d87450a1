//! The container: sections, index, digests; payloads are opaque bytes.
//!
//! A shard is a safetensors file. Every section is a tensor of it, the table of what the sections mean is JSON in
//! `__metadata__["nwc"]`, and a digest covers every byte of header and data. `docs/FORMAT.md` is the normative text.
//!
//! | want | use |
//! |---|---|
//! | write a shard, section by section | [`ShardWriter`] |
//! | read a shard that is mapped or in memory | [`Shard`] |
//! | read only the table of a shard | [`ShardHeader`] |
//! | read or write an ordinary safetensors file | [`Header`], [`PlainWriter`] |
//! | split a payload section into substreams | [`encode_payload`], [`Payload::parse`] |
//! | `model.safetensors.index.json` | [`ModelIndex`], [`shard_file_name`] |
//! | know how long a shard's header will be | [`HeaderPlan`] |
//! | the entry in `config.json` | [`insert_quantization_text`], [`remove_quantization_text`] |
//!
//! ```
//! use nwc_format::{Coding, DType, Digest, Limits, Shard, ShardMetadata, ShardWriter, TensorRecord};
//! use std::io::Cursor;
//!
//! let mut writer = ShardWriter::new(Cursor::new(Vec::new()), 1024)?;
//! let section = writer.raw("norm.weight", DType::F16, &[2], &[0, 60, 0, 60])?;
//! let mut metadata = ShardMetadata::new("doc test", Digest::of(b"the original weights"));
//! metadata.tensors.push(TensorRecord {
//!     name: "norm.weight".into(),
//!     dtype: DType::F16,
//!     shape: vec![2],
//!     coding: Coding::Raw,
//!     bits_estimated: None,
//!     nmse: None,
//!     reason: Some("one dimension".into()),
//!     sections: vec![section],
//! });
//! let bytes = writer.finish(metadata)?.into_inner();
//! let shard = Shard::parse(&bytes, &Limits::default())?;
//! let record = shard.record("norm.weight").expect("just written");
//! assert_eq!(shard.section(&record.sections[0])?, [0, 60, 0, 60]);
//! # Ok::<(), nwc_format::Error>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod check;
mod config;
mod digest;
mod dtype;
mod error;
mod header;
mod index;
mod json;
mod layout;
mod limits;
mod members;
mod metadata;
mod payload;
mod plan;
mod raw;
mod shard;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod version_1;
mod writer;

pub use check::{check_base, check_shard_set};
pub use config::{
    QuantizationEntry, insert_quantization_text, remove_quantization_text, take_quantization_text,
};
pub use digest::{Digest, DigestBuilder};
pub use dtype::DType;
pub use error::{Error, ErrorKind, Result};
pub use header::{Entry, Header, header_bytes};
pub use index::ModelIndex;
pub use layout::{
    FORMAT_VERSION, INDEX_FILE_NAME, ROLE_EXPONENTS, ROLE_GAINS, ROLE_LEVELS, ROLE_PAYLOAD,
    ROLE_SCALES, ROLE_TENSOR, ROLE_ZEROS, TABLE_KEY, codec_section_name, section_name,
    shard_file_name,
};
pub use limits::Limits;
pub use metadata::{BaseModel, CodecRecord, Coding, Section, ShardMetadata, TensorRecord};
pub use payload::{Payload, encode_payload};
pub use plan::HeaderPlan;
pub use shard::{Shard, ShardHeader};
pub use stream::{PlainWriter, plain_header_bytes};
pub use writer::ShardWriter;
