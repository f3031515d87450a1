//! Entropy-coded scalar quantisation of row-normalised weights, at a rate that is asked for.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use nwc_chunk::ndarray::ArrayView2;
use nwc_chunk::row_scales;
use nwc_compensate::{Hessian, LdlFactor, PAPER_DAMPING, ldlq, no_feedback};

use super::Coded;
use super::ecsq::Ecsq;

/// Bits of a row's scale, an f16.
const SCALE_BITS: f64 = 16.0;

/// Weights of a matrix that the step is found on.
const N_SAMPLED: usize = 1 << 14;

/// Steps, in standard deviations of a row, between which the right one is looked for.
const STEPS: (f64, f64) = (1e-3, 16.0);

/// Codes `weights`, row `i` with a step of `step` times its scale, with feedback where there is a Hessian.
///
/// The rate is the symbols' empirical entropy in this matrix and 16 bits a row; symbols stand for the mean of
/// what falls into their cell.
///
/// # Errors
/// Where a weight is not finite or the Hessian cannot be factored.
pub(super) fn code(
    weights: ArrayView2<'_, f32>,
    hessian: Option<&Hessian>,
    step: f64,
) -> Result<Coded> {
    let (rows, cols) = weights.dim();
    let steps = row_scales(weights).mapv(|scale| scale.to_f32() * step as f32);
    let mut first = Ecsq::new(steps.to_vec());
    no_feedback(weights, cols.max(1), &mut first)?;
    let mut quantizer = first.with_centroids();
    let reconstruction = match hessian {
        Some(hessian) => {
            let factor = LdlFactor::new(hessian, PAPER_DAMPING)?;
            ldlq(weights, &factor, 1, &mut quantizer)?
        }
        None => no_feedback(weights, cols.max(1), &mut quantizer)?,
    };
    Ok(Coded {
        reconstruction,
        bits: quantizer.entropy() * (rows * cols) as f64 + SCALE_BITS * rows as f64,
    })
}

/// The step, in standard deviations of a row, at which all linears of `model` take `bits` a weight.
///
/// Found on a sample of the weights without feedback, so the rate that is measured in the end differs a little.
///
/// # Errors
/// Where the checkpoint cannot be read or no step gives that rate.
pub(super) fn step_for(model: &Path, bits: f64) -> Result<f64> {
    let mut samples = Samples::default();
    nwc::for_each_linear(model, true, |_, weights| {
        samples.add(weights.view());
        anyhow::Ok(())
    })?;
    samples.step_for(bits)
}

/// Row-normalised weights of every matrix.
#[derive(Default)]
struct Samples {
    matrices: Vec<Sample>,
    n_weights: f64,
}

struct Sample {
    values: Vec<f32>,
    n_weights: f64,
    scale_bits: f64,
}

impl Samples {
    fn add(&mut self, normalized: ArrayView2<'_, f32>) {
        // Odd, so that no column is met again and again.
        let stride = (normalized.len() / N_SAMPLED) | 1;
        self.n_weights += normalized.len() as f64;
        self.matrices.push(Sample {
            values: normalized.iter().step_by(stride).copied().collect(),
            n_weights: normalized.len() as f64,
            scale_bits: SCALE_BITS * normalized.nrows() as f64,
        });
    }

    fn step_for(&self, bits: f64) -> Result<f64> {
        let (mut lo, mut hi) = STEPS;
        ensure!(
            self.bits_at(hi) < bits && bits < self.bits_at(lo),
            "no step of a scalar quantiser gives {bits} bits a weight"
        );
        for _ in 0..30 {
            let middle = (lo * hi).sqrt();
            if self.bits_at(middle) > bits {
                lo = middle;
            } else {
                hi = middle;
            }
        }
        Ok((lo * hi).sqrt())
    }

    /// Bits a weight at a step.
    fn bits_at(&self, step: f64) -> f64 {
        let bits: f64 = self
            .matrices
            .iter()
            .map(|sample| entropy(&sample.values, step) * sample.n_weights + sample.scale_bits)
            .sum();
        bits / self.n_weights.max(1.0)
    }
}

/// Bits a value of `values` rounded to multiples of `step`.
fn entropy(values: &[f32], step: f64) -> f64 {
    let mut counts = BTreeMap::<i32, u32>::new();
    let mut symbols: Vec<i32> = values
        .iter()
        .map(|&x| (f64::from(x) / step).round() as i32)
        .collect();
    symbols.sort_unstable();
    for symbol in symbols {
        *counts.entry(symbol).or_default() += 1;
    }
    let n = values.len().max(1) as f64;
    counts
        .values()
        .map(|&count| f64::from(count) / n)
        .map(|p| -p * p.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_step_is_that_of_a_gaussian() {
        let mut samples = Samples::default();
        samples.add(sample::gaussian(256, 1024, 9).view());
        // ECSQ of a Gaussian: 3 bits at a step of 0.5224, 4 bits at 0.2590; 16 bits for 1024 weights on top.
        for (bits, expected) in [(3.0, 0.5224), (4.0, 0.2590)] {
            let step = samples.step_for(bits + 16.0 / 1024.0).unwrap();
            assert!((step / expected - 1.0).abs() < 0.02, "{step}");
        }
        assert!(samples.step_for(0.0).is_err() && samples.step_for(30.0).is_err());
    }

    #[test]
    fn bits_are_entropy_and_scales_and_feedback_helps() {
        let (weights, hessian) = sample::layer(32, 96, 5);
        let plain = code(weights.view(), None, 0.5).unwrap();
        let fed = code(weights.view(), Some(&hessian), 0.5).unwrap();
        let bpw = plain.bits / weights.len() as f64;
        assert!((bpw - 16.0 / 96.0 - 3.05).abs() < 0.15, "{bpw}");
        assert!((fed.bits / plain.bits - 1.0).abs() < 0.05);
        let loss =
            |coded: &Coded| sample::proxy_loss(&weights, coded.reconstruction.view(), &hessian);
        assert!(loss(&fed) < 0.7 * loss(&plain));
    }
}
