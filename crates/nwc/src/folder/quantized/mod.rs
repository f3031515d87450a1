//! Weights that are quantised already: found, carried as they are, or opened into plain weights.
//!
//! | method | found by | opened |
//! |---|---|---|
//! | FP8 | `weight` of F8, scales beside it | [`fp8`] |
//! | MXFP4 | `*_blocks` and `*_scales` | [`mxfp4`] |
//! | GPTQ, AWQ | `qweight`, told by its shape | [`gptq`], [`awq`] |
//! | NVFP4, bitsandbytes, MLX, packed or plain integers | their scales | no, carried |

mod awq;
mod config;
mod detect;
mod fp8;
mod gptq;
mod mxfp4;
mod open;
mod opened;
mod packed;
#[cfg(test)]
mod tests;

pub(crate) use config::{is_of_quantizing, plain_config, quantization_of};
pub(crate) use detect::detect;
use detect::{Group, Method};
use open::{Details, Part, open, opened_shape};
pub(crate) use opened::{Opened, StoredPart, plan};

use crate::TensorError;

/// A tensor that does not fit the others of its weight.
fn wrong(what: &'static str, found: String, expected: impl Into<String>) -> TensorError {
    TensorError::Record {
        what,
        found,
        expected: expected.into(),
    }
}
