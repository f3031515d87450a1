//! Parameters to start training from: entropy-coded scalar quantisation as a network, and random ones.

use nwc_chunk::ndarray::{ArrayD, IxDyn};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::codec::NeuralCodec;
use super::freeze::normal_tables;
use super::parameters::{
    DECODER_EMBEDDING, ENCODER_EMBEDDING, Parameters, parameter_shapes, zero_parameters,
};
use crate::{CodecConfig, Error, Result};

/// LayerNorm gain of the hidden units that carry the weights at the start of training.
///
/// Not zero, because ReLU would pass no gradient back; its effect on the mean squared error is about 1e-8 of
/// the weights' variance, far below what the finest codec leaves (3.6e-6 at lambda 10000).
const SIGNAL_NORM_GAIN: f32 = 1e-4;

/// # A start
impl NeuralCodec {
    /// The codec that is exactly entropy-coded scalar quantisation of N(0, 1) weights, with a step a level.
    ///
    /// `steps` are in units of the weights, cheapest level first. Training starts from it and tests measure
    /// against it: its rate and distortion are known.
    ///
    /// # Errors
    /// [`Error::Config`] where there is not one positive step a level, where the chunk fits neither the hidden
    /// units nor the latents, or where steps differ although the embedding is shared or there is no block.
    pub fn identity(config: CodecConfig, steps: &[f32]) -> Result<Self> {
        let parameters = identity_parameters(&config, steps)?;
        let tables = normal_tables(&config, steps)?;
        Self::new(config, parameters, tables, String::new())
    }
}

/// Parameters whose transform is exactly scalar quantisation with `steps[level]`, in units of the weights.
///
/// latent = chunk / step and synthesis = latent · step: the first `chunk_len` hidden units carry the chunk, the
/// blocks add nothing (LayerNorm gain zero), and the quality embeddings hold the gain, its n-th root in each
/// of n blocks. Latents beyond `chunk_len` are zero.
///
/// # Errors
/// [`Error::Config`] where there is not one positive step a level, where the chunk fits neither the hidden
/// units nor the latents, or where the steps differ and the network cannot undo its gain (a shared embedding,
/// no block).
fn identity_parameters(config: &CodecConfig, steps: &[f32]) -> Result<Parameters> {
    check_steps(config, steps)?;
    let mut parameters = zero_parameters(config)?;
    // What all levels have in common goes into the input layer, so that equal steps need no embedding.
    let base =
        (steps.iter().map(|&step| f64::from(step).ln()).sum::<f64>() / steps.len() as f64).exp();
    for unit in 0..config.chunk_len {
        set(
            &mut parameters,
            "encoder.input.weight",
            &[unit, unit],
            (1.0 / base) as f32,
        );
        set(&mut parameters, "encoder.output.weight", &[unit, unit], 1.0);
        set(
            &mut parameters,
            "decoder.input.weight",
            &[unit, unit],
            base as f32,
        );
        set(&mut parameters, "decoder.output.weight", &[unit, unit], 1.0);
    }
    for (level, &step) in steps.iter().enumerate() {
        let gain = (base / f64::from(step)).powf(1.0 / config.n_blocks.max(1) as f64);
        for unit in 0..config.width {
            let gain = if unit < config.chunk_len { gain } else { 1.0 };
            set(
                &mut parameters,
                ENCODER_EMBEDDING,
                &[level, unit],
                gain as f32,
            );
            if !config.shared_quality_embedding {
                set(
                    &mut parameters,
                    DECODER_EMBEDDING,
                    &[level, unit],
                    (1.0 / gain) as f32,
                );
            }
        }
    }
    Ok(parameters)
}

