//! Entropy-coded trellis quantisation: decoded with one table step a weight and no network.
//!
//! # How it works
//! A weight over its step is quantised to an integer `k = 2s + p`. A trellis code with 4 to 256 states
//! runs down each column; its state dictates the parity `p` and the lowest bit of the stored symbol
//! `s` moves it on. A state can only use every second integer, which is what the symbol is coded at;
//! the path as a whole can follow the weights on the denser union of both classes. That wins back
//! 0.16 (4 states) to 0.22 bit (256) of the 0.25 bit a weight by which scalar quantisation misses the
//! rate-distortion limit.
//! * The Viterbi search minimises squared error plus Lagrangian times bits
//!   ([`TrellisQuantizer`]).
//! * A symbol is coded under a table that is picked by the weight's predicted scale, known from a
//!   few bits a row and a column ([`TensorScales`]), and by the state's parity. Steps follow what is
//!   known of a layer ([`StepFactors`]), predicted scales its weights ([`ScalePrediction`]). Tables and
//!   reconstruction points are fitted to the model ([`TrellisCodec::fit`]) and stored once.
//! * Encoding and decoding run 32 columns side by side ([`encode`], [`decode`]).
//!
//! # How it is used
//! ```
//! use ndarray::Array2;
//! use nwc_chunk::Parallelism;
//! use nwc_codec::trellis::{self, TensorScales, TrellisCodec, TrellisConfig, TrellisQuantizer};
//!
//! # fn main() -> trellis::Result<()> {
//! let (rows, cols) = (64, 5);
//! let weights = Array2::from_shape_fn((rows, cols), |(i, j)| ((7 * i + 3 * j) % 11) as f32 - 5.0);
//! let codec = TrellisCodec::parametric(TrellisConfig::wide(8))?;
//! let scales = TensorScales::uniform(rows, cols, 0.25, 3.2);
//!
//! let mut quantizer = TrellisQuantizer::new(&codec, &scales, rows, cols)?;
//! let mut expected = Array2::zeros((rows, cols));
//! for col in (0..cols).rev() {
//!     let mut reconstruction = vec![0.0; rows];
//!     quantizer.quantize_column(col, &weights.column(col).to_vec(), &mut reconstruction)?;
//!     expected.column_mut(col).assign(&ndarray::ArrayView1::from(&reconstruction));
//! }
//! let substreams = trellis::encode(&codec, &scales, &quantizer.finish()?, Parallelism::Serial)?;
//!
//! let substreams: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
//! let mut decoded = Array2::zeros((rows, cols));
//! trellis::decode(&codec, &scales, &substreams, decoded.view_mut(), Parallelism::Serial)?;
//! assert_eq!(decoded, expected);
//! # Ok(())
//! # }
//! ```
//!
//! # References
//! 1. M. W. Marcellin, T. R. Fischer: Trellis coded quantization of memoryless and Gauss-Markov
//!    sources, IEEE Trans. Commun. 38 (1990).
//! 2. T. R. Fischer, M. Wang: Entropy-constrained trellis-coded quantization, IEEE Trans. Inf. Theory
//!    38 (1992).
//! 3. G. Ungerboeck: Channel coding with multilevel/phase signals, IEEE Trans. Inf. Theory 28 (1982).

mod code;
mod codec;
mod config;
mod error;
mod file;
mod fit;
mod kept;
mod levels;
mod points;
mod quantizer;
mod reconstruction;
mod scale_prediction;
mod scales;
mod side_info;
mod steps;
mod stream;
mod symbols;
mod tables;
mod viterbi;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

#[cfg(any(feature = "neural", test))]
pub(crate) use code::N_STATES;
pub(crate) use code::TrellisCode;
pub use codec::TrellisCodec;
pub use config::TrellisConfig;
pub use error::{Error, Result};
pub(crate) use file::FAMILY;
pub use fit::{FitSample, SymbolCounts};
pub use quantizer::TrellisQuantizer;
pub use reconstruction::Reconstruction;
pub use scale_prediction::{ScaleLogs, ScalePrediction};
pub use scales::TensorScales;
pub use steps::{StepAllocation, StepBasis, StepFactors};
pub use stream::{StoredPanels, check_substreams, decode, encode, ideal_bits, n_substreams};
pub use symbols::TrellisSymbols;
pub(crate) use viterbi::{Branches, Viterbi};
