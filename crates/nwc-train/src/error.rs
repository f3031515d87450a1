//! What can go wrong in training.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate, sorted by who must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A training configuration asks for what cannot be run: the caller is wrong.
    #[error("training field {field} is {found}, allowed: {allowed}")]
    Config {
        /// Field of the configuration.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        allowed: String,
    },
    /// There are too few weights to train on: the caller is wrong.
    #[error("training data holds {found} runs of {run_len} weights, needed: at least {needed}")]
    TooFewRuns {
        /// Whole runs found.
        found: usize,
        /// Weights in a run.
        run_len: usize,
        /// Runs needed.
        needed: usize,
    },
    /// A weight is NaN or infinite, or all weights are equal: the caller is wrong.
    #[error("training data {what}, allowed: finite weights that differ")]
    Data {
        /// What was found, and where.
        what: String,
    },
    /// A CUDA device was asked for and LibTorch does not have it.
    #[error("device cuda:{idx} was asked for and LibTorch reports {n_devices} CUDA devices")]
    NoCuda {
        /// Index of the device asked for.
        idx: usize,
        /// Devices that LibTorch reports.
        n_devices: i64,
    },
    /// The loss is no longer a number: a smaller learning rate may help.
    #[error("loss is {loss} at step {step}, allowed: a finite number")]
    Diverged {
        /// Step after which it was found.
        step: usize,
        /// The loss.
        loss: f64,
    },
    /// A checkpoint is damaged, of another version, or of other data: the file is wrong.
    #[error("training checkpoint {what}")]
    Checkpoint {
        /// What was found and what was expected.
        what: String,
    },
    /// A codec that a frozen network would give is refused.
    #[error("codec: {source}")]
    Codec {
        /// What the codec crate says.
        #[from]
        source: nwc_codec::Error,
    },
    /// A frozen table is refused.
    #[error("frozen table {table_idx}: {source}")]
    Table {
        /// Index of the table, `level * latent_dim + channel`.
        table_idx: usize,
        /// What the entropy crate says.
        #[source]
        source: nwc_entropy::Error,
    },
    /// LibTorch failed, for instance for want of memory.
    #[error("libtorch: {source}")]
    Torch {
        /// What LibTorch says.
        #[from]
        source: tch::TchError,
    },
}

impl Error {
    /// The field's value and what would be accepted, as [`Error::Config`].
    pub(crate) fn config(
        field: &'static str,
        found: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Config {
            field,
            found: found.to_string(),
            allowed: allowed.into(),
        }
    }

    /// As [`Error::Checkpoint`].
    pub(crate) fn checkpoint(what: impl Into<String>) -> Self {
        Self::Checkpoint { what: what.into() }
    }
}
