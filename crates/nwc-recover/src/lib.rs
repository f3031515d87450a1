#![doc = include_str!("../README.md")]
//!
//! # How it is used
//! ```no_run
//! use nwc::{CodecChoice, CompressOptions, NoProgress, RateTarget};
//! use nwc_recover::{RecoverOptions, Stages, compress};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let target = RateTarget::BpwTotal(4.0);
//! let mut options = CompressOptions::new(CodecChoice::Trellis { target, n_states: 8 });
//! options.statistics = Some("model.stats".into());
//! let text = std::fs::read_to_string("text.txt")?;
//! let recover = RecoverOptions::small(Stages::Both);
//! compress("model".as_ref(), "model-nwc".as_ref(), &text, &options, &recover, &NoProgress)?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod adam;
mod blocks;
mod compress;
mod error;
mod parameters;
mod scales;
mod snapshot;
#[cfg(test)]
mod testing;
mod tuning;

pub use blocks::{
    BlockOptions, BlockRecovery, Quantize, QuantizedLinear, RecoveredBlock, RecoveryStep,
};
pub use compress::{RecoverOptions, Stages, compress};
pub use error::{Error, Result};
pub use scales::{ScaleOptions, TunedScales, tune_scales};