/// Parameters that start training at scalar quantisation with `steps[level]` and let every parameter learn.
///
/// As [`crate::NeuralCodec::identity`], with the hidden units that carry nothing made random as in PyTorch: they
/// compute features from the start, and the output layers' weights for them are zero, so that they change
/// nothing until training finds a use. LayerNorm's gain of the units that carry the chunk is 1e-4.
///
/// # Errors
/// [`Error::Config`] as [`crate::NeuralCodec::identity`].
pub fn initial_parameters(config: &CodecConfig, steps: &[f32], seed: u64) -> Result<Parameters> {
    let identity = identity_parameters(config, steps)?;
    let mut parameters = random_parameters(config, seed)?;
    let carries = |unit: usize| unit < config.chunk_len;
    for (name, values) in &mut parameters {
        let Some(fixed) = identity.get(name) else {
            continue;
        };
        let kind = name.split_once('.').map_or(name.as_str(), |(_, kind)| kind);
        for (idx, value) in values.indexed_iter_mut() {
            let fixed = fixed[&idx];
            *value = if kind == "input.weight" {
                if carries(idx[0]) { fixed } else { *value }
            } else if kind.ends_with("norm.weight") {
                if carries(idx[0]) {
                    SIGNAL_NORM_GAIN
                } else {
                    1.0
                }
            } else if kind.ends_with("linear.weight") {
                *value
            } else {
                fixed
            };
        }
    }
    Ok(parameters)
}

/// PyTorch's own initialisation, which the paper trains from: linear layers uniform in ±1/√n_in, LayerNorm one
/// and zero, quality embedding N(0, 1); medians zero. Source: `docs/METHOD.md` 1.2.
///
/// # Errors
/// [`Error::Config`] where the configuration is not valid.
pub fn random_parameters(config: &CodecConfig, seed: u64) -> Result<Parameters> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = Parameters::new();
    let mut n_in = 1;
    for (name, shape) in parameter_shapes(config)? {
        let n_values = shape.iter().product();
        let values: Vec<f32> = if name.ends_with("norm.weight") {
            vec![1.0; n_values]
        } else if name.ends_with("norm.bias") || name == super::parameters::MEDIAN {
            vec![0.0; n_values]
        } else if name.starts_with("quality_embedding") {
            (0..n_values).map(|_| standard_normal(&mut rng)).collect()
        } else {
            // A bias follows its weight in the list and shares its bound.
            if let [_, weight_in] = shape[..] {
                n_in = weight_in;
            }
            let bound = 1.0 / (n_in as f32).sqrt();
            (0..n_values)
                .map(|_| rng.random_range(-bound..bound))
                .collect()
        };
        let values =
            ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|_| Error::ParameterShape {
                name: name.clone(),
                found: vec![n_values],
                expected: shape.clone(),
            })?;
        parameters.insert(name, values);
    }
    Ok(parameters)
}

/// A sample of N(0, 1), by Box and Muller's formula.
pub fn standard_normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}

fn set(parameters: &mut Parameters, name: &str, idx: &[usize], value: f32) {
    if let Some(slot) = parameters
        .get_mut(name)
        .and_then(|values| values.get_mut(idx))
    {
        *slot = value;
    }
}

fn check_steps(config: &CodecConfig, steps: &[f32]) -> Result<()> {
    config.validate()?;
    let wrong = |field, found: String, allowed: String| {
        Err(Error::Config {
            field,
            found,
            allowed,
        })
    };
    if steps.len() != config.n_quality_levels() {
        let allowed = format!("{}, one a quality level", config.n_quality_levels());
        return wrong("n_steps", steps.len().to_string(), allowed);
    }
    if let Some(step) = steps.iter().find(|step| !step.is_normal() || **step <= 0.0) {
        return wrong("steps", step.to_string(), "finite and positive".into());
    }
    for (field, found) in [("width", config.width), ("latent_dim", config.latent_dim)] {
        if found < config.chunk_len {
            let allowed = format!(
                "at least chunk_len, {}, to pass chunks on",
                config.chunk_len
            );
            return wrong(field, found.to_string(), allowed);
        }
    }
    let equal = steps.iter().all(|step| *step == steps[0]);
    if !equal && (config.shared_quality_embedding || config.n_blocks == 0) {
        let allowed = "equal, where the quality embedding is shared or there is no block";
        return wrong("steps", format!("{steps:?}"), allowed.into());
    }
    Ok(())
}
