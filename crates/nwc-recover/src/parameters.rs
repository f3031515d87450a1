//! The tensors of a block that are tuned, and their names.

use nwc_lm::{Block, LinearWeight};
use tch::Tensor;

use crate::error::Result;

/// One tensor that the optimiser changes in place.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// The name in the checkpoint; for row scales the weight's.
    pub(crate) name: String,
    /// Shares its storage with the block.
    pub(crate) tensor: Tensor,
    /// The checkpoint stores it `[in, out]`.
    pub(crate) transposed: bool,
    pub(crate) is_row_scale: bool,
}

/// Norms, biases, uncoded weights and row scales of `block`, recording gradients from here on.
pub(crate) fn trainable(block: &Block) -> Result<Vec<Parameter>> {
    collect(block, true)
}

/// Norms, biases and row scales of `block`, recording gradients from here on.
pub(crate) fn scales_and_norms(block: &Block) -> Result<Vec<Parameter>> {
    collect(block, false)
}

fn collect(block: &Block, dense: bool) -> Result<Vec<Parameter>> {
    let mut parameters = Vec::new();
    let mut add =
        |name: String, tensor: &Tensor, transposed: bool, is_row_scale: bool| -> Result<()> {
            let tensor = tensor.f_set_requires_grad(true)?;
            parameters.push(Parameter {
                name,
                tensor,
                transposed,
                is_row_scale,
            });
            Ok(())
        };
    for norm in block.norms() {
        add(norm.weight_name.clone(), &norm.weight, false, false)?;
        if let Some(bias) = &norm.bias {
            add(norm.bias_name(), bias, false, false)?;
        }
    }
    for linear in block.linears() {
        let info = linear.info();
        match &linear.weight {
            LinearWeight::Dense(_) if !dense => {}
            LinearWeight::Dense(weight) => {
                add(info.weight_name.clone(), weight, info.transposed, false)?;
            }
            LinearWeight::Scaled { row_scales, .. } => {
                add(info.weight_name.clone(), row_scales, false, true)?;
            }
        }
        if let Some(bias) = &linear.bias {
            add(linear.bias_name(), bias, false, false)?;
        }
    }
    Ok(parameters)
}
