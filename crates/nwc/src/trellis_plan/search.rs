//! The search for the step that gives the rate asked for.

use nwc_codec::Codec;
use nwc_codec::trellis::{FitSample, TrellisCodec, TrellisConfig};
use rayon::prelude::*;

use super::sample::{Predicted, Sample};
use super::{Aim, RATES, TrellisPlan};
use crate::coders::LoadedCodec;
use crate::options::{Feedback, RateTarget};
use crate::plan::{Plan, Role, Treatment};
use crate::statistics::Statistics;
use crate::{Error, Result};

/// Turns of the search; rate falls by a bit and KL grows fourfold when the step doubles, so few suffice.
const MAX_TURNS: usize = 12;
/// A step that moves by more than this has tables fitted anew.
const REFIT_OCTAVES: f64 = 0.05;
/// Largest move of a turn: far from its tables a prediction says little.
const MAX_OCTAVES: f64 = 4.0;
/// The KL aimed at lies a little lower than what was asked for, so that the prediction's noise stays below it.
const KL_MARGIN: f64 = 0.97;

/// Samples of all coded tensors and how they will be coded.
pub(super) struct Search<'a> {
    pub(super) config: TrellisConfig,
    pub(super) samples: Vec<Sample<'a>>,
    pub(super) feedback: Option<Feedback>,
    pub(super) statistics: Option<&'a Statistics>,
}

/// Sums of the predictions.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    linear_bits: f64,
    all_bits: f64,
    kl: f64,
}

