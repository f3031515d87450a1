//! Some columns of each matrix: what tables are fitted to and rates are predicted from.

use std::sync::Arc;

use nwc_chunk::ZeroMask;
use nwc_chunk::ndarray::{Array2, ArrayView2, Axis};
use nwc_codec::trellis::{
    ScaleLogs, ScalePrediction, StepBasis, StepFactors, TensorScales, TrellisCodec,
};

use super::coder::TrellisCoder;
use crate::Result;
use crate::error::TensorError;
use crate::family::zeros::mask_section;
use crate::family::{Layer, Layers};
use crate::options::{Cancel, Steps};
use crate::survey::Keep;

/// What a step gives, as predicted from the sample.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Predicted {
    pub(super) bits: f64,
    pub(super) kl: f64,
}

/// Some columns of one matrix, with its steps.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) layer: Layer<'a>,
    /// Whether its factor is kept.
    pub(super) keep: Keep,
    /// `[rows, n_sampled]`.
    pub(super) columns: Array2<f32>,
    pub(super) col_idx: Vec<usize>,
    /// Zeros among the sampled columns, where the matrix has a mask.
    zeros: Option<Arc<ZeroMask>>,
    /// Bytes of the mask of the whole matrix.
    pub(super) mask_bytes: usize,
    /// Share of the weights of the whole matrix that are coded.
    pub(super) density: f64,
    pub(super) factors: StepFactors,
    /// Of the whole matrix, at a step of 1 before any refinement.
    logs: ScaleLogs,
    /// Bits a weight by which the matrix is coded finer.
    refined: f64,
    pub(super) basis: StepBasis,
    /// Half of the mean log2 of squared weight over squared step at a step of 1: the rate up to a constant.
    pub(super) log2_ratio: f64,
    /// `E[g²]` a row and D a column, in the units of the KL divergence; empty where unknown.
    row_importance: Vec<f64>,
    col_importance: Vec<f64>,
}

impl<'a> Sample<'a> {
    /// Samples `share` of the columns of `layer`, at least one.
    pub(super) fn new(
        layer: Layer<'a>,
        layers: &Layers<'_>,
        keep: Keep,
        share: f64,
        steps: Steps,
    ) -> Result<Self> {
        let (weights, exponents) = layer.scaled_weights()?;
        let cols = layer.cols;
        let known = layers.guidance(&layer, keep)?;
        let importance = known.row_importance.as_deref();
        let fisher = importance.map(|rows| exponents.weigh_for_steps(rows));
        let fisher = fisher.as_deref();
        let d = known.col_importance.as_deref();
        let (rows_by, cols_by) = followed(steps, fisher, d);
        let allocation =
            StepFactors::allocate(weights.view(), cols_by.as_deref(), rows_by.as_deref())
                .map_err(|e| layer.wrong(e))?;
        if rows_by.is_some() && !allocation.basis.has_fisher() {
            let name = layer.name();
            tracing::warn!(name, "output Fisher is all zeros, steps are set without it");
        }
        let factors = allocation.factors;
        let mask = layer.zeros()?;
        let logs = ScaleLogs::fit(weights.view(), mask.as_deref(), &factors, 1.0);
        let logs = logs.map_err(|e| layer.wrong(e))?;
        let (mut mask_bytes, mut density) = (0, 1.0);
        if let Some(mask) = &mask {
            mask_bytes = mask_section(mask).map_err(|e| layer.wrong(e))?.bytes.len();
            density = mask.n_kept() as f64 / layer.n_weights().max(1) as f64;
        }
        let n_sampled = ((cols as f64 * share).ceil() as usize).clamp(1, cols.max(1));
        let col_idx = evenly_spaced(n_sampled, cols);
        let columns = weights.select(Axis(1), &col_idx);
        let log2_ratio = log2_ratio(&columns, &factors, &col_idx, density);
        Ok(Self {
            layer,
            keep,
            zeros: mask.map(|_| Arc::new(ZeroMask::of(columns.view()))),
            mask_bytes,
            density,
            columns,
            col_idx,
            factors,
            logs,
            refined: 0.0,
            basis: allocation.basis,
            log2_ratio,
            row_importance: exponents.weigh(importance.unwrap_or_default()),
            col_importance: d.unwrap_or_default().to_vec(),
        })
    }

    /// Codes the matrix `bits` a weight finer.
    pub(super) fn refine(&mut self, bits: f64) {
        self.factors = self.factors.shifted(-bits as f32);
        self.log2_ratio += bits;
        self.refined += bits;
    }

    /// Weights of the whole matrix.
    pub(super) fn n_weights(&self) -> f64 {
        self.layer.n_weights() as f64
    }

