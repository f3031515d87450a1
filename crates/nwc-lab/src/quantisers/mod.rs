//! What the codecs are compared with: quantisers of the literature, each through the trait `BlockQuantizer`.

mod codebook;
pub(crate) mod ecsq;
mod ecsq_at_rate;
pub(crate) mod grid;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use nwc::Statistics;
use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_compensate::{Hessian, LayerStatistics};

use crate::folder::Folder;

/// A way to quantise the linears of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Baseline {
    /// The nearest point of a grid for every group of columns.
    RoundToNearest { bits: u32 },
    /// The same grids with feedback.
    Gptq { bits: u32 },
    /// Uniform steps and an ideal entropy coder, at about this rate.
    EntropyScalar { bits: f64, feedback: bool },
    /// A codebook for each matrix, weights weighted by Fisher information.
    KMeans { bits: u32 },
}

/// A matrix as quantised.
pub(crate) struct Coded {
    pub(crate) reconstruction: Array2<f32>,
    /// What would be stored for it.
    pub(crate) bits: f64,
}

/// What quantising a whole model came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    /// Bits a weight of the linears.
    pub(crate) bpw_payload: f64,
    /// Bits a parameter of everything.
    pub(crate) bpw_total: f64,
    /// Mean of ‖W−Ŵ‖²/‖W‖² over the linears, by number of weights.
    pub(crate) nmse: f64,
}

impl Baseline {
    /// Writes `model` quantised as an ordinary Hugging Face folder, `to`, with everything but the linears as it was.
    ///
    /// # Errors
    /// Where something cannot be read or written, or statistics are missing that the way needs.
    pub(crate) fn write(self, model: &Path, statistics: &Path, to: &Path) -> Result<Cost> {
        let statistics = Statistics::open(statistics)?;
        let step = match self {
            Self::EntropyScalar { bits, .. } => ecsq_at_rate::step_for(model, bits)?,
            _ => 0.0,
        };
        let mut folder = Folder::copy(model, to)?;
        let (mut bits, mut n_linear, mut weighted_nmse) = (0.0, 0.0, 0.0);
        for_each_linear(model, |name, weights| {
            let (rows, cols) = weights.dim();
            let layer = statistics.layer(name, rows, cols)?.unwrap_or_default();
            let coded = self.code(weights.view(), &layer, step)?;
            folder.put(name, coded.reconstruction.view())?;
            let n = weights.len() as f64;
            bits += coded.bits;
            n_linear += n;
            weighted_nmse += n * nmse(weights.view(), coded.reconstruction.view());
            Ok(())
        })?;
        folder.finish()?;
        Ok(Cost {
            bpw_payload: bits / f64::max(n_linear, 1.0),
            bpw_total: (bits + folder.bits_kept()) / folder.n_params().max(1) as f64,
            nmse: weighted_nmse / f64::max(n_linear, 1.0),
        })
    }

    fn code(
        self,
        weights: ArrayView2<'_, f32>,
        layer: &LayerStatistics,
        step: f64,
    ) -> Result<Coded> {
        match self {
            Self::RoundToNearest { bits } => grid::round_to_nearest(weights, bits),
            Self::Gptq { bits } => grid::gptq(weights, hessian_of(layer)?, bits),
            Self::EntropyScalar { feedback, .. } => {
                let hessian = feedback.then(|| hessian_of(layer)).transpose()?;
                ecsq_at_rate::code(weights, hessian, step)
            }
            Self::KMeans { bits } => codebook::code(weights, layer, bits),
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundToNearest { bits } => write!(f, "round to nearest, {bits} bits"),
            Self::Gptq { bits } => write!(f, "GPTQ, {bits} bits"),
            Self::EntropyScalar { bits, feedback } => {
                let with = if *feedback { "with" } else { "without" };
                write!(f, "ECSQ at {bits} bits, {with} feedback")
            }
            Self::KMeans { bits } => write!(f, "k-means, {bits} bits"),
        }
    }
}

fn hessian_of(layer: &LayerStatistics) -> Result<&Hessian> {
    let hessian = layer.hessian.as_ref();
    hessian.context("the statistics hold no Hessian of its input")
}

/// ‖W−Ŵ‖²/‖W‖², 0 for a matrix of zeros.
pub(crate) fn nmse(weights: ArrayView2<'_, f32>, reconstruction: ArrayView2<'_, f32>) -> f64 {
    let (mut error, mut energy) = (0.0, 0.0);
    for (&w, &r) in weights.iter().zip(reconstruction) {
        error += (f64::from(r) - f64::from(w)).powi(2);
        energy += f64::from(w).powi(2);
    }
    if energy > 0.0 { error / energy } else { 0.0 }
}

/// As `nwc::for_each_linear` without normalisation; an error of `each` names the tensor.
pub(crate) fn for_each_linear(
    model: &Path,
    mut each: impl FnMut(&str, Array2<f32>) -> Result<()>,
) -> Result<()> {
    nwc::for_each_linear(model, false, |name, weights| {
        each(name, weights).with_context(|| format!("cannot quantise {name}"))
    })
}
