//! The one step of a model: steps of all matrices relative to it, tables fitted to a sample, and the rate asked for.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use nwc_chunk::ZeroMask;
use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_codec::Codec;
use nwc_codec::trellis::{StepFactors, TrellisCodec, TrellisConfig};
use rayon::prelude::*;

use super::coder::TrellisCoder;
use super::sample::{Sample, tensor_scales};
use super::search::Search;
use crate::family::{CodecFile, CodedMatrix, Layer, Layers, MatrixCoder, Sizes};
use crate::options::{Job, Progress, RateTarget, Steps};
use crate::report::Totals;
use crate::role::Role;
use crate::survey::Keep;
use crate::{Error, Result};

/// Weights that tables are fitted to and rates are predicted from.
const SAMPLE_WEIGHTS: usize = 2 << 20;
/// Factors kept between planning and coding take no more memory than this; what does not fit is factored again.
const MAX_KEPT_BYTES: usize = 1 << 30;
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
/// Payload rates that a trellis can be asked for, bits a weight.
pub(super) const RATES: RangeInclusive<f64> = 0.25..=12.0;

/// What is asked of a trellis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) target: RateTarget,
    pub(crate) n_states: u16,
    pub(crate) embedding_bits: Option<f64>,
    pub(crate) steps: Steps,
    pub(crate) sizes: Sizes,
}

/// Everything that coding a matrix needs beside the matrix.
#[derive(Debug)]
pub(crate) struct TrellisPlan<'a> {
    file: CodecFile,
    codec: TrellisCodec,
    delta: f64,
    factors: HashMap<String, StepFactors>,
    aim: Aim,
    layers: &'a Layers<'a>,
}

/// What the result is judged by once everything is coded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Aim {
    /// The step was asked for, or follows from a predicted KL divergence.
    Step,
    /// Bits over the linear weights, over all coded ones where there are none.
    PayloadBits(f64),
    /// Bytes of the whole output.
    TotalBytes(f64),
}

/// Plans to code `layers` as `request` asks for.
pub(crate) fn plan<'a>(
    request: Request,
    layers: &'a Layers<'a>,
    progress: &dyn Progress,
) -> Result<TrellisPlan<'a>> {
    let config = TrellisConfig::wide(request.n_states);
    config.validate().map_err(codec_error)?;
    check_target(request.target)?;
    if let Some(bits) = request.embedding_bits {
        check_range("extra bits of embeddings", bits, EMBEDDING_BITS)?;
    }
    let n_coded: usize = layers.all().iter().map(Layer::n_weights).sum();
    let share = (SAMPLE_WEIGHTS as f64 / n_coded.max(1) as f64).min(1.0);
    let kept = kept_layers(layers);
    let mut samples = {
        let job = Job::start(progress, "plan", n_coded);
        layers
            .all()
            .par_iter()
            .zip(&kept)
            .map(|(layer, &keep)| {
                job.check()?;
                let sample = Sample::new(*layer, layers, keep, share, request.steps)?;
                job.advance(layer.n_weights());
                Ok(sample)
            })
            .collect::<Result<Vec<_>>>()?
    };
    align(&mut samples, request.embedding_bits);
    let found = Search::new(config, &samples, layers, request).run()?;
    let bytes = Codec::Trellis(Box::new(found.codec.clone()))
        .to_bytes()
        .map_err(codec_error)?;
    Ok(TrellisPlan {
        file: CodecFile::parse("trellis", bytes)?,
        codec: found.codec,
        delta: found.delta,
        factors: samples
            .into_iter()
            .map(|s| (s.layer.name().to_owned(), s.factors))
            .collect(),
        aim: found.aim,
        layers,
    })
}

#[cfg(test)]
impl TrellisPlan<'_> {
    pub(super) fn aim(&self) -> Aim {
        self.aim
    }
}

