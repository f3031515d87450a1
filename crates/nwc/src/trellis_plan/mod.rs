//! The one step of a model: steps of all tensors relative to it, tables fitted to a sample, and the
//! search for the step that gives the rate asked for.

mod sample;
mod search;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use nwc_codec::trellis::{StepFactors, TrellisConfig};
use rayon::prelude::*;

use crate::coders::LoadedCodec;
use crate::error::TensorError;
use crate::options::{CompressOptions, Progress, RateTarget};
use crate::plan::{Plan, Role};
use crate::report::Totals;
use crate::statistics::Statistics;
use crate::{Error, Result};
use sample::Sample;
use search::Search;

/// Weights that tables are fitted to and rates are predicted from.
const SAMPLE_WEIGHTS: usize = 2 << 20;
/// Embeddings without statistics of their own are coded this much finer than the linear weights.
///
/// Measured on SmolLM2, see `docs/RESULTS.md`.
const EMBEDDING_EXTRA_BITS: f64 = 1.0;
/// An embedding that is the output head, too, is coded this much finer than its statistics as head ask for: they do not
/// know what its errors cost where tokens enter.
///
/// Measured on SmolLM2, see `docs/RESULTS.md`.
const TIED_EXTRA_BITS: f64 = 1.0;
/// Bits a weight that embeddings may be coded finer or coarser than the rest.
const EMBEDDING_BITS: RangeInclusive<f64> = -4.0..=8.0;
/// A size that misses what was asked for by less is accepted; half of what is promised.
const TOLERANCE: f64 = 0.0025;
/// Most bits a weight that one of them corrects.
const MAX_CORRECTION: f64 = 0.5;
/// Whole codings spent on hitting a size.
const MAX_CORRECTIONS: usize = 3;
/// Payload rates that a trellis can be asked for, bits a weight.
const RATES: RangeInclusive<f64> = 0.25..=12.0;

/// Everything that coding a tensor with the trellis needs beside the tensor.
#[derive(Debug, Clone)]
pub(crate) struct TrellisPlan {
    pub(crate) codec: LoadedCodec,
    delta: f64,
    factors: HashMap<String, StepFactors>,
    aim: Aim,
    n_corrections: usize,
}

/// What a step is judged by once everything is coded.
#[derive(Debug, Clone, Copy)]
enum Aim {
    /// The step was asked for, or follows from a prediction.
    Step,
    /// Bits over the linear weights, over all coded ones where there are none.
    PayloadBits(f64),
    /// Bytes of the whole output.
    TotalBytes(f64),
}

impl TrellisPlan {
    pub(crate) fn new(
        target: RateTarget,
        n_states: usize,
        options: &CompressOptions,
        plan: &Plan<'_>,
        statistics: Option<&Statistics>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let config = TrellisConfig::wide(u16::try_from(n_states).unwrap_or(u16::MAX));
        config.validate().map_err(|source| Error::Codec {
            name: "trellis".into(),
            source: source.into(),
        })?;
        check_target(target)?;
        if let Some(bits) = options.embedding_bits {
            check_range("extra bits of embeddings", bits, EMBEDDING_BITS)?;
        }
        let coded: Vec<_> = plan.coded().collect();
        let n_coded: usize = coded.iter().map(|(_, _, rows, cols)| rows * cols).sum();
        progress.start("plan", n_coded as u64);
        let share = (SAMPLE_WEIGHTS as f64 / n_coded.max(1) as f64).min(1.0);
        let mut samples = coded
            .par_iter()
            .map(|&(planned, role, rows, cols)| {
                let sample =
                    Sample::new(planned, role, (rows, cols), share, (statistics, options))?;
                progress.advance((rows * cols) as u64);
                Ok(sample)
            })
            .collect::<Result<Vec<_>>>()?;
        progress.finish();
        align(&mut samples, options.embedding_bits);
        Search {
            config,
            samples,
            feedback: options.feedback,
            statistics,
        }
        .run(target, plan)
    }

    /// The model's one step.
    pub(crate) fn delta(&self) -> f64 {
        self.delta
    }

    /// The steps of one tensor, relative to the model's.
    pub(crate) fn factors(&self, name: &str) -> Result<&StepFactors, TensorError> {
        self.factors.get(name).ok_or_else(|| TensorError::Record {
            what: "step factors",
            found: "none".into(),
            expected: format!("those of {name}"),
        })
    }

