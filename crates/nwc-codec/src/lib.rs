//! Analysis, quantisation and synthesis in plain Rust, codec files, encoder and decoder.
#![forbid(unsafe_code)]

mod config;
mod error;

pub use config::{CodecConfig, PAPER_RATE_COEFFICIENTS};
pub use error::{Error, Result};