impl MatrixCoder for TrellisPlan<'_> {
    fn codecs(&self) -> &[CodecFile] {
        std::slice::from_ref(&self.file)
    }

    fn code(
        &self,
        layer: &Layer<'_>,
        weights: ArrayView2<'_, f32>,
        zeros: Option<&Arc<ZeroMask>>,
    ) -> Result<(CodedMatrix, Array2<f32>)> {
        let guidance = self.layers.guidance(layer, Keep::No)?;
        let factors = self
            .factors
            .get(layer.name())
            .ok_or_else(|| Error::NoSuchTensor {
                path: "the plan".into(),
                tensor: layer.name().into(),
            })?;
        let scales = tensor_scales(weights, zeros, factors, self.delta);
        let scales = scales.map_err(|e| layer.wrong(e))?;
        TrellisCoder {
            codec: &self.codec,
            codec_id: &self.file.id,
            scales: &scales,
            feedback: guidance.feedback(),
            cancel: self.layers.cancel(),
        }
        .code(weights)
        .map_err(|e| layer.wrong(e))
    }

    fn missed_by(&self, totals: &Totals) -> Option<f64> {
        match self.aim {
            Aim::Step => None,
            Aim::PayloadBits(bits) => Some(payload_bits(totals) / bits - 1.0),
            Aim::TotalBytes(bytes) => Some(totals.total_bytes as f64 / bytes - 1.0),
        }
    }
}

/// The layers whose factors are kept from planning to coding: as many as fit, spread over the model.
///
/// Which they are depends on shapes alone, since the predicted size rests on them.
pub(super) fn kept_layers(layers: &Layers<'_>) -> Vec<Keep> {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let mut kept = vec![Keep::No; layers.all().len()];
    if !layers.guide().has_statistics() {
        return kept;
    }
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by(|&a, &b| {
        let place = |idx: usize| (idx as f64 * GOLDEN).fract();
        place(a).total_cmp(&place(b))
    });
    let mut n_bytes = 0_usize;
    for idx in order {
        let cols = layers.all()[idx].cols;
        let more = n_bytes.saturating_add(cols.saturating_mul(cols).saturating_mul(4));
        if more <= MAX_KEPT_BYTES {
            n_bytes = more;
            kept[idx] = Keep::Yes;
        }
    }
    kept
}

fn payload_bits(totals: &Totals) -> f64 {
    match totals.bpw_payload_linear {
        bits if bits > 0.0 => bits,
        _ => totals.bpw_payload,
    }
}

pub(super) fn codec_error(source: impl Into<nwc_codec::Error>) -> Error {
    Error::Codec {
        name: "trellis".into(),
        source: source.into(),
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

/// Puts the steps of all matrices on one scale.
///
/// Matrices that have both statistics set the scale where there are any, else the linears do; the others follow
/// at the same mean rate, embeddings and head finer by `embedding_bits` or [`EMBEDDING_EXTRA_BITS`]. Embeddings with
/// statistics, which are those of an output head, are coded finer by `embedding_bits` or, where tied,
/// [`TIED_EXTRA_BITS`].
pub(super) fn align(samples: &mut [Sample<'_>], embedding_bits: Option<f64>) {
    let has_kl = samples.iter().any(|s| s.basis.is_kl());
    let sets_scale = |s: &Sample<'_>| match has_kl {
        true => s.basis.is_kl(),
        false => s.layer.role.is_linear(),
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
        let extra = match sample.layer.role {
            Role::Linear => 0.0,
            Role::Embedding | Role::Head => embedding_bits.unwrap_or(EMBEDDING_EXTRA_BITS),
        };
        let shift = sum / n + extra - sample.log2_ratio;
        sample.refine(shift);
    }
    let has_statistics = |s: &&mut Sample<'_>| !s.layer.role.is_linear() && sets_scale(s);
    for sample in samples.iter_mut().filter(has_statistics) {
        let default = match sample.layer.role {
            Role::Head => 0.0,
            Role::Linear | Role::Embedding => TIED_EXTRA_BITS,
        };
        sample.refine(embedding_bits.unwrap_or(default));
    }
}
