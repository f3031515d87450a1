//! Names, constants and the JSON structs of the container: all that `docs/FORMAT.md` describes.
//!
//! That document carries this file's hash, so that neither changes without the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::{Number, Numbers, Shape, Strings};
use crate::{DType, Digest};

/// Version of the container that this crate writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;
/// The oldest version that this crate reads.
pub(crate) const OLDEST_VERSION: u32 = 1;

/// Bytes of the little-endian header length at the start of a file.
pub(crate) const LENGTH_BYTES: usize = 8;
/// The header's length is a multiple of this, so that data starts aligned for every dtype.
pub(crate) const HEADER_ALIGNMENT: usize = 8;
/// Longest header, without its length prefix, that a writer makes: the safetensors crate reads no longer one.
pub(crate) const MAX_HEADER_BYTES: u64 = 100_000_000;
/// What fills the header up to its length. JSON calls it white space, so every safetensors reader skips it.
pub(crate) const PADDING: u8 = b' ';

/// The key of a safetensors header that holds strings rather than a tensor.
pub(crate) const METADATA_KEY: &str = "__metadata__";
/// The metadata key that a shard of ours has: its value is the tensor table, a JSON text.
pub const TABLE_KEY: &str = "nwc";
/// The metadata key whose value is the header's digest.
pub(crate) const DIGEST_KEY: &str = "nwc_digest";
/// The metadata key whose value is the number of parameters of the original model, which model hubs show.
pub(crate) const PARAMETERS_KEY: &str = "total_parameters";
/// Metadata keys that the format uses itself. What the original file says under them is kept in the table.
pub(crate) const RESERVED_KEYS: [&str; 3] = [TABLE_KEY, DIGEST_KEY, PARAMETERS_KEY];
/// How the digest's value starts in the header's bytes: compact JSON, and impossible inside a JSON string, where the
/// quotes would carry backslashes.
pub(crate) const DIGEST_PATTERN: &str = "\"nwc_digest\":\"";
/// What stands in the digest's place while it is computed.
pub(crate) const DIGEST_PLACEHOLDER: u8 = b'0';

/// Role of the section that holds the coded symbols of a tensor, U8 with one dimension. It bears the tensor's own name:
/// a loader that knows nothing of this format then meets a wrong shape and refuses, instead of missing a weight.
pub const ROLE_PAYLOAD: &str = "payload";
/// Role of the section that holds row scales (F16), or step factors (U8).
pub const ROLE_SCALES: &str = "scales";
/// Role of the section that holds a quality level per column, U8.
pub const ROLE_LEVELS: &str = "levels";
/// Role of the section that holds row factors tuned after coding, F16.
pub const ROLE_GAINS: &str = "gains";
/// Role of the section that says which entries are exactly zero, U8.
pub const ROLE_ZEROS: &str = "zeros";
/// Role of the section that holds a power of two per row, I16.
pub const ROLE_EXPONENTS: &str = "exponents";
/// Role of the one section of a raw tensor: its own bytes under its own name.
pub const ROLE_TENSOR: &str = "tensor";
/// Role of a section that is a codec file.
pub(crate) const ROLE_CODEC: &str = "codec";

/// What stands between a coded tensor's name and a role.
const ROLE_SEPARATOR: &str = ".nwc.";
/// What the names of codec sections start with.
const CODEC_PREFIX: &str = "nwc.codec.";
/// Longest role and codec id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 64;
/// Most dimensions of a tensor; [`crate::Limits`] allow fewer.
pub(crate) const MAX_DIMS: usize = 255;
/// Most parameters of one tensor's coding.
pub(crate) const MAX_PARAMETERS: usize = 64;
/// Most entries of [`ShardJson::provenance`], and of the strings under `__metadata__`.
pub(crate) const MAX_PROVENANCE: usize = 64;
pub(crate) const MAX_METADATA: usize = 1 << 16;
/// Longest value in [`ShardJson::provenance`], in bytes.
pub(crate) const MAX_PROVENANCE_BYTES: usize = 4096;

/// Name of a shard index inside a checkpoint folder, the one that every tool looks for.
pub const INDEX_FILE_NAME: &str = "model.safetensors.index.json";
/// What names of shard files end with.
pub(crate) const SHARD_SUFFIX: &str = ".safetensors";

