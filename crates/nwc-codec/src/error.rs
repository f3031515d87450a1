//! What can go wrong in a codec.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate, sorted by who must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // === The codec file or the configuration is wrong ===
    /// A configuration asks for what this version does not run.
    #[error("codec field {field} is {found}, allowed: {allowed}")]
    Config {
        /// Field of the configuration.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        allowed: String,
    },
    /// The bytes are no safetensors file.
    #[error("codec file is no safetensors file of {n_bytes} bytes: {source}")]
    NotSafetensors {
        /// Length of what was read.
        n_bytes: usize,
        /// What the parser found.
        source: safetensors::SafeTensorError,
    },
    /// An entry of the file's metadata is missing.
    #[error("codec file has no metadata entry {key}")]
    MetadataMissing {
        /// The entry.
        key: &'static str,
    },
    /// An entry of the file's metadata is not the JSON it should be.
    #[error("codec metadata entry {key} is not valid: {source}")]
    Metadata {
        /// The entry.
        key: &'static str,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// The file was written by another version of the format.
    #[error("codec file is of version {found}, this program reads version {supported}")]
    Version {
        /// Version in the file.
        found: String,
        /// Version that this crate reads.
        supported: &'static str,
    },
    /// The codec is of a family that is not expected here.
    #[error("codec is of family {found}, expected: {expected}")]
    Family {
        /// Family in the file.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The codec is of a family that this build leaves out.
    #[error("codec is of family {family}; this build lacks the feature `{feature}` of nwc-codec")]
    FeatureMissing {
        /// Family in the file.
        family: &'static str,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// A tensor that the configuration asks for is not there.
    #[error("codec has no tensor {name}")]
    ParameterMissing {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor is there that the configuration does not ask for.
    #[error("codec has a tensor {name} that its configuration does not know")]
    ParameterUnknown {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("codec tensor {name} has shape {found:?}, expected {expected:?}")]
    ParameterShape {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
    },
    /// A tensor has another element type than the format says.
    #[error("codec tensor {name} has type {found}, expected {expected}")]
    ParameterType {
        /// Name of the tensor.
        name: String,
        /// Its type.
        found: String,
        /// The type that the format says.
        expected: &'static str,
    },
    /// A parameter is NaN or infinite.
    #[error("codec tensor {name} holds {found} at element {idx}, allowed: finite numbers")]
    ParameterNotFinite {
        /// Name of the tensor.
        name: String,
        /// Index of the element in row-major order.
        idx: usize,
        /// The element.
        found: f32,
    },
    /// There are more or fewer probability tables than the configuration asks for.
    #[error("codec has {found} tables, expected {expected}")]
    Tables {
        /// Number of tables.
        found: usize,
        /// One for each quality level and latent channel, two with a trellis.
        expected: usize,
    },

    // === The caller's argument is wrong ===
    /// An array has another shape than the codec works on.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The argument.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that was expected.
        expected: Vec<usize>,
    },
    /// A chunk asks for a quality level that the codec does not have.
    #[error("chunk {chunk_idx} asks for quality level {found}, the codec has {n_quality_levels}")]
    Level {
        /// Index of the chunk.
        chunk_idx: usize,
        /// The level.
        found: u8,
        /// Number of levels of the codec.
        n_quality_levels: usize,
    },
    /// A chunk has no latent: a weight is NaN, or so large that the transform overflows.
    #[error(
        "chunk {chunk_idx} has a latent that is not a number; its weights are NaN, infinite or too large"
    )]
    NotANumber {
        /// Index of the chunk, the first one if there are several.
        chunk_idx: usize,
    },

    /// Symbols to be coded are not those of a path through the codec's trellis.
    #[error(
        "chunk {chunk_idx} has a symbol {found} where the trellis allows {} ones only",
        if *.found & 1 == 0 { "odd" } else { "even" }
    )]
    NotAPath {
        /// Index of the chunk.
        chunk_idx: usize,
        /// The symbol.
        found: i32,
    },
    /// Chunks are no whole number of columns.
    #[error("{n_chunks} chunks are no whole columns of {chunks_per_column}")]
    Columns {
        /// Number of chunks.
        n_chunks: usize,
        /// Chunks that a column was said to have.
        chunks_per_column: usize,
    },

    // === The coded symbols are wrong ===
    /// There are more or fewer substreams than the number of chunks asks for.
    #[error("found {found} substreams, {expected} code {n_chunks} chunks")]
    SubstreamCount {
        /// Number of substreams given.
        found: usize,
        /// Number that follows from the number of chunks.
        expected: usize,
        /// Number of chunks.
        n_chunks: usize,
    },
    /// A substream does not decode.
    #[error("substream {substream_idx}: {source}")]
    Substream {
        /// Index of the substream.
        substream_idx: usize,
        /// What the entropy decoder found.
        source: nwc_entropy::Error,
    },
    /// A table, or a symbol to be coded, was refused by the entropy coder.
    #[error("entropy coder: {source}")]
    Entropy {
        /// What it found.
        #[from]
        source: nwc_entropy::Error,
    },
    // === Somewhere else failed ===
    /// The device that computes a synthesis failed, for instance for want of memory.
    #[error("synthesis")]
    Synthesis(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// A tensor that was coded without loss does not decode.
    #[error(transparent)]
    Packed(#[from] crate::packed::Error),

    /// A mask of zeros does not decode.
    #[error(transparent)]
    Zeros(#[from] crate::zeros::Error),

    /// A trellis codec met an error.
    #[error(transparent)]
    Trellis(#[from] crate::trellis::Error),
}
