//! What can go wrong in a packed tensor.

/// Result of decoding a packed tensor.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of decoding a packed tensor, sorted by who must act.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // === The caller's argument is wrong ===
    /// The tensor's bytes are no whole elements.
    #[error("{n_bytes} bytes are no whole elements of {element_bytes} bytes")]
    PartElement {
        /// Length of what was given.
        n_bytes: usize,
        /// Bytes of an element.
        element_bytes: usize,
    },

    // === The coded bytes are wrong ===
    /// A field of the tables has a value that this version does not read.
    #[error("packed tensor's {field} is {found}, allowed: {min} to {max}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// Least value allowed.
        min: u64,
        /// Largest value allowed.
        max: u64,
    },
    /// The tables end too early.
    #[error("packed tensor's tables end in {what}, after {n_bytes} bytes")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that are there.
        n_bytes: usize,
    },
    /// There are more or fewer substreams than the tensor's length asks for.
    #[error("found {found} substreams, {expected} hold {n_elems} elements")]
    SubstreamCount {
        /// Number of substreams given.
        found: usize,
        /// Number that follows from the tensor's length and its planes.
        expected: usize,
        /// Elements of the tensor.
        n_elems: usize,
    },
    /// A substream of raw bytes has another length than its elements ask for.
    #[error("substream {substream_idx} has {found} bytes, expected {expected}")]
    SubstreamLength {
        /// Index of the substream.
        substream_idx: usize,
        /// Its length.
        found: usize,
        /// The length that follows from the number of elements.
        expected: usize,
    },
    /// A substream does not decode.
    #[error("substream {substream_idx}: {source}")]
    Substream {
        /// Index of the substream.
        substream_idx: usize,
        /// What the entropy decoder found.
        source: nwc_entropy::Error,
    },
    /// The tables do not parse.
    #[error("packed tensor's tables: {source}")]
    Tables {
        /// What the entropy coder found.
        #[from]
        source: nwc_entropy::Error,
    },
}
