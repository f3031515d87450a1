//! What can go wrong between a matrix and its chunks.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate; the caller is wrong in every variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A chunk of no weights, or of more than [`MAX_CHUNK_LEN`](crate::MAX_CHUNK_LEN).
    #[error("chunk length {found} outside [1, {max}]")]
    ChunkLength {
        /// Length that was asked for.
        found: usize,
        /// Largest length allowed.
        max: usize,
    },
    /// The padded matrix does not fit the address space.
    #[error(
        "a {rows} x {cols} matrix in chunks of {chunk_len} is larger than the {max_bytes} bytes that can be addressed"
    )]
    TooLarge {
        /// Output features of the matrix.
        rows: usize,
        /// Input features of the matrix.
        cols: usize,
        /// Weights in a chunk.
        chunk_len: usize,
        /// Largest number of bytes allowed.
        max_bytes: usize,
    },
    /// A matrix or a list of chunks is not of the expected shape.
    #[error("{what} is {} x {}, expected {} x {}", found.0, found.1, expected.0, expected.1)]
    ShapeMismatch {
        /// Which argument.
        what: &'static str,
        /// Its shape.
        found: (usize, usize),
        /// The shape that fits.
        expected: (usize, usize),
    },
    /// A list does not have one entry for each row or column.
    #[error("{what} has {found} entries, expected {expected}")]
    LengthMismatch {
        /// Which argument.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that fits.
        expected: usize,
    },
}
