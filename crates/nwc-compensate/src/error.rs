//! What can go wrong in error compensation.

use crate::QuantizerError;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: first what statistics can have wrong, then the caller, then the quantiser.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A Hessian is not square.
    #[error("hessian is {rows} x {cols}, expected a square matrix")]
    NotSquare {
        /// Its rows.
        rows: usize,
        /// Its columns.
        cols: usize,
    },
    /// A packed triangle is not as long as its dimension says.
    #[error("packed hessian of dimension {dim} has {found} values, expected {expected}")]
    PackedLength {
        /// Dimension of the Hessian.
        dim: usize,
        /// Values in the triangle.
        found: usize,
        /// `dim * (dim + 1) / 2`.
        expected: usize,
    },
    /// A Hessian is not symmetric.
    #[error(
        "hessian is {found} at ({row}, {col}) and {mirrored} at ({col}, {row}), expected equal"
    )]
    NotSymmetric {
        /// Row of the first value.
        row: usize,
        /// Column of the first value.
        col: usize,
        /// The first value.
        found: f32,
        /// The value across the diagonal.
        mirrored: f32,
    },
    /// A value that has to be non-negative is negative.
    #[error("{what} {idx} is {found}, expected at least 0")]
    Negative {
        /// Which value.
        what: &'static str,
        /// Its index.
        idx: usize,
        /// What it is.
        found: f64,
    },
    /// A NaN or an infinity.
    #[error("{what} ({row}, {col}) is {found}, expected a finite number")]
    NonFinite {
        /// Which matrix.
        what: &'static str,
        /// Row in it.
        row: usize,
        /// Column in it.
        col: usize,
        /// What it is.
        found: f32,
    },
    /// A Hessian of zeros: the layer has seen no input.
    #[error("hessian of dimension {dim} is all zeros, expected statistics of at least one input")]
    NoInput {
        /// Dimension of the Hessian.
        dim: usize,
    },
    /// A Hessian that has no factor even when heavily damped.
    #[error(
        "hessian of dimension {dim} is not positive definite at damping {damping}, allowed up to {max}"
    )]
    NotPositiveDefinite {
        /// Dimension of the Hessian.
        dim: usize,
        /// The last damping that was tried.
        damping: f64,
        /// The largest damping allowed.
        max: f64,
    },
    /// A number outside of its range.
    #[error("{what} is {found}, allowed: {allowed}")]
    OutOfRange {
        /// Which argument.
        what: &'static str,
        /// What it is.
        found: f64,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// A matrix is not of the expected shape.
    #[error("{what} is {} x {}, expected {} x {}", found.0, found.1, expected.0, expected.1)]
    ShapeMismatch {
        /// Which argument.
        what: &'static str,
        /// Its shape.
        found: (usize, usize),
        /// The shape that fits.
        expected: (usize, usize),
    },
    /// A list is not as long as the matrix asks for.
    #[error("{what} has {found} entries, expected {expected}")]
    LengthMismatch {
        /// Which argument.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that fits.
        expected: usize,
    },
    /// The quantiser failed.
    #[error("quantising a block of {n_cols} columns that column {col} is the first of")]
    Quantizer {
        /// The first column of the block that it was given.
        col: usize,
        /// Columns of the block.
        n_cols: usize,
        /// Why.
        #[source]
        source: QuantizerError,
    },
}

/// Refuses a list that does not have `expected` entries.
pub(crate) fn check_len(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::LengthMismatch {
            what,
            found,
            expected,
        })
    }
}

/// Refuses a matrix that is not of shape `expected`.
pub(crate) fn check_shape(
    what: &'static str,
    found: (usize, usize),
    expected: (usize, usize),
) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::ShapeMismatch {
            what,
            found,
            expected,
        })
    }
}
