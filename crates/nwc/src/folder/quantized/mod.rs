//! Weights that are quantised already: found, carried as they are, or opened into plain weights.
//!
//! | method | found by | opened |
//! |---|---|---|
//! | FP8 | `weight` of F8, scales beside it | [`fp8`] |
//! | MXFP4 | `*_blocks` and `*_scales` | [`mxfp4`] |
//! | GPTQ, AWQ | `qweight`, told by its shape | [`gptq`], [`awq`] |
//! | NVFP4, bitsandbytes, MLX, packed or plain integers | their scales | no, carried |

mod awq;
mod detect;
mod fp8;
mod gptq;
mod mxfp4;
mod open;
mod packed;
#[cfg(test)]
mod tests;

pub(crate) use detect::{Group, Method, detect};
#[expect(unused_imports, reason = "opening is not offered by compress yet")]
pub(crate) use open::{Details, Part, open, opened_shape};

use crate::TensorError;

/// A tensor that does not fit the others of its weight.
fn wrong(what: &'static str, found: String, expected: impl Into<String>) -> TensorError {
    TensorError::Record {
        what,
        found,
        expected: expected.into(),
    }
}
