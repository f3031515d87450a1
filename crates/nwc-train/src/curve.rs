//! The learning curve and the progress that a caller sees.

use serde::{Deserialize, Serialize};

/// One point of the learning curve: means over the weights of one training step, all quality levels alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Step, from 0.
    pub step: usize,
    /// Estimated rate, −log2 p, bits a weight.
    pub bits_per_weight: f64,
    /// Mean squared error over the variance of the training weights.
    pub nmse: f64,
    /// The loss of `docs/METHOD.md` 1.4.
    pub loss: f64,
}

/// What a caller is told now and then during training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainProgress {
    /// Steps done.
    pub n_steps_done: usize,
    /// Steps in all.
    pub n_steps: usize,
    /// The last point of the learning curve.
    pub point: CurvePoint,
}
