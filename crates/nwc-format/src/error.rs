//! What can go wrong, sorted by who must act.

use crate::Digest;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Who must act on an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The reader or writer failed; trying again may help.
    Io,
    /// The file is wrong; there is nothing to do but report it.
    Format,
    /// The file asks for more than [`crate::Limits`] allow.
    Limit,
    /// The caller is wrong.
    Argument,
}

/// Errors of the container, each naming the section, tensor or key it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed. Kind: I/O.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, as in `read the header`.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file ends too early, or goes on too long. Kind: format.
    #[error("{what} is {found} bytes long, expected {expected}")]
    Length {
        /// What was measured.
        what: String,
        /// Bytes there are.
        found: u64,
        /// Bytes there must be.
        expected: String,
    },
    /// A JSON text cannot be read. Kind: format.
    #[error("{what} is not the expected JSON: {source}")]
    Json {
        /// Which text.
        what: String,
        /// The cause, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// The entries of a safetensors header do not fit together. Kind: format.
    #[error("the safetensors header is wrong: {source}")]
    Safetensors {
        /// The cause.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A name is there twice. Kind: format.
    #[error("name `{name}` is there twice, allowed once")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A dtype that safetensors does not have. Kind: format.
    #[error("tensor `{tensor}` has unknown dtype `{found}`, known are {known}", known = crate::DType::known_names())]
    UnknownDType {
        /// The tensor.
        tensor: String,
        /// The name found.
        found: String,
    },
    /// A section's place or length disagrees with its dtype and shape. Kind: format.
    #[error("section `{section}` {found}, expected {expected}")]
    Section {
        /// The section.
        section: String,
        /// What there is.
        found: String,
        /// What there should be.
        expected: String,
    },
    /// A key of the metadata is missing: the file is not of this format. Kind: format.
    #[error("no key `{key}` in the safetensors metadata: not an nwc file")]
    MissingMetadata {
        /// The key.
        key: &'static str,
    },
    /// A format version that this build does not read. Kind: format.
    #[error("format version {found}, this build reads versions {oldest} to {newest}")]
    Version {
        /// The file's version.
        found: u64,
        /// The oldest version that this build reads.
        oldest: u32,
        /// The newest.
        newest: u32,
    },
    /// Tensors are stored as differences to another model, which was not given. Kind: argument.
    #[error(
        "stored as differences to the model `{name}` with fingerprint {fingerprint}, which was not given"
    )]
    BaseMissing {
        /// What the base is called.
        name: String,
        /// Fingerprint of its weights.
        fingerprint: Digest,
    },
    /// Tensors are stored as differences to another model than the one given. Kind: argument.
    #[error(
        "stored as differences to the model `{name}` with fingerprint {expected}, given was one with {found}"
    )]
    OtherBase {
        /// What the base is called.
        name: String,
        /// Fingerprint of its weights.
        expected: Digest,
        /// Fingerprint of the model that was given.
        found: Digest,
    },
    /// The header was changed after it was written. Kind: format.
    #[error("header digest is {found}, the header says {expected}: the header is damaged")]
    HeaderDigest {
        /// Computed from the bytes.
        found: Digest,
        /// As stored; not always a well-formed digest.
        expected: String,
    },
    /// A section's bytes were changed after they were written. Kind: format.
    #[error(
        "digest of section `{section}` is {found}, the table says {expected}: the section is damaged"
    )]
    SectionDigest {
        /// The section.
        section: String,
        /// Computed from the bytes.
        found: Digest,
        /// From the table.
        expected: Digest,
    },
    /// A record of the tensor table contradicts the file or itself. Kind: format.
    #[error("tensor `{tensor}`: {found}, expected {expected}")]
    Record {
        /// The tensor.
        tensor: String,
        /// What the record says.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The table as a whole, or a set of shards, contradicts itself. Kind: format.
    #[error("{what} is {found}, expected {expected}")]
    Table {
        /// The quantity.
        what: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A payload's substream table is wrong. Kind: format.
    #[error("payload {section}: {found}, expected {expected}")]
    Payload {
        /// The section, or `bytes` where the caller gave none.
        section: String,
        /// What there is.
        found: String,
        /// What there should be.
        expected: String,
    },
    /// The file asks for more than allowed. Kind: limit.
    #[error("{what} is {found}, allowed are {allowed}")]
    Limit {
        /// The quantity, with the tensor's name where it has one.
        what: String,
        /// What the file asks for.
        found: u64,
        /// What [`crate::Limits`] allow.
        allowed: u64,
    },
    /// The caller gave something that cannot be stored. Kind: argument.
    #[error("{what} is {found}, allowed is {allowed}")]
    Argument {
        /// Which argument.
        what: String,
        /// What was given.
        found: String,
        /// What is allowed.
        allowed: String,
    },
}

impl Error {
    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::Argument { .. } | Self::BaseMissing { .. } | Self::OtherBase { .. } => {
                ErrorKind::Argument
            }
            _ => ErrorKind::Format,
        }
    }

    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn limit(what: impl Into<String>, found: u64, allowed: u64) -> Self {
        Self::Limit {
            what: what.into(),
            found,
            allowed,
        }
    }

    pub(crate) fn argument(
        what: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Argument {
            what: what.into(),
            found: found.into(),
            allowed: allowed.into(),
        }
    }

    pub(crate) fn record(
        tensor: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Record {
            tensor: tensor.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}
