//! Hessian, damping, LDL, LDLQ feedback, importance to quality level and step size.
#![forbid(unsafe_code)]

mod quantizer;

pub use quantizer::{BlockQuantizer, QuantizerError};
