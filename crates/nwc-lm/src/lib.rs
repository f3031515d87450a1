#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod batches;
mod calibrate;
mod checkpoint;
mod config;
mod device;
mod error;
mod evaluate;
mod generate;
mod model;
mod names;
mod tensors;
#[cfg(test)]
mod testing;
mod text;
mod weights;
mod zero_shot;

pub use batches::{Batch, embed_batches, final_hidden_states};
pub use calibrate::{
    CalibrationOptions, CalibrationReport, CalibrationStep, CalibrationText, Statistic,
    StatisticKind, StatisticsSink, calibrate, calibrate_checkpoint,
};
pub use checkpoint::CheckpointWeights;
pub use config::{
    Activation, Architecture, Biases, FeedForwardKind, ModelConfig, RopeScaling, RotaryConfig,
};
pub use device::Device;
pub use error::{BoxedError, Error, Result};
pub use evaluate::{
    Comparison, Evaluation, EvaluationOptions, continue_greedily, evaluate, require_next_token,
};
pub use generate::generate;
pub use model::{
    Block, Embedding, Head, KvCache, LanguageModel, Linear, LinearInfo, LinearWeight, ModelOptions,
    NoTap, Norm, Residency, Sequence, Tap,
};
pub use tensors::{from_matrix, from_slice, to_matrix, to_vec_f32, without_grad};
pub use text::{Place, TextTokenizer, spread_windows, windows};
pub use weights::{MemoryWeights, OverlaidWeights, WeightSource, WeightTensor};
pub use zero_shot::{ChoiceItem, ZeroShot, parse_choice_items, zero_shot};