impl Search<'_> {
    pub(super) fn run(self, target: RateTarget, plan: &Plan<'_>) -> Result<TrellisPlan> {
        let n_linear = self.n_weights(|s| s.role == Role::Linear);
        let n_all = self.n_weights(|_| true);
        let total = |bytes: f64| -> Result<(Aim, Option<f64>)> {
            let bits = self.budget(bytes, fixed_bytes(plan), n_all)?;
            Ok((Aim::TotalBytes(bytes), Some(bits)))
        };
        let (aim, target_bits) = match target {
            RateTarget::Step(_) | RateTarget::MaxKl(_) => (Aim::Step, None),
            RateTarget::BpwPayload(bits) => (Aim::PayloadBits(bits), Some(bits)),
            RateTarget::BpwTotal(bits) => total(bits * n_params(plan) as f64 / 8.0)?,
            RateTarget::TotalBytes(bytes) => total(bytes as f64)?,
        };
        if let RateTarget::MaxKl(kl) = target
            && !self.samples.iter().any(|s| s.basis.is_kl())
        {
            return Err(Error::Argument {
                argument: "KL divergence",
                found: kl.to_string(),
                allowed: "only with statistics that hold both Hessians and output Fisher".into(),
            });
        }
        let mut delta = match target {
            RateTarget::Step(step) => step,
            _ => self.first_guess(target_bits.unwrap_or(4.0), n_all),
        };
        let mut codec = self.fit(delta)?;
        let n_turns = match target {
            RateTarget::Step(_) => 0,
            _ => MAX_TURNS,
        };
        for turn in 0..n_turns {
            let sums = self.predict(&codec, delta, turn > 1)?;
            let octaves = match (target, target_bits) {
                (RateTarget::MaxKl(kl), _) => 0.5 * (KL_MARGIN * kl / sums.kl.max(1e-300)).log2(),
                (RateTarget::BpwPayload(_), Some(bits)) if n_linear > 0.0 => {
                    sums.linear_bits / n_linear - bits
                }
                (_, Some(bits)) => sums.all_bits / n_all.max(1.0) - bits,
                _ => 0.0,
            };
            tracing::debug!(turn, delta, octaves, "step search");
            let octaves = octaves.clamp(-MAX_OCTAVES, MAX_OCTAVES);
            delta *= octaves.exp2();
            // Tables reach no further than the scales that they were fitted to.
            if octaves.abs() > REFIT_OCTAVES {
                codec = self.fit(delta)?;
            }
            if turn > 1 && octaves.abs() < 2e-3 {
                break;
            }
        }
        if !(delta.is_finite() && delta > 0.0) {
            return Err(Error::Argument {
                argument: "rate",
                found: format!("{target:?}"),
                allowed: "one that some step gives".into(),
            });
        }
        self.finish(codec, delta, aim)
    }

    fn finish(self, codec: TrellisCodec, delta: f64, aim: Aim) -> Result<TrellisPlan> {
        let bytes = Codec::Trellis(Box::new(codec))
            .to_bytes()
            .map_err(codec_error)?;
        let factors = self
            .samples
            .into_iter()
            .map(|s| (s.planned.tensor.name.clone(), s.factors))
            .collect();
        Ok(TrellisPlan {
            codec: LoadedCodec::new("trellis", bytes)?,
            delta,
            factors,
            aim,
            n_corrections: 0,
        })
    }

    /// Bits a coded weight that `bytes` leave, or what would be possible.
    fn budget(&self, bytes: f64, fixed_bytes: f64, n_all: f64) -> Result<f64> {
        let bits = (bytes - fixed_bytes) * 8.0 / n_all.max(1.0);
        if RATES.contains(&bits) {
            return Ok(bits);
        }
        let limit = |rate: f64| (fixed_bytes + rate * n_all / 8.0).ceil();
        Err(Error::Argument {
            argument: "size",
            found: format!("{bytes:.0} bytes"),
            allowed: format!(
                "{} to {} bytes for this checkpoint, of which {fixed_bytes:.0} are not coded",
                limit(*RATES.start()),
                limit(*RATES.end())
            ),
        })
    }

    fn n_weights(&self, of: impl Fn(&Sample<'_>) -> bool) -> f64 {
        self.samples
            .iter()
            .filter(|s| of(s))
            .map(Sample::n_weights)
            .sum()
    }

    /// A Gaussian's rate is log2(σ/step) + ½ log2(2πe); a trellis codes every second integer, one bit less.
    fn first_guess(&self, bits: f64, n_all: f64) -> f64 {
        let weighted = self.samples.iter().map(|s| s.log2_ratio * s.n_weights());
        (weighted.sum::<f64>() / n_all.max(1.0) + 1.05 - bits).exp2()
    }

    fn fit(&self, delta: f64) -> Result<TrellisCodec> {
        let scales: Vec<_> = self.samples.iter().map(|s| s.scales(delta)).collect();
        let n_most = self.samples.iter().map(|s| s.col_idx.len()).max();
        let all_columns: Vec<usize> = (0..n_most.unwrap_or(0)).collect();
        let samples: Vec<FitSample<'_>> = self
            .samples
            .iter()
            .zip(&scales)
            .map(|(s, scales)| FitSample {
                weights: s.columns.view(),
                scales,
                columns: &all_columns[..s.col_idx.len()],
            })
            .collect();
        TrellisCodec::fit(self.config.clone(), &samples).map_err(|e| codec_error(e.into()))
    }

    /// Bits and KL of the whole model at one step, from the sampled columns; `with_feedback` codes some
    /// tensors whole to learn what feedback adds to the columns' variance.
    fn predict(&self, codec: &TrellisCodec, delta: f64, with_feedback: bool) -> Result<Sums> {
        let predicted = self
            .samples
            .par_iter()
            .map(|s| s.predict(codec, delta))
            .collect::<Result<Vec<_>>>()?;
        let mut sums = Sums::default();
        for (sample, p) in self.samples.iter().zip(&predicted) {
            sums.all_bits += p.bits;
            sums.kl += p.kl;
            if sample.role == Role::Linear {
                sums.linear_bits += p.bits;
            }
        }
        if with_feedback
            && let (Some(statistics), Some(feedback)) = (self.statistics, self.feedback)
        {
            let ratio = self.feedback_ratio(codec, delta, (statistics, feedback), &predicted)?;
            sums.all_bits += sums.linear_bits * (ratio - 1.0);
            sums.linear_bits *= ratio;
        }
        Ok(sums)
    }

    /// Bits with feedback over bits without, from a few tensors that are coded whole.
    fn feedback_ratio(
        &self,
        codec: &TrellisCodec,
        delta: f64,
        (statistics, feedback): (&Statistics, Feedback),
        predicted: &[Predicted],
    ) -> Result<f64> {
        let with: Vec<usize> = (0..self.samples.len())
            .filter(|&i| self.samples[i].has_hessian && self.samples[i].role == Role::Linear)
            .collect();
        // Every 31st: coprime to the seven linears of a block, so that all kinds are among them.
        let chosen: Vec<usize> = with.iter().copied().step_by(31).collect();
        let bits = chosen
            .par_iter()
            .map(|&i| self.samples[i].bits_with_feedback(codec, delta, feedback, statistics))
            .collect::<Result<Vec<f64>>>()?;
        let expected: f64 = chosen.iter().map(|&i| predicted[i].bits).sum();
        Ok(if expected > 0.0 {
            bits.iter().sum::<f64>() / expected
        } else {
            1.0
        })
    }
}

fn codec_error(source: nwc_codec::Error) -> Error {
    Error::Codec {
        name: "trellis".into(),
        source,
    }
}

/// Bytes that do not depend on the step: what is stored as it is, the table, the codec.
fn fixed_bytes(plan: &Plan<'_>) -> f64 {
    const RECORD_BYTES: usize = 620;
    const CODEC_BYTES: usize = 30_000;
    let mut bytes = CODEC_BYTES;
    for planned in plan.shards.iter().flatten() {
        bytes += RECORD_BYTES;
        if matches!(planned.treatment, Treatment::Lossless { .. }) {
            bytes += planned.bytes().len();
        }
    }
    bytes as f64
}

/// Parameters of the checkpoint, tied ones once.
fn n_params(plan: &Plan<'_>) -> usize {
    plan.shards
        .iter()
        .flatten()
        .filter(|p| !matches!(p.treatment, Treatment::TiedTo { .. }))
        .map(|p| p.tensor.n_elems())
        .sum()
}
