//! The learned codec: a residual network to latents, rounding or a trellis, factorised tables, a network back.
//!
//! Source: `docs/METHOD.md` 1.2 to 1.4, arXiv 2510.11234.

mod codec;
mod column_streams;
mod columns;
mod freeze;
mod layers;
mod parameters;
mod product;
mod shape;
mod start;
mod states;
mod stored;
mod streams;
mod synthesizer;
mod transform;

#[cfg(test)]
mod column_tests;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use codec::{NeuralCodec, QuantizedChunks};
pub use freeze::{MAX_TABLE_SYMBOL, TABLE_PRECISION, freeze_from_pmf};
pub use parameters::{MAX_PARAMETERS, Parameters, check_parameters};
pub use start::{initial_parameters, random_parameters, standard_normal};
pub use synthesizer::{SynthesisBackend, Synthesizer};