    /// Steps and predicted scales of the sampled columns, as the whole matrix predicts them.
    pub(super) fn scales(&self, delta: f64) -> TensorScales {
        let whole = self.whole_scales(delta);
        let sampled = |cols: &[i8]| self.col_idx.iter().map(|&j| cols[j]).collect();
        TensorScales {
            col_step: sampled(&whole.col_step),
            col_rms: sampled(&whole.col_rms),
            zeros: self.zeros.clone(),
            ..whole
        }
    }

    /// Steps and predicted scales of the whole matrix, without its mask.
    pub(super) fn whole_scales(&self, delta: f64) -> TensorScales {
        let prediction = self.logs.at(delta.log2() - self.refined);
        TensorScales::new(&self.factors, &prediction, delta as f32)
    }

    /// Bits and KL of the whole matrix, from the sampled columns coded without feedback.
    pub(super) fn predict(
        &self,
        codec: &TrellisCodec,
        delta: f64,
        cancel: Cancel<'_>,
    ) -> Result<Predicted> {
        let coder = TrellisCoder {
            codec,
            codec_id: "",
            scales: &self.scales(delta),
            feedback: None,
            cancel,
        };
        let wrong = |e: TensorError| self.layer.wrong(e);
        let (coded, decoded) = coder.code(self.columns.view()).map_err(wrong)?;
        let side = self.whole_scales(delta).to_bytes();
        let side_bytes = side.map_err(|e| self.layer.wrong(e))?.len() + self.mask_bytes;
        let whole = self.layer.cols as f64 / self.col_idx.len().max(1) as f64;
        let mut kl = 0.0;
        if !self.row_importance.is_empty() && !self.col_importance.is_empty() {
            for ((i, k), &w) in self.columns.indexed_iter() {
                let e = f64::from(w - decoded[[i, k]]);
                kl += 0.5 * self.row_importance[i] * self.col_importance[self.col_idx[k]] * e * e;
            }
        }
        Ok(Predicted {
            bits: coded.bits_estimated * whole + 8.0 * side_bytes as f64,
            kl: kl * whole,
        })
    }
}

/// Steps and predicted scales of `weights` for one `delta`.
pub(super) fn tensor_scales(
    weights: ArrayView2<'_, f32>,
    zeros: Option<&Arc<ZeroMask>>,
    factors: &StepFactors,
    delta: f64,
) -> Result<TensorScales, TensorError> {
    let delta = delta as f32;
    let mask = zeros.map(Arc::as_ref);
    let prediction = ScalePrediction::fit(weights, mask, factors, delta)?;
    Ok(TensorScales::new(factors, &prediction, delta).with_zeros(zeros.cloned()))
}

/// `n` of `0..of`, evenly spaced; `n` is at most `of` or 1.
pub(super) fn evenly_spaced(n: usize, of: usize) -> Vec<usize> {
    (0..n).map(|k| (2 * k + 1) * of / (2 * n)).collect()
}

/// The importance of rows and columns that steps are to follow.
fn followed(
    steps: Steps,
    rows: Option<&[f32]>,
    cols: Option<&[f64]>,
) -> (Option<Vec<f32>>, Option<Vec<f64>>) {
    let mean = |rows: &[f32]| {
        let sum: f64 = rows.iter().map(|&g| f64::from(g)).sum();
        vec![(sum / rows.len().max(1) as f64) as f32; rows.len()]
    };
    let geometric_mean = |cols: &[f64]| {
        let sum: f64 = cols.iter().map(|d| d.ln()).sum();
        vec![(sum / cols.len().max(1) as f64).exp(); cols.len()]
    };
    match steps {
        Steps::RowScales => (None, None),
        Steps::Layer => (rows.map(mean), cols.map(geometric_mean)),
        Steps::Columns => (rows.map(mean), cols.map(<[f64]>::to_vec)),
        Steps::Full => (rows.map(<[f32]>::to_vec), cols.map(<[f64]>::to_vec)),
    }
}

fn log2_ratio(
    columns: &Array2<f32>,
    factors: &StepFactors,
    col_idx: &[usize],
    density: f64,
) -> f64 {
    let n = (columns.len() as f64 * density).max(1.0);
    let energy: f64 = columns
        .indexed_iter()
        .map(|((i, k), &w)| {
            let step = factors.step(i, col_idx[k], 1.0);
            (f64::from(w) / f64::from(step)).powi(2)
        })
        .sum();
    match energy > 0.0 {
        true => 0.5 * (energy / n).log2(),
        // Nothing but zeros: any step will do.
        false => 0.0,
    }
}
