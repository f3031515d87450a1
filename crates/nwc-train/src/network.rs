//! The codec's two transforms in LibTorch, under the names that `nwc-codec` gives their parameters.

use std::collections::BTreeMap;

use nwc_chunk::ndarray::{ArrayD, IxDyn};
use nwc_codec::{CodecConfig, Parameters};
use tch::{Device, Kind, Tensor};

use crate::Result;

/// LayerNorm's epsilon, PyTorch's default.
const NORM_EPSILON: f64 = 1e-5;

/// Name of the latents' rounding offsets in a codec; they are not learnt by gradient.
pub(crate) const MEDIAN: &str = "median";

/// Tensors that learn, by name: the order is the names'.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Which of the two transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// g_a: chunks to latents.
    Analysis,
    /// g_s: latents to chunks.
    Synthesis,
}

impl Side {
    /// What its parameters' names start with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Analysis => "encoder",
            Self::Synthesis => "decoder",
        }
    }
}

/// Analysis and synthesis of a codec (`docs/METHOD.md` 1.2).
#[derive(Debug)]
pub(crate) struct Network {
    n_blocks: usize,
    shared_quality_embedding: bool,
    /// Invariant: the parameters of `nwc_codec` less the medians, f32, all on one device.
    pub(crate) tensors: Tensors,
}

impl Network {
    /// Puts `parameters` on `device`, to be learnt.
    pub(crate) fn new(
        config: &CodecConfig,
        parameters: &Parameters,
        device: Device,
    ) -> Result<Self> {
        let mut tensors = Tensors::new();
        for (name, values) in parameters.iter().filter(|(name, _)| *name != MEDIAN) {
            let shape: Vec<i64> = values.shape().iter().map(|&n| n as i64).collect();
            let values: Vec<f32> = values.iter().copied().collect();
            tensors.insert(name.clone(), learnt(&values, &shape, device)?);
        }
        Ok(Self {
            n_blocks: config.n_blocks,
            shared_quality_embedding: config.shared_quality_embedding,
            tensors,
        })
    }

    /// Runs one transform: `input` is `[n_levels, n, chunk_len or latent_dim]`, row `l` of it at level `l`.
    ///
    /// h = input layer; for each block h = (h + ReLU(LayerNorm(Linear(h)))) · embedding of the level; output layer.
    pub(crate) fn run(&self, side: Side, input: &Tensor) -> Result<Tensor> {
        self.run_with_gain(side, input, &self.embedding(side).f_unsqueeze(1)?)
    }

    /// As [`Network::run`] for `input` of any shape `[.., chunk_len or latent_dim]`; `gain` is the embedding that
    /// goes with each row, or what broadcasts to it.
    pub(crate) fn run_with_gain(
        &self,
        side: Side,
        input: &Tensor,
        gain: &Tensor,
    ) -> Result<Tensor> {
        let prefix = side.prefix();
        let of = |name: &str| &self.tensors[&format!("{prefix}.{name}")];
        let width = of("input.bias").size();
        let mut hidden = input.f_linear(of("input.weight"), Some(of("input.bias")))?;
        for block in 0..self.n_blocks {
            let of = |name: &str| of(&format!("blocks.{block}.{name}"));
            let branch = hidden
                .f_linear(of("linear.weight"), Some(of("linear.bias")))?
                .f_layer_norm(
                    &width,
                    Some(of("norm.weight")),
                    Some(of("norm.bias")),
                    NORM_EPSILON,
                    false,
                )?
                .f_relu()?;
            hidden = hidden.f_add(&branch)?.f_mul(gain)?;
        }
        Ok(hidden.f_linear(of("output.weight"), Some(of("output.bias")))?)
    }

    /// The quality embedding of one transform, `[n_levels, width]`.
    pub(crate) fn embedding(&self, side: Side) -> &Tensor {
        let prefix = if self.shared_quality_embedding {
            Side::Analysis.prefix()
        } else {
            side.prefix()
        };
        &self.tensors[&format!("quality_embedding.{prefix}")]
    }

    /// Fixes the analysis: no further step changes it. The shared embedding is fixed with it.
    pub(crate) fn fix_analysis(&self) {
        for (name, tensor) in &self.tensors {
            if name.starts_with("encoder.") || name == "quality_embedding.encoder" {
                let _ = tensor.set_requires_grad(false);
            }
        }
    }

    /// The parameters as `nwc_codec` takes them; `medians` is `[n_levels, latent_dim]`.
    pub(crate) fn parameters(&self, medians: ArrayD<f32>) -> Result<Parameters> {
        let mut parameters = Parameters::new();
        for (name, tensor) in &self.tensors {
            parameters.insert(name.clone(), to_array(tensor)?);
        }
        parameters.insert(MEDIAN.to_string(), medians);
        Ok(parameters)
    }
}

/// `[n_levels, n, latent_dim]` to one row a density, `[n_levels * latent_dim, n]`.
pub(crate) fn by_density(latents: &Tensor) -> Result<Tensor> {
    let size = latents.size();
    Ok(latents
        .f_transpose(1, 2)?
        .f_reshape([size[0] * size[2], size[1]])?)
}

/// A tensor of `values` on `device` that gradients are taken for.
pub(crate) fn learnt(values: &[f32], shape: &[i64], device: Device) -> Result<Tensor> {
    let tensor = Tensor::f_from_slice(values)?
        .f_reshape(shape)?
        .f_to_device(device)?;
    Ok(tensor.f_detach()?.f_set_requires_grad(true)?)
}

/// The values of a tensor, row-major.
pub(crate) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?;
    let mut values = vec![0.0f32; tensor.numel()];
    let n_values = values.len();
    tensor.f_copy_data(&mut values, n_values)?;
    Ok(values)
}

/// The values of a tensor in its shape.
pub(crate) fn to_array(tensor: &Tensor) -> Result<ArrayD<f32>> {
    let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
    let values = to_vec(tensor)?;
    Ok(ArrayD::from_shape_vec(IxDyn(&shape), values)
        .unwrap_or_else(|_| ArrayD::zeros(IxDyn(&shape))))
}
