#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod device;
mod error;
mod model;
mod names;
mod tensors;
#[cfg(test)]
mod testing;
mod weights;

pub use config::{
    Activation, Architecture, Biases, FeedForwardKind, ModelConfig, RopeScaling, RotaryConfig,
};
pub use device::Device;
pub use error::{Error, Result};
pub use model::{
    Block, Embedding, Head, KvCache, LanguageModel, Linear, LinearInfo, ModelOptions, NoTap,
    Residency, Sequence, Tap,
};
pub use weights::{HfFolder, MemoryWeights, OverlaidWeights, WeightSource, WeightTensor};
