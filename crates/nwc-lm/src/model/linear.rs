//! A linear layer whose inputs and outputs can be tapped.

use tch::Tensor;

use super::norm::bias_name;
use crate::error::Result;
use crate::tensors::Loader;

/// The identity of a linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearInfo {
    /// The weight's name in the checkpoint.
    pub weight_name: String,
    /// Linears that read the same input have the same key: the weight name of the first of them.
    pub input_key: String,
    /// The block, from 0; `None` for the head.
    pub block_idx: Option<usize>,
    /// The expert that the layer belongs to, from 0.
    pub expert_idx: Option<usize>,
    /// Input features.
    pub n_in: usize,
    /// Output features.
    pub n_out: usize,
    /// Whether the checkpoint stores the weight as `[in, out]` (GPT-2). In this crate, it is `[out, in]`.
    pub transposed: bool,
}

/// Sees the inputs and outputs of all linears while a model runs.
pub trait Tap {
    /// Receives the input of a linear, `[.., in]`; every row is a token.
    ///
    /// # Errors
    /// Any error; it stops the run.
    fn input(&mut self, linear: &LinearInfo, input: &Tensor) -> Result<()> {
        let _ = (linear, input);
        Ok(())
    }

    /// Receives the output of a linear with its bias, `[.., out]`.
    ///
    /// # Errors
    /// Any error; it stops the run.
    fn output(&mut self, linear: &LinearInfo, output: &Tensor) -> Result<()> {
        let _ = (linear, output);
        Ok(())
    }
}

/// Ignores all inputs and outputs.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {}

/// A weight matrix, plain or factored into row scales.
#[derive(Debug)]
pub enum LinearWeight {
    /// `[out, in]`.
    Dense(Tensor),
    /// Each row of `normalized` times its row scale.
    Scaled {
        /// `[out, in]`.
        normalized: Tensor,
        /// `[out]`.
        row_scales: Tensor,
    },
}

/// y = W x + b.
#[derive(Debug)]
pub struct Linear {
    pub(crate) info: LinearInfo,
    /// The weight matrix.
    pub weight: LinearWeight,
    /// The bias, `[out]`, if the linear has one.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// Reads `{name}.weight` and, where `has_bias`, `{name}.bias`.
    pub(crate) fn load(loader: &Loader<'_>, info: LinearInfo, bias: Option<&str>) -> Result<Self> {
        let weight =
            loader.load_matrix(&info.weight_name, info.n_out, info.n_in, info.transposed)?;
        let bias = bias
            .map(|name| loader.load(name, &[info.n_out]))
            .transpose()?;
        Ok(Self {
            info,
            weight: LinearWeight::Dense(weight),
            bias,
        })
    }

    /// The identity of this linear.
    #[must_use]
    pub fn info(&self) -> &LinearInfo {
        &self.info
    }

    /// The name that a bias of this linear has in the checkpoint.
    #[must_use]
    pub fn bias_name(&self) -> String {
        bias_name(&self.info.weight_name)
    }

    /// The weight matrix, `[out, in]`, with row scales multiplied in.
    ///
    /// # Errors
    /// [`crate::Error::Torch`].
    pub fn effective_weight(&self) -> Result<Tensor> {
        match &self.weight {
            LinearWeight::Dense(weight) => Ok(weight.shallow_clone()),
            LinearWeight::Scaled {
                normalized,
                row_scales,
            } => Ok(normalized.f_mul(&row_scales.f_unsqueeze(1)?)?),
        }
    }

    pub(crate) fn forward(&self, input: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        tap.input(&self.info, input)?;
        let output = match &self.weight {
            LinearWeight::Dense(weight) => input.f_linear(weight, self.bias.as_ref())?,
            LinearWeight::Scaled {
                normalized,
                row_scales,
            } => {
                // Scaling the outputs costs tokens x out products instead of out x in, and gives the same sum.
                let output = input
                    .f_linear(normalized, None::<&Tensor>)?
                    .f_mul(row_scales)?;
                match &self.bias {
                    Some(bias) => output.f_add(bias)?,
                    None => output,
                }
            }
        };
        tap.output(&self.info, &output)?;
        Ok(output)
    }
}
