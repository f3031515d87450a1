//! What can go wrong between two folders.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the facade; every message names the file, and the tensor where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The output is there already.
    #[error("output {} exists; remove it or choose another name", path.display())]
    OutputExists {
        /// The output asked for.
        path: PathBuf,
    },
    /// A path should name a file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A folder holds no checkpoint.
    #[error("{} holds no checkpoint: no model.safetensors.index.json and no *.safetensors file", path.display())]
    NotACheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// A folder holds weights, but none in safetensors.
    #[error("{} holds no safetensors file, only {found}; convert it first: python -c \"from transformers import AutoModel; AutoModel.from_pretrained('{}').save_pretrained('{}-safetensors')\"", path.display(), path.display(), path.display())]
    OtherWeights {
        /// The folder.
        path: PathBuf,
        /// A weight file that was found.
        found: String,
    },
    /// A Git LFS pointer in place of a file.
    #[error("{} is a Git LFS pointer, a text in place of the file; run git lfs pull in its folder", path.display())]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A plain checkpoint where a compressed one was expected.
    #[error("{} is not compressed by nwc: its header has no nwc entry", path.display())]
    NotCompressed {
        /// The file looked at.
        path: PathBuf,
    },
    /// A compressed checkpoint where a plain one was expected.
    #[error("{} is compressed already (nwc format)", path.display())]
    AlreadyCompressed {
        /// The file looked at.
        path: PathBuf,
    },
    /// The index names a shard that is not there.
    #[error("shard {} of tensor {tensor} is missing; it is named in {}", shard.display(), index.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The shard it names.
        shard: PathBuf,
        /// A tensor that should be in it.
        tensor: String,
    },
    /// The index and a shard disagree.
    #[error("tensor {tensor}: {} places it in {}, it was found {found}", index.display(), shard.display())]
    IndexMismatch {
        /// The index.
        index: PathBuf,
        /// The shard that the index names.
        shard: PathBuf,
        /// The tensor they disagree about.
        tensor: String,
        /// Where the tensor is.
        found: String,
    },
    /// A safetensors header that cannot be used.
    #[error("{}: {detail}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the tensor's name where it can be told.
        detail: String,
    },
    /// A JSON file that cannot be used.
    #[error("{} is not the JSON expected", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The container is damaged or of another version.
    #[error("{}", path.display())]
    Container {
        /// The shard.
        path: PathBuf,
        /// What is wrong with it.
        source: nwc_format::Error,
    },
    /// A file carried along is not what was stored.
    #[error("{}: digest {found}, expected {expected}", path.display())]
    FileDigest {
        /// The file.
        path: PathBuf,
        /// Digest found.
        found: String,
        /// Digest recorded.
        expected: String,
    },
    /// A tensor holds a value that no codec can keep.
    #[error("{}: tensor {tensor} holds {value} at element {element_idx}; repair the checkpoint or pass --non-finite keep to store such tensors uncoded", path.display())]
    NonFinite {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Flat index of the first such element.
        element_idx: usize,
        /// NaN, inf or -inf.
        value: f32,
    },
    /// No tensor of that name.
    #[error("{}: no tensor {tensor}", path.display())]
    NoSuchTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name asked for.
        tensor: String,
    },
    /// A tensor cannot be decoded.
    #[error("{}: tensor {tensor}", path.display())]
    Tensor {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        source: Box<TensorError>,
    },
    /// A codec file cannot be used.
    #[error("codec {name}")]
    Codec {
        /// File, or name of the pretrained codec.
        name: String,
        /// What is wrong with it.
        source: nwc_codec::Error,
    },
    /// Statistics do not fit the model.
    #[error("statistics {}: {detail}", path.display())]
    Statistics {
        /// The statistics file.
        path: PathBuf,
        /// What was found and what was needed.
        detail: String,
    },
    /// Recovery between the coding of linears failed.
    #[error("recovery failed")]
    Recovery(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was written cannot be read back, so that it was not kept.
    #[error("what was written to {} cannot be read back; nothing is left of it", path.display())]
    NotReadBack {
        /// The output asked for.
        path: PathBuf,
        /// What the reader found.
        source: Box<Error>,
    },
    /// A model is not the one that was compressed.
    #[error("{} is another model: its fingerprint is {found}, what was compressed had {expected}", path.display())]
    OtherModel {
        /// The model that was given.
        path: PathBuf,
        /// Its fingerprint.
        found: String,
        /// The fingerprint recorded in the compressed checkpoint.
        expected: String,
    },
    /// [`Progress::is_cancelled`](crate::Progress::is_cancelled) said so; nothing is left behind.
    #[error("cancelled")]
    Cancelled,
    /// The caller asked for something that cannot be.
    #[error("{argument} is {found}, allowed: {allowed}")]
    Argument {
        /// Name of the argument.
        argument: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        allowed: String,
    },
}

