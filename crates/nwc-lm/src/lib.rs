#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod batches;
mod calibrate;
mod config;
mod device;
mod error;
mod evaluate;
mod generate;
mod model;
mod names;
mod recovery;
mod tensors;
#[cfg(test)]
mod testing;
mod text;
mod weights;
mod zero_shot;

pub use calibrate::{
    CalibrationOptions, CalibrationReport, CalibrationStep, StatisticsSink, calibrate,
};
pub use config::{
    Activation, Architecture, Biases, FeedForwardKind, ModelConfig, RopeScaling, RotaryConfig,
};
pub use device::Device;
pub use error::{Error, Result};
pub use evaluate::{Comparison, Evaluation, EvaluationOptions, evaluate};
pub use generate::generate;
pub use model::{
    Block, Embedding, Head, KvCache, LanguageModel, Linear, LinearInfo, ModelOptions, NoTap,
    Residency, Sequence, Tap,
};
pub use recovery::{
    Quantize, QuantizedLinear, RecoveredBlock, Recovery, RecoveryOptions, RecoveryStep,
    ScaleTuningOptions, TunedScales, tune_scales,
};
pub use text::{TextTokenizer, windows};
pub use weights::{HfFolder, MemoryWeights, OverlaidWeights, WeightSource, WeightTensor};
pub use zero_shot::{ChoiceItem, ZeroShot, parse_choice_items, zero_shot};
