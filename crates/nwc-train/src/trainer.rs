//! The training loop: batches, the loss, the two phases, and the codec at the end.

use std::collections::BTreeMap;

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::{ArrayD, ArrayView2, IxDyn};
use nwc_codec::{CodecConfig, NeuralCodec};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::adam::{AdamMoments, adam_step, clip_gradients};
use crate::curve::{CurvePoint, TrainProgress};
use crate::data::{RUN_LEN, TrainingData};
use crate::entropy_bottleneck::EntropyBottleneck;
use crate::freeze::freeze;
use crate::measure::{LevelMeasurement, add_ecsq, chunks_per_run, loss, rate_and_distortion};
use crate::network::{Network, Side, by_density};
use crate::start::{open_device, start_density, start_parameters};
use crate::{Error, Result, Start, TrainConfig};

/// A frozen codec and how it came to be.
#[derive(Debug, Clone)]
pub struct TrainedCodec {
    /// The codec; its training figures hold the measurements below.
    pub codec: NeuralCodec,
    /// The learning curve.
    pub curve: Vec<CurvePoint>,
    /// Rate and distortion on the held-out runs, a level each.
    pub levels: Vec<LevelMeasurement>,
    /// Whether training made nothing better on the held-out runs, so that the codec is the one it started at.
    pub is_start: bool,
}

impl TrainedCodec {
    /// The learning curve and the measurements as JSON.
    pub fn curve_json(&self) -> String {
        json!({
            "codec": self.codec.config(),
            "is_start": self.is_start,
            "levels": self.levels,
            "curve": self.curve,
        })
        .to_string()
            + "\n"
    }
}

/// Trains a codec and freezes it.
///
/// `progress` is called at every point of the learning curve. The same configuration and data give the same
/// codec on the same device, LibTorch and number of its threads.
///
/// # Errors
/// As [`Trainer::new`], [`Trainer::step`] and [`Trainer::finish`].
pub fn train(
    config: &TrainConfig,
    data: &TrainingData,
    progress: &mut dyn FnMut(&TrainProgress),
) -> Result<TrainedCodec> {
    let mut trainer = Trainer::new(config.clone(), data)?;
    while !trainer.is_done() {
        if let Some(done) = trainer.step()? {
            progress(&done);
        }
    }
    trainer.finish()
}

/// A training run, step by step.
#[derive(Debug)]
pub struct Trainer<'d> {
    config: TrainConfig,
    data: &'d TrainingData,
    device: Device,
    network: Network,
    density: EntropyBottleneck,
    moments: BTreeMap<String, AdamMoments>,
    /// Rate coefficients, `[n_levels, 1]`.
    rate_coefficients: Tensor,
    /// What latents are rounded around once they are rounded, `[n_levels * latent_dim]`.
    medians: Option<Vec<f32>>,
    /// Steps done.
    step: usize,
    curve: Vec<CurvePoint>,
}

/// # Constructor and state
impl<'d> Trainer<'d> {
    /// A run that has done no step.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Codec`] where the codec or its start is refused, [`Error::NoCuda`],
    /// [`Error::Torch`].
    pub fn new(config: TrainConfig, data: &'d TrainingData) -> Result<Self> {
        config.validate()?;
        if !RUN_LEN.is_multiple_of(config.codec.chunk_len) {
            let allowed = format!("divisors of a run's {RUN_LEN} weights");
            return Err(Error::config("chunk_len", config.codec.chunk_len, allowed));
        }
        let device = open_device(config.device)?;
        if config.n_threads > 0 {
            tch::set_num_threads(config.n_threads as i32);
        }
        let parameters = start_parameters(&config, data)?;
        let network = Network::new(&config.codec, &parameters, device)?;
        let density = start_density(&config, data, &network, device)?;
        let mut moments = BTreeMap::new();
        for (name, tensor) in network.tensors.iter().chain(&density.tensors) {
            moments.insert(name.clone(), AdamMoments::zero_like(tensor)?);
        }
        let rate_coefficients = Tensor::f_from_slice(&config.codec.rate_coefficients)?
            .f_unsqueeze(1)?
            .f_to_device(device)?;
        Ok(Self {
            config,
            data,
            device,
            network,
            density,
            moments,
            rate_coefficients,
            medians: None,
            step: 0,
            curve: Vec::new(),
        })
    }

    /// Steps done.
    pub fn n_steps_done(&self) -> usize {
        self.step
    }

    /// What is trained and how.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }
}

