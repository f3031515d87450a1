//! The tensor table: how each tensor of the checkpoint was coded, and where its bytes are.

use std::collections::BTreeMap;

use crate::layout::{self, FORMAT_VERSION};
use crate::{DType, Digest};

/// How a tensor is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Coding {
    /// Quantised and entropy coded.
    Coded {
        /// The codec family, as in `neural` or `trellis`.
        family: String,
        /// The id of the codec file that decodes it, a [`CodecRecord::id`] of this or another shard of the set.
        codec: String,
        /// Numbers that the family needs besides its sections; all finite, at most 64.
        parameters: BTreeMap<String, f64>,
        /// Whether this is the difference to the tensor of the same name in [`ShardMetadata::base`].
        base: bool,
    },
    /// Entropy coded without loss: the original bytes come back.
    Packed {
        /// How, as in `exponents`; the method needs no codec file.
        method: String,
        /// Numbers that the method needs besides its sections; all finite, at most 64.
        parameters: BTreeMap<String, f64>,
        /// Whether this is the difference to the tensor of the same name in [`ShardMetadata::base`].
        base: bool,
    },
    /// Its own bytes, in the original dtype, under its own name.
    Raw,
    /// The same tensor as another one, stored once there.
    TiedTo {
        /// The tensor that is stored; itself not tied.
        name: String,
    },
}

impl Coding {
    /// Whether decoding needs the base model.
    pub(crate) fn needs_base(&self) -> bool {
        matches!(
            self,
            Self::Coded { base: true, .. } | Self::Packed { base: true, .. }
        )
    }
}

/// A run of bytes of a shard: one tensor of the safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is for: `payload`, `scales`, `levels`, … or `tensor` for raw bytes.
    pub role: String,
    /// Its name in the safetensors header: [`crate::section_name`] of tensor and role in files of this version.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

/// One tensor of the original checkpoint.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The model that tensors may be stored as differences to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseModel {
    /// What it is called, for people, as in `org/model`.
    pub name: String,
    /// Fingerprint of its weights; no other model will do.
    pub fingerprint: Digest,
}

/// All that a shard says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardMetadata {
    /// Version of the format that the file has; a writer makes [`FORMAT_VERSION`] only.
    pub version: u32,
    /// The tensors of this shard, in the order they are decoded to.
    pub tensors: Vec<TensorRecord>,
    /// The codec files stored in this shard. A set of shards stores each once.
    pub codecs: Vec<CodecRecord>,
    /// Digests of the other files of the folder that were carried along, by file name. First shard only.
    pub files: BTreeMap<String, Digest>,
    /// Paths of the folders below that are compressed checkpoints of their own, sorted. First shard only.
    pub checkpoints: Vec<String>,
    /// What wrote the file, as in `nwc 0.1.0`.
    pub generator: String,
    /// The original safetensors metadata, as in `format` = `pt`.
    pub extra: BTreeMap<String, String>,
    /// Number of shards in the set, at least 1.
    pub n_shards: usize,
    /// Which of them this is, from 0.
    pub shard_idx: usize,
    /// Fingerprint of the original model, the same in all shards of a set.
    pub fingerprint: Digest,
    /// What tensors are differences to, the same in all shards of a set.
    pub base: Option<BaseModel>,
    /// How the file came about, for people: options, a digest of the statistics, recovery. First shard only; at most 64
    /// entries, names as [`crate::section_name`]'s roles, values of at most 4096 bytes.
    pub provenance: BTreeMap<String, String>,
    /// Parameters of the original model, which model hubs show. A set says it in its index instead.
    pub total_parameters: Option<u64>,
}

impl ShardMetadata {
    /// The metadata of a single shard with nothing in it yet.
    pub fn new(generator: impl Into<String>, fingerprint: Digest) -> Self {
        Self {
            version: FORMAT_VERSION,
            tensors: Vec::new(),
            codecs: Vec::new(),
            files: BTreeMap::new(),
            checkpoints: Vec::new(),
            generator: generator.into(),
            extra: BTreeMap::new(),
            n_shards: 1,
            shard_idx: 0,
            fingerprint,
            base: None,
            provenance: BTreeMap::new(),
            total_parameters: None,
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
}
