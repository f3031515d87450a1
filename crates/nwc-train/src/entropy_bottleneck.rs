//! The factorised density of the latents: one for each quality level and latent channel.
//!
//! A density is given by its cumulative c(x) = sigmoid(f(x)), f a chain of five small layers with positive
//! matrices (Ballé et al. 2018, arXiv 1802.01436, appendix 6.1), here with CompressAI's sizes, names and
//! likelihoods (`EntropyBottleneck`, version 1.2.6), on whose exported values it is tested.
//!
//! Differs from the paper: it has one density per channel for all quality levels (`docs/METHOD.md` 1.3) and pays for it
//! (`docs/METHOD.md` 1.9); here every level has its own, so that "channel" below counts `n_levels * latent_dim`.
//! It learns quantiles with a second Adam and an auxiliary loss; here quantiles and medians are solved for by
//! bisection when they are needed, which is exact, and leaves nothing to train.

use tch::{Device, Kind, Tensor};

use crate::network::{Tensors, learnt, to_vec};
use crate::{Error, Result};

/// Widths of the chain's inner layers (`docs/METHOD.md` 1.3).
const FILTERS: [i64; 4] = [3, 3, 3, 3];
/// Layers of the chain.
const N_LAYERS: usize = FILTERS.len() + 1;
/// Likelihoods below this are taken as this (`docs/METHOD.md` 1.3).
pub(crate) const LIKELIHOOD_BOUND: f64 = 1e-9;
/// The standard deviation of the logistic distribution of scale 1.
const LOGISTIC_DEVIATION: f64 = 1.813_799_364_234_217_6;

/// The densities' parameters: `density.matrix.{i}`, `density.bias.{i}`, `density.factor.{i}`.
#[derive(Debug)]
pub(crate) struct EntropyBottleneck {
    n_channels: i64,
    device: Device,
    pub(crate) tensors: Tensors,
}

impl EntropyBottleneck {
    /// Densities that are near a logistic distribution with mean zero and `deviations[channel]`.
    ///
    /// CompressAI starts every channel at `init_scale` 10 with random biases; starting at the deviation of the
    /// data saves the thousands of steps that a fine codec, with latents in the hundreds, would need to get there.
    pub(crate) fn new(deviations: &[f32], device: Device) -> Result<Self> {
        let mut tensors = Tensors::new();
        let n_channels = deviations.len();
        let widths: Vec<i64> = std::iter::once(1)
            .chain(FILTERS)
            .chain(std::iter::once(1))
            .collect();
        for layer in 0..N_LAYERS {
            let (n_in, n_out) = (widths[layer], widths[layer + 1]);
            let mut matrix = Vec::new();
            for &deviation in deviations {
                let scale = (f64::from(deviation).max(0.1) / LOGISTIC_DEVIATION)
                    .powf(1.0 / N_LAYERS as f64);
                let value = (1.0 / scale / n_out as f64).exp_m1().ln() as f32;
                matrix.extend(std::iter::repeat_n(value, (n_in * n_out) as usize));
            }
            // Different biases for the units of a layer, or they would stay equal for ever; their sum is zero.
            let spread = |unit: i64| {
                if n_out == 1 {
                    0.0
                } else {
                    0.5 * (unit - n_out / 2) as f32
                }
            };
            let bias: Vec<f32> = (0..n_channels)
                .flat_map(|_| (0..n_out).map(spread))
                .collect();
            let channels = n_channels as i64;
            let mut insert = |kind: &str, values: &[f32], shape: &[i64]| -> Result<()> {
                tensors.insert(
                    format!("density.{kind}.{layer}"),
                    learnt(values, shape, device)?,
                );
                Ok(())
            };
            insert("matrix", &matrix, &[channels, n_out, n_in])?;
            insert("bias", &bias, &[channels, n_out, 1])?;
            if layer + 1 < N_LAYERS {
                insert("factor", &vec![0.0; bias.len()], &[channels, n_out, 1])?;
            }
        }
        Ok(Self {
            n_channels: n_channels as i64,
            device,
            tensors,
        })
    }

