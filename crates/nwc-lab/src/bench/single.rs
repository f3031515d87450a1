//! What opening a compressed checkpoint costs somebody who wants one tensor.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nwc::Checkpoint;
use serde::Serialize;

/// Opening and decoding one tensor, beside decoding the same tensor again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SingleTensor {
    pub(super) what: &'static str,
    pub(super) tensor: String,
    pub(super) n_weights: usize,
    /// Open the folder and decode the tensor, seconds.
    pub(super) open_and_decode_s: f64,
    /// Decode it once more, codec at hand, seconds.
    pub(super) decode_s: f64,
}

impl SingleTensor {
    /// Seconds beyond the tensor's own decode.
    pub(super) fn overhead_s(&self) -> f64 {
        self.open_and_decode_s - self.decode_s
    }
}

/// Measures on the first linear of the compressed checkpoint in `dir`; each time is the fastest of `n`.
///
/// # Errors
/// Where it cannot be read or holds no linear.
pub(super) fn measure(what: &'static str, dir: &Path, n: usize) -> Result<SingleTensor> {
    let tensor = {
        let checkpoint = Checkpoint::open(dir)?;
        let is_linear = |name: &&str| {
            let is_matrix = checkpoint
                .info(name)
                .is_ok_and(|info| info.shape.len() == 2);
            name.contains(".layers.") && is_matrix
        };
        let name = checkpoint.names().find(is_linear);
        name.context("the checkpoint holds no linear of a layer")?
            .to_owned()
    };
    let (mut open_and_decode_s, mut decode_s) = (f64::INFINITY, f64::INFINITY);
    let mut n_weights = 0;
    for _ in 0..n {
        let start = Instant::now();
        let checkpoint = Checkpoint::open(dir)?;
        n_weights = checkpoint.tensor(&tensor)?.len();
        open_and_decode_s = start.elapsed().as_secs_f64().min(open_and_decode_s);
        let start = Instant::now();
        checkpoint.tensor(&tensor)?;
        decode_s = start.elapsed().as_secs_f64().min(decode_s);
    }
    Ok(SingleTensor {
        what,
        tensor,
        n_weights,
        open_and_decode_s,
        decode_s,
    })
}
