//! What can go wrong while a model is recovered.

use tch::TchError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of recovery.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or running the model failed, or the text does not do.
    #[error(transparent)]
    Model(#[from] nwc_lm::Error),
    /// The optimiser failed.
    #[error(transparent)]
    Optimizer(#[from] nwc_train::Error),
    /// LibTorch refused an operation, for instance for lack of memory.
    #[error("libtorch failed")]
    Torch(#[from] TchError),
    /// A linear could not be coded.
    #[error("cannot code {linear:?}")]
    Coding {
        /// The linear's weight name.
        linear: String,
        /// What the coder says.
        source: Box<nwc::Error>,
    },
    /// The coder gave back a matrix of another shape.
    #[error(
        "coding {linear:?} gave shape {found:?} and {n_row_scales} row scales, expected shape {expected:?}"
    )]
    CodedShape {
        /// The linear's weight name.
        linear: String,
        /// Shape found.
        found: (usize, usize),
        /// Number of row scales found.
        n_row_scales: usize,
        /// `(out, in)` of the linear; it has `out` row scales.
        expected: (usize, usize),
    },
    /// The coder gave back NaN or infinity.
    #[error("coding {linear:?} gave NaN or infinity")]
    CodedNonFinite {
        /// The linear's weight name.
        linear: String,
    },
    /// An option is outside its range.
    #[error("{option} is {found}, allowed: {allowed}")]
    Argument {
        /// The option's name.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        allowed: &'static str,
    },
}
