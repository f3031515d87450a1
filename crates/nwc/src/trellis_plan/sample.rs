//! Some columns of each tensor: what tables are fitted to and rates are predicted from.

use nwc_chunk::ndarray::{Array2, Axis};
use nwc_codec::trellis::{ScalePrediction, StepBasis, StepFactors, TensorScales, TrellisCodec};

use crate::coder::{TrellisCoder, tensor_scales};
use crate::error::TensorError;
use crate::factors::LayerFactors;
use crate::options::{CompressOptions, Feedback, Steps};
use crate::plan::{Planned, Role};
use crate::statistics::Statistics;
use crate::{Error, Result};

/// What a step gives, as predicted from the sample.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Predicted {
    pub(super) bits: f64,
    pub(super) kl: f64,
}

/// Some columns of one tensor, with its steps.
pub(super) struct Sample<'a> {
    pub(super) planned: &'a Planned<'a>,
    pub(super) role: Role,
    shape: (usize, usize),
    /// `[rows, n_sampled]`.
    pub(super) columns: Array2<f32>,
    pub(super) col_idx: Vec<usize>,
    pub(super) factors: StepFactors,
    /// Of the whole matrix, at a step of 1.
    prediction: ScalePrediction,
    pub(super) has_hessian: bool,
    pub(super) basis: StepBasis,
    /// Half of the mean log2 of squared weight over squared step at a step of 1: the rate up to a constant.
    pub(super) log2_ratio: f64,
    /// `E[g²]` a row and D a column, in the units of the KL divergence; empty where unknown.
    row_importance: Vec<f64>,
    col_importance: Vec<f64>,
}

impl<'a> Sample<'a> {
    pub(super) fn new(
        planned: &'a Planned<'a>,
        role: Role,
        shape: (usize, usize),
        share: f64,
        (statistics, options): (Option<&Statistics>, &CompressOptions),
    ) -> Result<Self> {
        let name = &planned.tensor.name;
        let wrong = |e: TensorError| Error::tensor(planned.shard.path(), name, e);
        let is_transposed = statistics.is_some_and(|s| s.is_transposed(name));
        let (weights, shape) = planned.linear(shape, is_transposed)?;
        let (rows, cols) = shape;
        let layer = match statistics {
            Some(statistics) => statistics.layer(name, rows, cols)?,
            None => None,
        };
        let known = LayerFactors::new(layer.as_ref(), options.feedback).map_err(wrong)?;
        let (fisher, d) = (known.row_importance(), known.col_importance());
        let (rows_by, cols_by) = followed(options.steps, fisher, d);
        let allocation =
            StepFactors::allocate(weights.view(), cols_by.as_deref(), rows_by.as_deref())
                .map_err(|e| wrong(TensorError::Codec(e.into())))?;
        if rows_by.is_some() && !allocation.basis.has_fisher() {
            tracing::warn!(name, "output Fisher is all zeros, steps are set without it");
        }
        let factors = allocation.factors;
        let prediction = ScalePrediction::fit(weights.view(), &factors, 1.0)
            .map_err(|e| wrong(TensorError::Codec(e.into())))?;
        // Evenly spaced columns, at least one.
        let n_sampled = ((cols as f64 * share).ceil() as usize).clamp(1, cols.max(1));
        let col_idx: Vec<usize> = (0..n_sampled)
            .map(|k| (2 * k + 1) * cols / (2 * n_sampled))
            .collect();
        let columns = weights.select(Axis(1), &col_idx);
        let log2_ratio = log2_ratio(&columns, &factors, &col_idx);
        Ok(Self {
            planned,
            role,
            shape,
            columns,
            col_idx,
            factors,
            prediction,
            has_hessian: d.is_some(),
            basis: allocation.basis,
            log2_ratio,
            row_importance: fisher
                .unwrap_or_default()
                .iter()
                .map(|&g| f64::from(g))
                .collect(),
            col_importance: d.unwrap_or_default().to_vec(),
        })
    }

    /// Codes the tensor `bits` a weight finer.
    pub(super) fn refine(&mut self, bits: f64) {
        self.factors = self.factors.shifted(-bits as f32);
        self.log2_ratio += bits;
    }

    /// Weights of the whole tensor.
    pub(super) fn n_weights(&self) -> f64 {
        (self.shape.0 * self.shape.1) as f64
    }

    /// Steps and predicted scales of the sampled columns, as the whole matrix predicts them.
    pub(super) fn scales(&self, delta: f64) -> TensorScales {
        let whole = self.whole_scales(delta);
        let sampled = |cols: &[i8]| self.col_idx.iter().map(|&j| cols[j]).collect();
        TensorScales {
            col_step: sampled(&whole.col_step),
            col_rms: sampled(&whole.col_rms),
            ..whole
        }
    }

    /// Steps and predicted scales of the whole matrix.
    fn whole_scales(&self, delta: f64) -> TensorScales {
        // The fit at another step differs by that step alone, up to rounding.
        let shift = (-4.0 * delta.log2()).round();
        let shifted = |k: &i8| (f64::from(*k) + shift).clamp(-127.0, 127.0) as i8;
        let prediction = ScalePrediction {
            rows: self.prediction.rows.iter().map(shifted).collect(),
            cols: self.prediction.cols.clone(),
        };
        TensorScales::new(&self.factors, &prediction, delta as f32)
    }

    /// Bits and KL of the whole tensor, from the sampled columns coded without feedback.
    pub(super) fn predict(&self, codec: &TrellisCodec, delta: f64) -> Result<Predicted> {
        let coder = TrellisCoder {
            codec,
            codec_id: "",
            scales: &self.scales(delta),
            feedback: None,
        };
        let (coded, decoded) = coder.code(self.columns.view()).map_err(|e| self.wrong(e))?;
        let side_bytes = self
            .whole_scales(delta)
            .to_bytes()
            .map_err(|e| self.wrong(TensorError::Codec(e.into())))?
            .len();
        let whole = self.shape.1 as f64 / self.col_idx.len().max(1) as f64;
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

    /// Bits of the whole tensor coded as it will be, feedback included.
    pub(super) fn bits_with_feedback(
        &self,
        codec: &TrellisCodec,
        delta: f64,
        feedback: Feedback,
        statistics: &Statistics,
    ) -> Result<f64> {
        let (rows, cols) = self.shape;
        let is_transposed = statistics.is_transposed(&self.planned.tensor.name);
        let stored = if is_transposed {
            (cols, rows)
        } else {
            (rows, cols)
        };
        let (weights, _) = self.planned.linear(stored, is_transposed)?;
        let layer = statistics.layer(&self.planned.tensor.name, rows, cols)?;
        let known = LayerFactors::new(layer.as_ref(), Some(feedback)).map_err(|e| self.wrong(e))?;
        let coder = TrellisCoder {
            codec,
            codec_id: "",
            scales: &tensor_scales(weights.view(), &self.factors, delta)
                .map_err(|e| self.wrong(e))?,
            feedback: known.columns(),
        };
        let (coded, _) = coder.code(weights.view()).map_err(|e| self.wrong(e))?;
        Ok(coded.n_bytes() as f64 * 8.0)
    }

    fn wrong(&self, e: TensorError) -> Error {
        Error::tensor(self.planned.shard.path(), &self.planned.tensor.name, e)
    }
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

fn log2_ratio(columns: &Array2<f32>, factors: &StepFactors, col_idx: &[usize]) -> f64 {
    let n = columns.len().max(1) as f64;
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