/// # Training
impl Trainer<'_> {
    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.step >= self.config.n_steps()
    }

    /// Does one step, if one is left; at a point of the learning curve there is something to tell.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the loss is not a number; [`Error::Torch`].
    pub fn step(&mut self) -> Result<Option<TrainProgress>> {
        if self.is_done() {
            return Ok(None);
        }
        if self.step == self.config.n_noise_steps && self.medians.is_none() {
            self.medians = Some(self.density.quantiles(0.5)?);
            self.network.fix_analysis();
        }
        let (chunks, noise) = self.draw()?;
        let n_weights = chunks.numel() as f64;

        let only_density = self.step < self.config.n_density_steps;
        let no_grad = only_density.then(tch::no_grad_guard);
        let latents = self.network.run(Side::Analysis, &chunks)?;
        let quantized = match &self.medians {
            None => latents.f_add(&noise)?,
            Some(medians) => {
                let size = latents.size();
                let medians = Tensor::f_from_slice(medians)?
                    .f_reshape([size[0], 1, size[2]])?
                    .f_to_device(self.device)?;
                latents
                    .f_sub(&medians)?
                    .f_round()?
                    .f_add(&medians)?
                    .f_detach()?
            }
        };
        let reconstruction = self.network.run(Side::Synthesis, &quantized)?;
        drop(no_grad);
        let nmse = chunks
            .f_sub(&reconstruction)?
            .f_square()?
            .f_mean(Kind::Float)?;
        let nmse = nmse.f_mul_scalar(1.0 / self.data.variance())?;
        let n_levels = self.config.codec.n_quality_levels() as i64;
        let bits = self
            .density
            .likelihood(&by_density(&quantized)?)?
            .f_log2()?
            .f_reshape([n_levels, -1])?
            .f_sum_dim_intlist(1i64, false, Kind::Float)?
            .f_mul_scalar(-1.0 / n_weights)?;
        let rate = bits
            .f_mul(&self.rate_coefficients.f_squeeze_dim(1)?)?
            .f_sum(Kind::Float)?;
        let loss = nmse
            .f_mul_scalar(f64::from(self.config.codec.lambda))?
            .f_add(&rate)?;
        loss.f_backward()?;

        let tensors = self
            .network
            .tensors
            .values()
            .chain(self.density.tensors.values());
        {
            let _guard = tch::no_grad_guard();
            clip_gradients(tensors, self.config.max_gradient_norm)?;
            let factor = self.config.rate_factor(self.step);
            let moments = &mut self.moments;
            let n_before = self.step.saturating_sub(self.config.n_density_steps);
            adam_step(
                &mut self.network.tensors,
                moments,
                self.config.learning_rate * factor,
                n_before,
            )?;
            let rate = self.config.density_learning_rate * factor;
            adam_step(&mut self.density.tensors, moments, rate, self.step)?;
        }
        let step = self.step;
        self.step += 1;
        if !step.is_multiple_of(self.config.curve_every) && self.step != self.config.n_steps() {
            return Ok(None);
        }
        let point = CurvePoint {
            step,
            bits_per_weight: bits.f_sum(Kind::Float)?.f_double_value(&[])?,
            nmse: nmse.f_double_value(&[])?,
            loss: loss.f_double_value(&[])?,
        };
        if !point.loss.is_finite() {
            return Err(Error::Diverged {
                step,
                loss: point.loss,
            });
        }
        self.curve.push(point);
        Ok(Some(TrainProgress {
            n_steps_done: self.step,
            n_steps: self.config.n_steps(),
            point,
        }))
    }

    /// The step's chunks, `[n_levels, n, chunk_len]`, and noise in ±½, `[n_levels, n, latent_dim]`.
    ///
    /// A run's level is drawn by where it falls: the runs are random, and every level gets as many of them.
    /// Differs from the paper: there each run's level is drawn alone, so that a step has more of one and less of
    /// another; the mean is the same, the gradient's variance is less.
    fn draw(&self) -> Result<(Tensor, Tensor)> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        // A stream of random numbers a step; stream 0 is left to other uses of the seed.
        rng.set_stream(self.step as u64 + 1);
        let (runs, _) = self.data.split(self.config.n_validation_runs);
        let n_runs = runs.len() / RUN_LEN;
        let mut values = Vec::with_capacity(self.config.runs_per_step * RUN_LEN);
        for _ in 0..self.config.runs_per_step {
            let run = rng.random_range(0..n_runs);
            values.extend_from_slice(&runs[run * RUN_LEN..][..RUN_LEN]);
        }
        let codec = &self.config.codec;
        let n_levels = codec.n_quality_levels() as i64;
        let n_latents = values.len() / codec.chunk_len * codec.latent_dim;
        let noise: Vec<f32> = match self.medians {
            None => (0..n_latents).map(|_| rng.random::<f32>() - 0.5).collect(),
            Some(_) => Vec::new(),
        };
        let chunks = Tensor::f_from_slice(&values)?
            .f_reshape([n_levels, -1, codec.chunk_len as i64])?
            .f_to_device(self.device)?;
        let n_per_level = if noise.is_empty() {
            0
        } else {
            chunks.size()[1]
        };
        let noise = Tensor::f_from_slice(&noise)?
            .f_reshape([n_levels, n_per_level, codec.latent_dim as i64])?
            .f_to_device(self.device)?;
        Ok((chunks, noise))
    }

    /// Freezes what has been learnt so far: medians, histograms, tables; and measures it on the held-out runs.
    ///
    /// Where the run started at scalar quantisation and that measures better, the codec is that.
    /// A codec with a trellis is trained and chosen as the one that rounds, and made over at the end.
    ///
    /// # Errors
    /// [`Error::Codec`], [`Error::Table`], [`Error::Torch`]: for instance where a parameter is not finite.
    pub fn finish(self) -> Result<TrainedCodec> {
        let (runs, held_out) = self.data.split(self.config.n_validation_runs);
        let runs = &runs[..runs.len().min(self.config.n_table_runs * RUN_LEN)];
        let (runs, held_out) = (self.chunks(runs)?, self.chunks(held_out)?);
        let variance = self.data.variance();
        let codec_config = &CodecConfig {
            n_states: 1,
            ..self.config.codec.clone()
        };
        let medians = match &self.medians {
            Some(medians) => medians.clone(),
            None => self.density.quantiles(0.5)?,
        };
        let shape = [codec_config.n_quality_levels(), codec_config.latent_dim];
        let median_array = ArrayD::from_shape_vec(IxDyn(&shape), medians.clone());
        let median_array =
            median_array.map_err(|_| Error::checkpoint("holds another number of medians"))?;
        let parameters = self.network.parameters(median_array)?;
        let trained = freeze(codec_config, &parameters, &medians, &self.density, runs)?;
        let mut best = (
            rate_and_distortion(&trained, held_out, variance)?,
            trained,
            false,
        );
        if self.config.start == Start::ScalarQuantizer {
            let parameters = start_parameters(&self.config, self.data)?;
            let network = Network::new(codec_config, &parameters, self.device)?;
            let density = start_density(&self.config, self.data, &network, self.device)?;
            let start = freeze(
                codec_config,
                &parameters,
                &vec![0.0; medians.len()],
                &density,
                runs,
            )?;
            let levels = rate_and_distortion(&start, held_out, variance)?;
            if loss(&start, &levels) <= loss(&best.1, &best.0) {
                best = (levels, start, true);
            }
        }
        let (mut levels, mut codec, is_start) = best;
        if self.config.codec.n_states > 1 {
            let per_column = chunks_per_run(codec_config.chunk_len, runs.nrows());
            let n_states = self.config.codec.n_states;
            codec = codec.with_states(n_states, runs, per_column, Parallelism::Rayon)?;
            levels = rate_and_distortion(&codec, held_out, variance)?;
        }
        add_ecsq(&mut levels, held_out, variance);
        let training = json!({
            "config": self.config,
            "n_steps_done": self.step,
            "n_training_runs": self.data.n_runs(),
            "is_start": is_start,
            "levels": levels,
        });
        let (config, parameters, tables) = (codec.config(), codec.parameters(), codec.tables());
        let codec = NeuralCodec::new(
            config.clone(),
            parameters.clone(),
            tables.clone(),
            training.to_string(),
        )?;
        Ok(TrainedCodec {
            codec,
            curve: self.curve,
            levels,
            is_start,
        })
    }

    fn chunks<'v>(&self, values: &'v [f32]) -> Result<ArrayView2<'v, f32>> {
        let chunk_len = self.config.codec.chunk_len;
        ArrayView2::from_shape((values.len() / chunk_len, chunk_len), values)
            .map_err(|_| Error::config("chunk_len", chunk_len, format!("divisors of {RUN_LEN}")))
    }

    fn n_densities(&self) -> usize {
        self.config.codec.n_quality_levels() * self.config.codec.latent_dim
    }
}

mod resume;

#[cfg(test)]
mod tests;