/// The key of a model's `config.json` that says how its weights are stored.
pub(crate) const CONFIG_KEY: &str = "quantization_config";
/// The value of `quant_method` there.
pub(crate) const QUANT_METHOD: &str = "nwc";

/// Name of the section that plays `role` for `tensor`: the tensor's own name for [`ROLE_PAYLOAD`] and [`ROLE_TENSOR`],
/// `{tensor}.nwc.{role}` for the others.
pub fn section_name(tensor: &str, role: &str) -> String {
    section_name_in(FORMAT_VERSION, tensor, role)
}

/// [`section_name`] in files of `version`.
pub(crate) fn section_name_in(version: u32, tensor: &str, role: &str) -> String {
    if role == ROLE_TENSOR || role == ROLE_PAYLOAD && version >= 2 {
        tensor.to_owned()
    } else {
        format!("{tensor}{ROLE_SEPARATOR}{role}")
    }
}

/// Name of the section that holds the codec file `id`.
pub fn codec_section_name(id: &str) -> String {
    format!("{CODEC_PREFIX}{id}")
}

/// Whether `id` may name a role or a codec: 1 to 64 of `A-Z a-z 0-9 _ -` and inner dots.
pub(crate) fn is_valid_id(id: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
    (1..=MAX_ID_BYTES).contains(&id.len())
        && id.bytes().all(is_allowed)
        && !id.starts_with('.')
        && !id.ends_with('.')
}

/// File name of shard `shard_idx` (from 0) of `n_shards`: `model.safetensors` where there is one, else
/// `model-00001-of-00003.safetensors`, as Hugging Face folders have it.
pub fn shard_file_name(shard_idx: usize, n_shards: usize) -> String {
    if n_shards <= 1 {
        format!("model{SHARD_SUFFIX}")
    } else {
        format!(
            "model-{:05}-of-{n_shards:05}{SHARD_SUFFIX}",
            shard_idx.saturating_add(1)
        )
    }
}

/// The only field that every version has, read before the rest.
#[derive(Deserialize)]
pub(crate) struct VersionJson {
    pub(crate) version: u64,
}

/// The text under `__metadata__["nwc"]`. Written without white space, in this order of keys.
///
/// Lists are read in two steps, so that their lengths are known before memory is taken for what is in them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardJson<'a> {
    pub(crate) version: u32,
    pub(crate) generator: String,
    pub(crate) fingerprint: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<BaseJson>,
    pub(crate) shard_idx: usize,
    pub(crate) n_shards: usize,
    #[serde(borrow)]
    pub(crate) codecs: Vec<&'a RawValue>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, Digest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) checkpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Strings::is_empty")]
    pub(crate) provenance: Strings<MAX_PROVENANCE>,
    #[serde(default, skip_serializing_if = "Strings::is_empty")]
    pub(crate) metadata: Strings<MAX_PROVENANCE>,
    #[serde(borrow)]
    pub(crate) tensors: Vec<&'a RawValue>,
}

/// The model that tensors are stored as differences to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BaseJson {
    pub(crate) name: String,
    pub(crate) fingerprint: Digest,
}

/// A codec file in the shard.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodecJson {
    pub(crate) id: String,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

/// One tensor of the original checkpoint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordJson<C = CodingJson> {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) coding: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bits: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nmse: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// `[role, bytes, digest]`: the name follows from tensor and role, and header bytes count towards the rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sections: Vec<(String, u64, Digest)>,
}

/// How a tensor is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum CodingJson {
    Raw,
    Packed {
        method: String,
        #[serde(default, skip_serializing_if = "is_false")]
        base: bool,
        #[serde(default, skip_serializing_if = "Numbers::is_empty")]
        parameters: Numbers,
    },
    Coded {
        family: String,
        codec: String,
        #[serde(default, skip_serializing_if = "is_false")]
        base: bool,
        #[serde(default, skip_serializing_if = "Numbers::is_empty")]
        parameters: Numbers,
    },
    TiedTo {
        name: String,
    },
}

fn is_false(value: &bool) -> bool {
    !value
}
