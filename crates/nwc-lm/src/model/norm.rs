//! RMS norm and LayerNorm.

use tch::Tensor;

use crate::error::Result;
use crate::tensors::Loader;

/// A norm over the last axis.
#[derive(Debug)]
pub struct Norm {
    /// The weight's name in the checkpoint.
    pub weight_name: String,
    /// `[width]`.
    pub weight: Tensor,
    /// LayerNorm's bias, `[width]`; an RMS norm has none.
    pub bias: Option<Tensor>,
    eps: f64,
}

impl Norm {
    /// An RMS norm from `{name}.weight`.
    pub(crate) fn load_rms(
        loader: &Loader<'_>,
        name: &str,
        width: usize,
        eps: f64,
    ) -> Result<Self> {
        let weight_name = format!("{name}.weight");
        let weight = loader.load(&weight_name, &[width])?;
        Ok(Self {
            weight_name,
            weight,
            bias: None,
            eps,
        })
    }

    /// A LayerNorm from `{name}.weight` and `{name}.bias`; very old BERT files name them gamma and beta.
    pub(crate) fn load_layer(
        loader: &Loader<'_>,
        name: &str,
        width: usize,
        eps: f64,
    ) -> Result<Self> {
        let old = loader.source.contains(&format!("{name}.gamma"));
        let (weight_part, bias_part) = if old {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        let weight_name = format!("{name}.{weight_part}");
        let weight = loader.load(&weight_name, &[width])?;
        let bias = Some(loader.load(&format!("{name}.{bias_part}"), &[width])?);
        Ok(Self {
            weight_name,
            weight,
            bias,
            eps,
        })
    }

    /// The name that a bias of this norm has in the checkpoint.
    #[must_use]
    pub fn bias_name(&self) -> String {
        match self.weight_name.strip_suffix("gamma") {
            Some(stem) => format!("{stem}beta"),
            None => bias_name(&self.weight_name),
        }
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let shape = self.weight.size();
        Ok(match &self.bias {
            None => input.f_rms_norm(shape.as_slice(), Some(&self.weight), self.eps)?,
            bias => input.f_layer_norm(
                shape.as_slice(),
                Some(&self.weight),
                bias.as_ref(),
                self.eps,
                true,
            )?,
        })
    }
}

/// The name of the bias that belongs to a weight.
pub(crate) fn bias_name(weight_name: &str) -> String {
    format!(
        "{}bias",
        weight_name.strip_suffix("weight").unwrap_or(weight_name)
    )
}
