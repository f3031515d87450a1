//! What can go wrong in a stored mask.

/// Result of coding a mask of zeros.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of coding or decoding a mask of zeros.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are more or fewer parts than the shape asks for.
    #[error("the mask of zeros has {found} parts, expected {expected}")]
    Parts {
        /// Number of parts.
        found: usize,
        /// Number that follows from the shape.
        expected: usize,
    },
    /// A substream is of a matrix of another size.
    #[error("substream {substream} of the mask of zeros has {found} steps, expected {expected}")]
    Steps {
        /// Index of the substream.
        substream: usize,
        /// Steps that it has.
        found: usize,
        /// Steps that follow from the shape.
        expected: usize,
    },
    /// The number of tables, or what lists the classes of rows and columns, does not fit.
    #[error("the mask of zeros has {found} {what}, expected {expected}")]
    Classes {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// What would fit.
        expected: &'static str,
    },
    /// A symbol is none of four bits.
    #[error("the mask of zeros holds symbol {found}, allowed: 0 to 15")]
    Symbol {
        /// The symbol.
        found: i32,
    },
    /// A zero lies beyond the last column.
    #[error("the mask of zeros marks a column beyond the {cols} that there are")]
    Beyond {
        /// Columns of the matrix.
        cols: usize,
    },
    /// A substream does not decode.
    #[error("substream {substream} of the mask of zeros: {source}")]
    Substream {
        /// Index of the substream.
        substream: usize,
        /// What the entropy decoder found.
        source: nwc_entropy::Error,
    },
    /// Tables or classes do not decode.
    #[error("tables of the mask of zeros: {0}")]
    Entropy(#[from] nwc_entropy::Error),
}

impl Error {
    /// The same, of substream `idx`.
    pub(super) fn in_substream(self, idx: usize) -> Self {
        match self {
            Self::Substream { source, .. } => Self::Substream {
                substream: idx,
                source,
            },
            other => other,
        }
    }
}
