//! A linear layer that can be listened to.

use tch::Tensor;

use crate::error::Result;
use crate::tensors::Loader;

/// What identifies one linear layer of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearInfo {
    /// The weight's name in the checkpoint.
    pub weight_name: String,
    /// Linears with the same key read the same input; it is the weight name of the first of them.
    pub input_key: String,
    /// The block, from 0; absent for the output head.
    pub block_idx: Option<usize>,
    /// The expert, from 0, where the layer belongs to one.
    pub expert_idx: Option<usize>,
    /// Input features.
    pub n_in: usize,
    /// Output features.
    pub n_out: usize,
    /// The checkpoint stores the weight `[in, out]` (GPT-2). Everything in this crate is `[out, in]`.
    pub transposed: bool,
}

/// Listens to the linears while a model runs.
pub trait Tap {
    /// The input of a linear, `[.., in]`; every row is a token.
    ///
    /// # Errors
    /// Whatever the listener meets; it stops the run.
    fn input(&mut self, linear: &LinearInfo, input: &Tensor) -> Result<()> {
        let _ = (linear, input);
        Ok(())
    }

    /// The output of a linear, `[.., out]`, bias added.
    ///
    /// # Errors
    /// Whatever the listener meets; it stops the run.
    fn output(&mut self, linear: &LinearInfo, output: &Tensor) -> Result<()> {
        let _ = (linear, output);
        Ok(())
    }
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {}

/// A weight matrix, as it is or as a product with row scales.
#[derive(Debug)]
pub(crate) enum LinearWeight {
    /// `[out, in]`.
    Dense(Tensor),
    /// `normalized` `[out, in]`, each row times its entry of `row_scales` `[out]`.
    Scaled {
        normalized: Tensor,
        row_scales: Tensor,
    },
}

/// y = W x + b.
#[derive(Debug)]
pub struct Linear {
    pub(crate) info: LinearInfo,
    pub(crate) weight: LinearWeight,
    pub(crate) bias: Option<Tensor>,
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

    /// Which linear this is.
    #[must_use]
    pub fn info(&self) -> &LinearInfo {
        &self.info
    }

    /// The matrix `[out, in]` as it acts.
    pub(crate) fn effective_weight(&self) -> Result<Tensor> {
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
