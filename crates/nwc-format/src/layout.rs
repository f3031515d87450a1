//! Names, constants and the JSON structs of the container: all that `docs/FORMAT.md` describes.
//!
//! That document carries this file's hash, so that neither changes without the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Coding, DType, Digest};

/// Version of the container that this crate writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;

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
/// The metadata key whose value is the JSON text of [`ShardJson`].
pub(crate) const TABLE_KEY: &str = "nwc";
/// The metadata key whose value is the header's digest.
pub(crate) const DIGEST_KEY: &str = "nwc_digest";
/// How the digest's value starts in the header's bytes: compact JSON, and impossible inside a JSON string, where the
/// quotes would carry backslashes.
pub(crate) const DIGEST_PATTERN: &str = "\"nwc_digest\":\"";
/// What stands in the digest's place while it is computed.
pub(crate) const DIGEST_PLACEHOLDER: u8 = b'0';

/// Role of the section that holds entropy-coded symbols, in the layout of [`crate::encode_payload`].
pub const ROLE_PAYLOAD: &str = "payload";
/// Role of the section that holds row scales, or step factors.
pub const ROLE_SCALES: &str = "scales";
/// Role of the section that holds quality levels per column.
pub const ROLE_LEVELS: &str = "levels";
/// Role of the one section of a lossless tensor: its own bytes under its own name.
pub const ROLE_TENSOR: &str = "tensor";
/// Role of a section that is a codec file.
pub const ROLE_CODEC: &str = "codec";

/// What stands between a coded tensor's name and a role.
const ROLE_SEPARATOR: &str = ".nwc.";
/// What the names of codec sections start with.
const CODEC_PREFIX: &str = "nwc.codec.";
/// Longest role and codec id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 64;

/// Name of a shard index inside a checkpoint folder, the one that every tool looks for.
pub const INDEX_FILE_NAME: &str = "model.safetensors.index.json";
/// What names of shard files end with.
pub(crate) const SHARD_SUFFIX: &str = ".safetensors";

/// The key of a model's `config.json` that says how its weights are stored.
pub(crate) const CONFIG_KEY: &str = "quantization_config";
/// The value of `quant_method` there.
pub(crate) const QUANT_METHOD: &str = "nwc";

/// Name of the section that plays `role` for `tensor`: the tensor's own name for [`ROLE_TENSOR`], so that ordinary
/// tools find it, `{tensor}.nwc.{role}` for the others.
pub fn section_name(tensor: &str, role: &str) -> String {
    if role == ROLE_TENSOR {
        tensor.to_owned()
    } else {
        format!("{tensor}{ROLE_SEPARATOR}{role}")
    }
}

/// Name of the section that holds the codec file `id`.
pub fn codec_section_name(id: &str) -> String {
    format!("{CODEC_PREFIX}{id}")
}

/// Role of a section by its name alone: what follows the last `.nwc.`, [`ROLE_CODEC`], or [`ROLE_TENSOR`].
pub(crate) fn role_of(section: &str) -> &str {
    if section.starts_with(CODEC_PREFIX) {
        ROLE_CODEC
    } else {
        section
            .rsplit_once(ROLE_SEPARATOR)
            .map_or(ROLE_TENSOR, |(_, role)| role)
    }
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
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardJson {
    pub(crate) version: u32,
    pub(crate) generator: String,
    pub(crate) fingerprint: Digest,
    pub(crate) shard_idx: usize,
    pub(crate) n_shards: usize,
    pub(crate) codecs: Vec<CodecJson>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, Digest>,
    pub(crate) tensors: Vec<RecordJson>,
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
pub(crate) struct RecordJson {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) coding: Coding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bits: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nmse: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// `[role, bytes, digest]`: the name follows from tensor and role, and header bytes count towards the rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sections: Vec<(String, u64, Digest)>,
}