    /// f(x), the cumulative's logit; `inputs` and the result are `[n_channels, 1, n]`.
    fn logits(&self, inputs: &Tensor) -> Result<Tensor> {
        let mut logits = inputs.shallow_clone();
        for layer in 0..N_LAYERS {
            let matrix = self.tensors[&format!("density.matrix.{layer}")].f_softplus()?;
            let bias = &self.tensors[&format!("density.bias.{layer}")];
            logits = bias.f_baddbmm(&matrix, &logits, 1.0, 1.0)?;
            if layer + 1 < N_LAYERS {
                let factor = self.tensors[&format!("density.factor.{layer}")].f_tanh()?;
                logits = logits.f_addcmul(&factor, &logits.f_tanh()?)?;
            }
        }
        Ok(logits)
    }

    /// p(x) = c(x + ½) − c(x − ½), at least [`LIKELIHOOD_BOUND`]; both are `[n_channels, n]`.
    ///
    /// Below the bound the gradient goes through unchanged: CompressAI stops it only where it would lower the
    /// likelihood further, which a loss that falls with the likelihood never asks for.
    pub(crate) fn likelihood(&self, inputs: &Tensor) -> Result<Tensor> {
        let inputs = inputs.f_unsqueeze(1)?;
        let n = inputs.size()[2];
        // Both ends in one pass: half as many kernel launches.
        let ends = Tensor::f_cat(&[inputs.f_sub_scalar(0.5)?, inputs.f_add_scalar(0.5)?], 2)?;
        let cumulative = self.logits(&ends)?.f_sigmoid()?.f_squeeze_dim(1)?;
        let likelihood = cumulative
            .f_narrow(1, n, n)?
            .f_sub(&cumulative.f_narrow(1, 0, n)?)?;
        let lift = likelihood
            .f_clamp_min(LIKELIHOOD_BOUND)?
            .f_sub(&likelihood)?
            .f_detach()?;
        Ok(likelihood.f_add(&lift)?)
    }

    /// x with c(x) = `probability` in every channel, `[n_channels]`, by bisection; within ±`MAX_QUANTILE`.
    pub(crate) fn quantiles(&self, probability: f64) -> Result<Vec<f32>> {
        let _guard = tch::no_grad_guard();
        let target = (probability / (1.0 - probability)).ln();
        let full =
            |value: f64| Tensor::f_full([self.n_channels, 1, 1], value, (Kind::Float, self.device));
        let (mut low, mut high) = (full(-MAX_QUANTILE)?, full(MAX_QUANTILE)?);
        for _ in 0..N_BISECTIONS {
            let middle = low.f_add(&high)?.f_mul_scalar(0.5)?;
            let below = self.logits(&middle)?.f_less(target)?;
            low = middle.f_where_self(&below, &low)?;
            high = high.f_where_self(&below, &middle)?;
        }
        to_vec(&low.f_add(&high)?.f_mul_scalar(0.5)?)
    }

    /// Likelihoods of `n` consecutive integers from `first[channel]` on, each moved by `medians[channel]`:
    /// `[n_channels][n]`, in f64, not bounded from below but never negative.
    pub(crate) fn integer_likelihoods(
        &self,
        medians: &[f32],
        first: &[i32],
        n: usize,
    ) -> Result<Vec<Vec<f64>>> {
        let _guard = tch::no_grad_guard();
        if medians.len() != first.len() || medians.len() as i64 != self.n_channels {
            return Err(Error::checkpoint(
                "holds medians for another number of channels",
            ));
        }
        // The ends, not the middles: n + 1 of them serve n integers.
        let ends: Vec<f32> = (medians.iter().zip(first))
            .flat_map(|(median, &first)| {
                (0..=n).map(move |i| (f64::from(first) + i as f64 - 0.5) as f32 + median)
            })
            .collect();
        let ends = Tensor::f_from_slice(&ends)?
            .f_reshape([self.n_channels, 1, n as i64 + 1])?
            .f_to_device(self.device)?;
        let logits = to_vec(&self.logits(&ends)?)?;
        let mass = |pair: &[f32]| {
            // On the side where the sigmoid is small, so that the tails keep their digits.
            let (low, high) = (f64::from(pair[0]), f64::from(pair[1]));
            let sign = if low + high > 0.0 { -1.0 } else { 1.0 };
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            (sigmoid(sign * high) - sigmoid(sign * low)).abs()
        };
        Ok(logits
            .chunks_exact(n + 1)
            .map(|ends| ends.windows(2).map(mass).collect())
            .collect())
    }
}

/// Farthest quantile looked for; no table reaches as far.
const MAX_QUANTILE: f64 = 1e5;
/// 2e5 halved as often is below f32's resolution of the medians.
const N_BISECTIONS: usize = 60;

#[cfg(test)]
mod tests;
