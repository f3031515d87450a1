//! Everything that is measured, unrounded: what `report.json` holds under `data`.

use serde::Serialize;

use super::reference::Reference;
use super::round_trip::RoundTrip;
use crate::child::Usage;

/// One run of `cargo xtask reproduce`.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Measurements {
    /// Threads that compression and decompression were given.
    pub(crate) n_threads: usize,
    /// A row per λ, rising.
    pub(crate) rates: Vec<Rate>,
    /// What scalar quantisers do on the same weights.
    pub(crate) reference: Reference,
    /// Elements of the largest tensor of the checkpoint.
    pub(crate) largest_tensor: u64,
    /// Compression with one thread and with two, compared byte for byte.
    pub(crate) threads: Option<ThreadComparison>,
    /// Measuring from the first compression to the last comparison, without builds and training, seconds.
    pub(crate) wall_s: f64,
}

/// Everything about one λ.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rate {
    /// Weight of distortion against rate.
    pub(crate) lambda: f64,
    /// Training, where the codec was trained for this report.
    pub(crate) training: Option<Usage>,
    /// What `nwc::inspect` says of the compressed folder.
    pub(crate) totals: nwc::Totals,
    /// `bpw_payload_linear` minus ECSQ's entropy at the same `nmse_normalized_linear`.
    pub(crate) gap_to_ecsq: Option<f64>,
    /// `nwc-cli compress`.
    pub(crate) compress: Usage,
    /// `nwc-cli decompress`.
    pub(crate) decompress: Usage,
    /// How the restored checkpoint compares with the original.
    pub(crate) round_trip: RoundTrip,
}

/// The same compression with another number of threads.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ThreadComparison {
    /// At this λ.
    pub(crate) lambda: f64,
    /// `nwc-cli compress --threads 1`.
    pub(crate) compress_one: Usage,
    /// The first file that differs.
    pub(crate) first_difference: Option<String>,
}