    /// Whether there is a size to be met.
    pub(crate) fn may_miss(&self) -> bool {
        !matches!(self.aim, Aim::Step)
    }

    /// Another step, where `totals` miss what was asked for.
    pub(crate) fn correct(&self, totals: &Totals) -> Option<Self> {
        let n_coded = totals.n_coded.max(1) as f64;
        // Bits a coded weight that are missing, and how far off that is.
        let (missing, off) = match self.aim {
            Aim::Step => return None,
            Aim::PayloadBits(bits) => {
                let found = payload_bits(totals);
                (bits - found, (bits - found).abs() / bits)
            }
            Aim::TotalBytes(bytes) => {
                let found = totals.total_bytes as f64;
                (
                    (bytes - found) * 8.0 / n_coded,
                    (bytes - found).abs() / bytes,
                )
            }
        };
        if off <= TOLERANCE {
            return None;
        }
        if self.n_corrections == MAX_CORRECTIONS {
            tracing::warn!(off, "the size asked for was missed by this share");
            return None;
        }
        tracing::info!(off, missing, "size missed, coding again with another step");
        let mut better = self.clone();
        // A weight gains one bit when the step is halved; at low rates less, which another try mends.
        // Tables reach no further than the scales that they were fitted to, so it moves in small steps.
        better.delta *= (-missing.clamp(-MAX_CORRECTION, MAX_CORRECTION)).exp2();
        better.n_corrections += 1;
        Some(better)
    }
}

fn payload_bits(totals: &Totals) -> f64 {
    match totals.bpw_payload_linear {
        bits if bits > 0.0 => bits,
        _ => totals.bpw_payload,
    }
}

fn check_target(target: RateTarget) -> Result<()> {
    match target {
        RateTarget::BpwTotal(bits) => check_range("bits a weight", bits, 0.5..=16.0),
        RateTarget::BpwPayload(bits) => check_range("payload bits a weight", bits, RATES),
        RateTarget::TotalBytes(_) => Ok(()),
        RateTarget::MaxKl(kl) => check_range("KL divergence", kl, 1e-9..=100.0),
        RateTarget::Step(step) => check_range("step", step, 1e-12..=1e12),
    }
}

fn check_range(argument: &'static str, found: f64, allowed: RangeInclusive<f64>) -> Result<()> {
    if allowed.contains(&found) {
        return Ok(());
    }
    Err(Error::Argument {
        argument,
        found: found.to_string(),
        allowed: format!("{} to {}", allowed.start(), allowed.end()),
    })
}

/// Puts the steps of all tensors on one scale.
///
/// Tensors that have both statistics set the scale where there are any, else the linears do; the others follow
/// at the same mean rate, embeddings finer by `embedding_bits` or [`EMBEDDING_EXTRA_BITS`]. Embeddings with statistics,
/// which are those of an output head, are coded finer by `embedding_bits` or, where tied, [`TIED_EXTRA_BITS`].
fn align(samples: &mut [Sample<'_>], embedding_bits: Option<f64>) {
    let has_kl = samples.iter().any(|s| s.basis.is_kl());
    let sets_scale = |s: &Sample<'_>| match has_kl {
        true => s.basis.is_kl(),
        false => s.role == Role::Linear,
    };
    let (mut sum, mut n) = (0.0, 0.0);
    for sample in samples.iter().filter(|s| sets_scale(s)) {
        sum += sample.log2_ratio * sample.n_weights();
        n += sample.n_weights();
    }
    if n == 0.0 {
        return;
    }
    for sample in samples.iter_mut().filter(|s| !sets_scale(s)) {
        let extra = match sample.role {
            Role::Linear => 0.0,
            Role::Embedding => embedding_bits.unwrap_or(EMBEDDING_EXTRA_BITS),
        };
        let shift = sum / n + extra - sample.log2_ratio;
        sample.refine(shift);
    }
    let has_statistics = |s: &&mut Sample<'_>| s.role == Role::Embedding && sets_scale(s);
    for sample in samples.iter_mut().filter(has_statistics) {
        let is_head_alone = sample.planned.tensor.name.ends_with("head.weight");
        let default = if is_head_alone { 0.0 } else { TIED_EXTRA_BITS };
        sample.refine(embedding_bits.unwrap_or(default));
    }
}