/// What can be wrong with one tensor; [`Error::Tensor`] adds file and name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The container's digests or layout.
    #[error(transparent)]
    Container(#[from] nwc_format::Error),
    /// The codec.
    #[error(transparent)]
    Codec(#[from] nwc_codec::Error),
    /// Error feedback.
    #[cfg(feature = "encode")]
    #[error(transparent)]
    Compensate(#[from] nwc_compensate::Error),
    /// Shapes and chunks.
    #[error(transparent)]
    Chunk(#[from] nwc_chunk::Error),
    /// A weight is further from the original than was recorded when it was coded.
    #[error("relative squared error {found:e}, recorded {recorded:e}")]
    Worse {
        /// ‖W−Ŵ‖²/‖W‖², measured now.
        found: f64,
        /// The same, from the table.
        recorded: f64,
    },
    /// The record says something that its sections do not bear out.
    #[error("{what} is {found}, expected {expected}")]
    Record {
        /// Which property.
        what: &'static str,
        /// What was found.
        found: String,
        /// What was needed.
        expected: String,
    },
}

impl From<nwc_codec::zeros::Error> for TensorError {
    fn from(error: nwc_codec::zeros::Error) -> Self {
        Self::Codec(error.into())
    }
}

impl From<nwc_codec::packed::Error> for TensorError {
    fn from(error: nwc_codec::packed::Error) -> Self {
        Self::Codec(error.into())
    }
}

impl From<nwc_codec::trellis::Error> for TensorError {
    fn from(error: nwc_codec::trellis::Error) -> Self {
        Self::Codec(error.into())
    }
}

impl Error {
    /// The name of the variant: what bindings name their exceptions by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "Io",
            Self::OutputExists { .. } => "OutputExists",
            Self::NotAFile { .. } => "NotAFile",
            Self::NotACheckpoint { .. } => "NotACheckpoint",
            Self::OtherWeights { .. } => "OtherWeights",
            Self::LfsPointer { .. } => "LfsPointer",
            Self::NotCompressed { .. } => "NotCompressed",
            Self::AlreadyCompressed { .. } => "AlreadyCompressed",
            Self::MissingShard { .. } => "MissingShard",
            Self::IndexMismatch { .. } => "IndexMismatch",
            Self::Header { .. } => "Header",
            Self::Json { .. } => "Json",
            Self::Container { .. } => "Container",
            Self::FileDigest { .. } => "FileDigest",
            Self::NonFinite { .. } => "NonFinite",
            Self::NoSuchTensor { .. } => "NoSuchTensor",
            Self::Tensor { .. } => "Tensor",
            Self::Codec { .. } => "Codec",
            Self::Statistics { .. } => "Statistics",
            Self::Recovery(_) => "Recovery",
            Self::NotReadBack { .. } => "NotReadBack",
            Self::OtherModel { .. } => "OtherModel",
            Self::Cancelled => "Cancelled",
            Self::Argument { .. } => "Argument",
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    pub(crate) fn container(path: &Path, source: nwc_format::Error) -> Self {
        Self::Container {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, source: impl Into<TensorError>) -> Self {
        Self::Tensor {
            path: path.into(),
            tensor: tensor.into(),
            source: Box::new(source.into()),
        }
    }
}
