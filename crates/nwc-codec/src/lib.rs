#![doc = include_str!("../README.md")]
#![deny(unsafe_code)] // One file is excepted: the call of `gemm` in neural/product.rs.

mod columns;
#[cfg(feature = "neural")]
mod config;
mod error;
mod family;
mod file;
#[cfg(test)]
mod golden;
#[cfg(feature = "neural")]
mod neural;
pub mod packed;
mod parallel;
pub mod trellis;
pub mod zeros;

#[cfg(feature = "neural")]
pub use config::CodecConfig;
pub use error::{Error, Result};
pub use family::Codec;
#[cfg(feature = "neural")]
pub use neural::{
    MAX_PARAMETERS, MAX_TABLE_SYMBOL, NeuralCodec, Parameters, QuantizedChunks, SynthesisBackend,
    Synthesizer, TABLE_PRECISION, check_parameters, freeze_from_pmf, initial_parameters,
    random_parameters, standard_normal,
};
