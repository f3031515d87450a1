//! What can go wrong in a trellis codec.

/// Result of the trellis codec.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the trellis codec, sorted by who must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration asks for what this version does not run.
    #[error("trellis field {field} is {found}, allowed: {allowed}")]
    Config {
        /// Field of the configuration.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        allowed: String,
    },
    /// Two things that must agree in size do not: the caller is wrong.
    #[error("{what} is {found}, expected {expected}")]
    ShapeMismatch {
        /// What was measured.
        what: &'static str,
        /// Its size.
        found: usize,
        /// What the other side asks for.
        expected: usize,
    },
    /// A column index outside the matrix, or one that was coded already.
    #[error("column {col} of {cols} cannot be coded: it is outside the matrix or coded already")]
    Column {
        /// The column asked for.
        col: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// Some columns were never handed over.
    #[error("{found} of {expected} columns were quantised")]
    Unfinished {
        /// Columns quantised.
        found: usize,
        /// Columns of the matrix.
        expected: usize,
    },
    /// A weight that is NaN or infinite cannot be quantised.
    #[error("weight {value} at row {row} of column {col} is not finite")]
    NotFinite {
        /// Row of the weight.
        row: usize,
        /// Column of the weight.
        col: usize,
        /// The weight.
        value: f32,
    },
    /// A statistic that no step can be allocated by.
    #[error("{what} {idx} is {found}, allowed: {allowed}")]
    Statistic {
        /// Which statistic, up to the index.
        what: &'static str,
        /// Row or column that it is of.
        idx: usize,
        /// What it is.
        found: f64,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// A global step that makes no step of a layer's.
    #[error("base step is {found}, allowed: finite numbers above 0")]
    BaseStep {
        /// The layer's step at exponent 0, in weight units.
        found: f32,
    },
    /// Scale side information that no decoder could use.
    #[error("step sizes reach {found:e}, allowed: {min:e} to {max:e}")]
    Step {
        /// Smallest or largest step, in weight units.
        found: f64,
        /// Smallest step allowed.
        min: f64,
        /// Largest step allowed.
        max: f64,
    },
    /// Stored scale side information is damaged.
    #[error("scale side information of {n_bytes} bytes is damaged: {reason}")]
    SideInfo {
        /// Its length.
        n_bytes: usize,
        /// What does not hold.
        reason: &'static str,
    },
    /// Stored scale side information is too short for the matrix that it is said to belong to.
    #[error(
        "scale side information of {n_bytes} bytes holds at most {max_entries} entries, the matrix has {n_entries}"
    )]
    SideInfoTooShort {
        /// Its length.
        n_bytes: usize,
        /// Two a row and a column.
        n_entries: usize,
        /// The most that fit.
        max_entries: usize,
    },
    /// Substream `substream` cannot be decoded.
    #[error("substream {substream} cannot be decoded")]
    Substream {
        /// Its index in the tensor.
        substream: usize,
        /// What the entropy decoder met.
        #[source]
        source: nwc_entropy::Error,
    },
    /// Tables or symbols that the entropy coder refuses.
    #[error("entropy tables")]
    Entropy(#[from] nwc_entropy::Error),
}
