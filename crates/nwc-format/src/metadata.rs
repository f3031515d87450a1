//! The tensor table: how each tensor of the checkpoint was coded, and where its bytes are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::layout::{self, CodecJson, RecordJson, ShardJson, VersionJson};
use crate::{DType, Digest, Error, FORMAT_VERSION, Result};

/// How a tensor is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Coding {
    /// Quantised and entropy coded.
    Coded {
        /// The codec family, as in `neural` or `trellis`.
        family: String,
        /// The id of the codec file that decodes it, a [`CodecRecord::id`] of this or another shard of the set.
        codec: String,
        /// Numbers that the family needs besides its sections; all finite.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        parameters: BTreeMap<String, f64>,
    },
    /// Its own bytes, in the original dtype, under its own name.
    Lossless,
    /// The same tensor as another one, stored once there.
    TiedTo {
        /// The tensor that is stored; itself not tied.
        name: String,
    },
}

/// A run of bytes of a shard: one tensor of the safetensors file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What it is for: `payload`, `scales`, `levels`, … or `tensor` for lossless bytes.
    pub role: String,
    /// Its name in the safetensors header, [`crate::section_name`] of tensor and role.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

/// One tensor of the original checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "RecordJson", into = "RecordJson")]
pub struct TensorRecord {
    /// Its name in the original checkpoint.
    pub name: String,
    /// Its original dtype, which it is decoded to.
    pub dtype: DType,
    /// Its original shape.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub coding: Coding,
    /// Ideal code length of its symbols, −Σ log₂ p, in bits in all.
    pub bits_estimated: Option<f64>,
    /// Squared error over squared norm, as measured when it was coded.
    pub nmse: Option<f64>,
    /// Why it is stored this way, for people, as in `holds NaN`.
    pub reason: Option<String>,
    /// Its sections in this shard; none for a tied tensor.
    pub sections: Vec<Section>,
}

impl TensorRecord {
    /// The section that plays `role`.
    pub fn section(&self, role: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.role == role)
    }

    /// Stored bytes of all its sections.
    pub fn stored_bytes(&self) -> u64 {
        self.sections
            .iter()
            .fold(0, |n, section| n.saturating_add(section.bytes))
    }
}

/// A codec file inside a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodecRecord {
    /// What tensors name it by.
    pub id: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

impl CodecRecord {
    /// The section that holds it.
    pub fn section(&self) -> Section {
        Section {
            role: layout::ROLE_CODEC.to_owned(),
            name: layout::codec_section_name(&self.id),
            bytes: self.bytes,
            digest: self.digest,
        }
    }
}

/// All that a shard says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardMetadata {
    /// Version of the format, [`FORMAT_VERSION`].
    pub version: u32,
    /// The tensors of this shard, in the order they are decoded to.
    pub tensors: Vec<TensorRecord>,
    /// The codec files stored in this shard. A set of shards stores each once.
    pub codecs: Vec<CodecRecord>,
    /// Digests of the other files of the folder that were carried along, by file name. First shard only.
    pub files: BTreeMap<String, Digest>,
    /// What wrote the file, as in `nwc 0.1.0`.
    pub generator: String,
    /// The original safetensors metadata, as in `format` = `pt`; kept as ordinary metadata keys.
    pub extra: BTreeMap<String, String>,
    /// Number of shards in the set, at least 1.
    pub n_shards: usize,
    /// Which of them this is, from 0.
    pub shard_idx: usize,
    /// Fingerprint of the original model, the same in all shards of a set.
    pub fingerprint: Digest,
}

impl ShardMetadata {
    /// The metadata of a single shard with nothing in it yet.
    pub fn new(generator: impl Into<String>, fingerprint: Digest) -> Self {
        Self {
            version: FORMAT_VERSION,
            tensors: Vec::new(),
            codecs: Vec::new(),
            files: BTreeMap::new(),
            generator: generator.into(),
            extra: BTreeMap::new(),
            n_shards: 1,
            shard_idx: 0,
            fingerprint,
        }
    }

