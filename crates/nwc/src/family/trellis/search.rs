//! The search for the step that gives the rate asked for.
//!
//! Sampled columns, coded without feedback, tell how the rate moves with the step; sampled rows, coded as they will be,
//! tell what they leave out. So the size is settled before anything is written.

use nwc_codec::Codec;
use nwc_codec::trellis::{FitSample, TrellisCodec, TrellisConfig};
use rayon::prelude::*;

use super::plan::{Aim, RATES, Request, codec_error};
use super::rows::stored_bits;
use super::sample::{Predicted, Sample};
use crate::family::Layers;
use crate::options::RateTarget;
use crate::survey::Keep;
use crate::{Error, Result};

/// Turns of the search; rate falls by a bit and KL grows fourfold when the step doubles, so few suffice.
const MAX_TURNS: usize = 12;
/// A step that moves by more than this has tables fitted anew.
const REFIT_OCTAVES: f64 = 0.05;
/// The same once rows were coded, which other tables would make worthless: tables are of scales relative to the step, and
/// this moves them by a bucket.
const CORRECTED_REFIT_OCTAVES: f64 = 0.25;
/// Largest move of a turn: far from its tables a prediction says little.
const MAX_OCTAVES: f64 = 4.0;
/// The search ends when a turn moves the step by less.
const DONE_OCTAVES: f64 = 5e-4;
/// A step is close enough for rows to be worth coding where it is to move by less.
const CLOSE_OCTAVES: f64 = 0.5;
/// Times that rows are coded at most; what they tell holds as long as the tables stay the same.
const MAX_ROW_TURNS: usize = 4;
/// Weights in the sampled rows of the whole model.
const ROW_SAMPLE_WEIGHTS: f64 = (8 << 20) as f64;
/// The KL aimed at lies a little lower than what was asked for, so that the prediction's noise stays below it.
const KL_MARGIN: f64 = 0.97;
/// Bytes that a codec file is taken to have before tables are fitted.
const FIRST_CODEC_BYTES: f64 = 30_000.0;

/// Samples of all coded matrices and what is asked for.
#[derive(Debug)]
pub(super) struct Search<'a> {
    config: TrellisConfig,
    samples: &'a [Sample<'a>],
    layers: &'a Layers<'a>,
    request: Request,
    n_linear: f64,
    n_all: f64,
    /// Shares of these that have symbols: all but what masks mark as zero.
    linear_density: f64,
    density: f64,
}

/// The step, with tables fitted to it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) codec: TrellisCodec,
    pub(super) delta: f64,
    pub(super) aim: Aim,
}

/// Sums of the predictions.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    linear_bits: f64,
    all_bits: f64,
    kl: f64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        config: TrellisConfig,
        samples: &'a [Sample<'a>],
        layers: &'a Layers<'a>,
        request: Request,
    ) -> Self {
        let sum = |is_linear_only: bool, of: fn(&Sample<'_>) -> f64| -> f64 {
            let samples = samples.iter();
            samples
                .filter(|s| !is_linear_only || s.layer.role.is_linear())
                .map(of)
                .sum()
        };
        let density = |is_linear_only: bool| {
            let kept = sum(is_linear_only, |s| s.n_weights() * s.density);
            let all = sum(is_linear_only, |s| s.n_weights());
            match kept > 0.0 {
                true => kept / all,
                false => 1.0,
            }
        };
        Self {
            config,
            samples,
            layers,
            request,
            n_linear: sum(true, |s| s.n_weights()),
            n_all: sum(false, |s| s.n_weights()),
            linear_density: density(true),
            density: density(false),
        }
    }

    pub(super) fn run(&self) -> Result<Found> {
        match self.request.target {
            RateTarget::Step(step) => Ok(Found {
                codec: self.fit(step)?,
                delta: step,
                aim: Aim::Step,
            }),
            RateTarget::MaxKl(kl) => self.by_kl(kl),
            RateTarget::BpwPayload(bits) => self.by_size(Aim::PayloadBits(bits)),
            RateTarget::BpwTotal(bits) => self.by_size(Aim::TotalBytes(
                bits * self.request.sizes.n_params as f64 / 8.0,
            )),
            RateTarget::TotalBytes(bytes) => self.by_size(Aim::TotalBytes(bytes as f64)),
        }
    }

    fn by_kl(&self, kl: f64) -> Result<Found> {
        if !self.samples.iter().any(|s| s.basis.is_kl()) {
            return Err(Error::Argument {
                argument: "KL divergence",
                found: kl.to_string(),
                allowed: "only with statistics that hold both Hessians and output Fisher".into(),
            });
        }
        let mut at = self.start(4.0)?;
        for turn in 0..MAX_TURNS {
            let sums = self.sums(&self.predict(&at)?, &[]);
            let octaves = 0.5 * (KL_MARGIN * kl / sums.kl.max(1e-300)).log2();
            self.step_by(&mut at, octaves, REFIT_OCTAVES)?;
            if turn > 1 && octaves.abs() < 4.0 * DONE_OCTAVES {
                break;
            }
        }
        self.found(at, Aim::Step)
    }

    fn by_size(&self, aim: Aim) -> Result<Found> {
        let first_bits = match aim {
            // Whether it can be met is known once there is a codec.
            Aim::TotalBytes(bytes) => self
                .bits_left(bytes, FIRST_CODEC_BYTES)
                .clamp(*RATES.start(), *RATES.end()),
            Aim::PayloadBits(bits) => bits,
            Aim::Step => 4.0,
        };
        let mut at = self.start(first_bits)?;
        let mut corrections: Vec<f64> = Vec::new();
        // Whether rows were coded with the tables as they are.
        let mut is_corrected = false;
        let mut n_row_turns = 0;
        for _ in 0..MAX_TURNS {
            let predicted = self.predict(&at)?;
            let mut octaves = self.missing(aim, &self.sums(&predicted, &corrections), &at)?;
            if !is_corrected && octaves.abs() < CLOSE_OCTAVES && n_row_turns < MAX_ROW_TURNS {
                corrections = self.corrections(&at, &predicted)?;
                octaves = self.missing(aim, &self.sums(&predicted, &corrections), &at)?;
                is_corrected = true;
                n_row_turns += 1;
            }
            if octaves.abs() < DONE_OCTAVES {
                break;
            }
            let refit_above = match is_corrected {
                true => CORRECTED_REFIT_OCTAVES,
                false => REFIT_OCTAVES,
            };
            is_corrected &= !self.step_by(&mut at, octaves, refit_above)?;
        }
        self.found(at, aim)
    }

    /// Bits a weight with a symbol that `sums` are above what is asked for, which is by how many octaves the step is too
    /// small.
    fn missing(&self, aim: Aim, sums: &Sums, at: &At) -> Result<f64> {
        Ok(match aim {
            Aim::Step => 0.0,
            Aim::PayloadBits(bits) if self.n_linear > 0.0 => {
                (sums.linear_bits / self.n_linear - bits) / self.linear_density
            }
            Aim::PayloadBits(bits) => (sums.all_bits / self.n_all.max(1.0) - bits) / self.density,
            Aim::TotalBytes(bytes) => {
                let bits = self.budget(bytes, codec_bytes(&at.codec)?)?;
                (sums.all_bits / self.n_all.max(1.0) - bits) / self.density
            }
        })
    }

    /// Tables and step for about `bits` a weight.
    fn start(&self, bits: f64) -> Result<At> {
        // A Gaussian's rate is log2(σ/step) + ½ log2(2πe); a trellis codes every second integer, one bit less.
        let weighted = self.samples.iter().map(|s| s.log2_ratio * s.n_weights());
        let masks: usize = self.samples.iter().map(|s| 8 * s.mask_bytes).sum();
        let bits = (bits - masks as f64 / self.n_all.max(1.0)).max(0.1) / self.density;
        let delta = (weighted.sum::<f64>() / self.n_all.max(1.0) + 1.05 - bits).exp2();
        Ok(At {
            codec: self.fit(delta)?,
            delta,
        })
    }

    /// Moves the step by `octaves`, or as far as a prediction reaches; tells whether tables were fitted anew, which a move
    /// by more than `refit_above` asks for.
    fn step_by(&self, at: &mut At, octaves: f64, refit_above: f64) -> Result<bool> {
        tracing::debug!(delta = at.delta, octaves, "step search");
        let octaves = octaves.clamp(-MAX_OCTAVES, MAX_OCTAVES);
        at.delta *= octaves.exp2();
        // Tables reach no further than the scales that they were fitted to.
        let is_refit = octaves.abs() > refit_above;
        if is_refit {
            at.codec = self.fit(at.delta)?;
        }
        Ok(is_refit)
    }

    fn found(&self, at: At, aim: Aim) -> Result<Found> {
        if !(at.delta.is_finite() && at.delta > 0.0) {
            return Err(Error::Argument {
                argument: "rate",
                found: format!("{:?}", self.request.target),
                allowed: "one that some step gives".into(),
            });
        }
        Ok(Found {
            codec: at.codec,
            delta: at.delta,
            aim,
        })
    }

    /// Bits a coded weight that `bytes` leave.
    fn bits_left(&self, bytes: f64, codec_bytes: f64) -> f64 {
        (bytes - self.request.sizes.other_bytes as f64 - codec_bytes) * 8.0 / self.n_all.max(1.0)
    }

    /// Bits a coded weight that `bytes` leave, or what would be possible.
    fn budget(&self, bytes: f64, codec_bytes: f64) -> Result<f64> {
        let bits = self.bits_left(bytes, codec_bytes);
        let fixed_bytes = self.request.sizes.other_bytes as f64 + codec_bytes;
        if RATES.contains(&bits) {
            return Ok(bits);
        }
        let limit = |rate: f64| (fixed_bytes + rate * self.n_all / 8.0).ceil();
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
        TrellisCodec::fit(self.config.clone(), &samples).map_err(codec_error)
    }

    /// Bits and KL of every matrix, from its sampled columns.
    fn predict(&self, at: &At) -> Result<Vec<Predicted>> {
        self.samples
            .par_iter()
            .map(|s| s.predict(&at.codec, at.delta, self.layers.cancel()))
            .collect()
    }

    /// Sums over the model, each matrix's bits times its correction; no corrections count as 1.
    fn sums(&self, predicted: &[Predicted], corrections: &[f64]) -> Sums {
        let mut sums = Sums::default();
        for (idx, (sample, p)) in self.samples.iter().zip(predicted).enumerate() {
            let bits = p.bits * corrections.get(idx).unwrap_or(&1.0);
            sums.all_bits += bits;
            sums.kl += p.kl;
            if sample.layer.role.is_linear() {
                sums.linear_bits += bits;
            }
        }
        sums
    }

    /// Bits as stored over bits as predicted, of every matrix.
    ///
    /// Rows are coded of matrices whose factor is at hand; the mean of those stands in for the others.
    pub(super) fn corrections(&self, at: &At, predicted: &[Predicted]) -> Result<Vec<f64>> {
        let share = (ROW_SAMPLE_WEIGHTS / self.n_all.max(1.0)).min(1.0);
        let is_at_hand =
            |s: &Sample<'_>| s.keep == Keep::Yes || !self.layers.guide().has_statistics();
        let stored = self
            .samples
            .par_iter()
            .map(|s| match is_at_hand(s) {
                true => stored_bits(s, self.layers, &at.codec, at.delta, share).map(Some),
                false => Ok(None),
            })
            .collect::<Result<Vec<Option<f64>>>>()?;
        let known = stored.iter().zip(predicted);
        let (sum_stored, sum_predicted) = known
            .filter_map(|(stored, p)| Some(((*stored)?, p.bits)))
            .fold((0.0, 0.0), |(a, b), (stored, p)| (a + stored, b + p));
        let ratio = |stored: f64, predicted: f64| match predicted > 0.0 {
            true => stored / predicted,
            false => 1.0,
        };
        let mean = ratio(sum_stored, sum_predicted);
        Ok(stored
            .iter()
            .zip(predicted)
            .map(|(stored, p)| stored.map_or(mean, |stored| ratio(stored, p.bits)))
            .collect())
    }
}

/// A step with tables fitted to it.
#[derive(Debug)]
pub(super) struct At {
    pub(super) codec: TrellisCodec,
    pub(super) delta: f64,
}

fn codec_bytes(codec: &TrellisCodec) -> Result<f64> {
    let bytes = Codec::Trellis(Box::new(codec.clone())).to_bytes();
    Ok(bytes.map_err(codec_error)?.len() as f64)
}