    /// Every section that the shard must hold: those of the codecs, then those of the tensors.
    pub fn sections(&self) -> impl Iterator<Item = Section> + '_ {
        let of_codecs = self.codecs.iter().map(CodecRecord::section);
        of_codecs.chain(
            self.tensors
                .iter()
                .flat_map(|tensor| tensor.sections.iter().cloned()),
        )
    }

    /// The text under [`layout::TABLE_KEY`].
    pub(crate) fn to_json(&self) -> Result<String> {
        let json = ShardJson {
            version: self.version,
            generator: self.generator.clone(),
            fingerprint: self.fingerprint,
            shard_idx: self.shard_idx,
            n_shards: self.n_shards,
            codecs: self.codecs.iter().cloned().map(CodecJson::from).collect(),
            files: self.files.clone(),
            tensors: self.tensors.iter().cloned().map(RecordJson::from).collect(),
        };
        serde_json::to_string(&json).map_err(|source| Error::Json {
            what: "the tensor table".into(),
            source,
        })
    }

    /// Checks the version of what [`Self::to_json`] wrote, and nothing else: a later version may differ in all the rest.
    pub(crate) fn check_version(text: &str) -> Result<()> {
        let VersionJson { version } = serde_json::from_str(text).map_err(|source| Error::Json {
            what: "the tensor table".into(),
            source,
        })?;
        if version == u64::from(FORMAT_VERSION) {
            Ok(())
        } else {
            Err(Error::Version {
                found: version,
                supported: FORMAT_VERSION,
            })
        }
    }

    /// Reads what [`Self::to_json`] wrote; `extra` are the other keys of the safetensors metadata.
    pub(crate) fn from_json(text: &str, extra: BTreeMap<String, String>) -> Result<Self> {
        let wrong = |source| Error::Json {
            what: "the tensor table".into(),
            source,
        };
        let json: ShardJson = serde_json::from_str(text).map_err(wrong)?;
        Ok(Self {
            version: json.version,
            tensors: json.tensors.into_iter().map(TensorRecord::from).collect(),
            codecs: json.codecs.into_iter().map(CodecRecord::from).collect(),
            files: json.files,
            generator: json.generator,
            extra,
            n_shards: json.n_shards,
            shard_idx: json.shard_idx,
            fingerprint: json.fingerprint,
        })
    }
}

impl From<RecordJson> for TensorRecord {
    fn from(json: RecordJson) -> Self {
        let section = |(role, bytes, digest): (String, u64, Digest)| Section {
            name: layout::section_name(&json.name, &role),
            role,
            bytes,
            digest,
        };
        Self {
            sections: json.sections.into_iter().map(section).collect(),
            name: json.name,
            dtype: json.dtype,
            shape: json.shape,
            coding: json.coding,
            bits_estimated: json.bits,
            nmse: json.nmse,
            reason: json.reason,
        }
    }
}

impl From<TensorRecord> for RecordJson {
    fn from(record: TensorRecord) -> Self {
        Self {
            name: record.name,
            dtype: record.dtype,
            shape: record.shape,
            coding: record.coding,
            bits: record.bits_estimated,
            nmse: record.nmse,
            reason: record.reason,
            sections: record
                .sections
                .into_iter()
                .map(|s| (s.role, s.bytes, s.digest))
                .collect(),
        }
    }
}

impl From<CodecJson> for CodecRecord {
    fn from(json: CodecJson) -> Self {
        Self {
            id: json.id,
            bytes: json.bytes,
            digest: json.digest,
        }
    }
}

impl From<CodecRecord> for CodecJson {
    fn from(record: CodecRecord) -> Self {
        Self {
            id: record.id,
            bytes: record.bytes,
            digest: record.digest,
        }
    }
}
