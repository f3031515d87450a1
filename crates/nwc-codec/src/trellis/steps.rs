//! One global step in units of the model's KL divergence, and what it means for every weight.
//!
//! To second order the KL divergence of a compressed model, in nats a token, is
//! `½ Σ_ij E[g_i²] D_j e_ij²` over the weights of all layers: `E[g_i²]` the output Fisher of row `i`, `D_j` the
//! LDL diagonal of the input Hessian, `e_ij` the quantiser's own error under feedback. A uniform quantiser of
//! step `s_ij` has an error of variance `s_ij²/12`, so at a given rate the sum is least where every weight adds
//! the same, `s_ij = Δ / sqrt(E[g_i²] D_j)` with one `Δ` for the whole model, and each weight then adds `Δ²/24`.
//! Source: reverse water-filling over input directions and output rows.

use ndarray::ArrayView2;
use nwc_chunk::row_scales;

use super::config::BUCKETS_PER_OCTAVE;
use super::scales::quarter_octave;
use super::{Error, Result};

/// A row's Fisher counts as at least this share of its layer's mean: no step is more than 5 octaves above the
/// one of an average row. Rows that calibration never saw to matter would be dropped altogether otherwise.
const FISHER_FLOOR: f64 = 1e-3;

/// A column's `D` counts as at least this share of its layer's mean. The usual damping of 0.01 keeps it above
/// that already, so this binds only where damping was turned off.
const D_FLOOR: f64 = 1e-3;

/// Steps of one layer `[out, in]` per unit of the global step, in a byte a row and a byte a column.
///
/// Exponents are in quarter octaves. Rounding a row's and a column's, each by up to an eighth of an octave, costs 1 % of
/// the distortion, which is 0.007 bit a weight.
/// `step(i, j) = Δ · 2^tensor_log2 · 2^(rows[i]/4) · 2^(cols[j]/4)`, in the unit of the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFactors {
    /// Quarter-octave exponents of the output rows, `[out]`.
    pub rows: Vec<i8>,
    /// Quarter-octave exponents of the input columns, `[in]`.
    pub cols: Vec<i8>,
    /// Base-2 logarithm of the layer's geometric mean step at `Δ = 1`, up to the rounding of the exponents.
    pub tensor_log2: f32,
}

/// What an allocation was based on, and so the unit of its `Δ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepBasis {
    /// Fisher and Hessian: `s_ij = Δ / sqrt(E[g_i²] D_j)`; `Δ²/24` is the KL divergence that a weight adds.
    Kl,
    /// Hessian only: `s_ij = Δ · σ_i · sqrt(geometric mean D / D_j)`; `Δ` is relative to the row's deviation `σ_i`.
    Columns,
    /// Fisher only: `s_ij = Δ · geometric mean σ · sqrt(geometric mean E[g²] / E[g_i²])`; `Δ` is relative.
    Rows,
    /// No statistics: `s_ij = Δ · σ_i`; `Δ` is relative, every row has the same relative error.
    RowScales,
}

impl StepBasis {
    /// Whether `Δ` is in units of the model's KL divergence, and not relative to the layer's own weights.
    ///
    /// Layers of the two kinds cannot share a `Δ`: [`StepFactors::shifted`] puts them on one scale.
    pub fn is_kl(self) -> bool {
        self == Self::Kl
    }

    /// Whether the output Fisher had a say.
    pub fn has_fisher(self) -> bool {
        matches!(self, Self::Kl | Self::Rows)
    }
}

/// The factors of a layer and what they rest on.
#[derive(Debug, Clone, PartialEq)]
pub struct StepAllocation {
    /// The steps.
    pub factors: StepFactors,
    /// The unit of their `Δ`.
    pub basis: StepBasis,
}

/// # Allocation
impl StepFactors {
    /// Allocates the steps of one layer from what is known about it.
    ///
    /// `weights` is `[out, in]` as stored, not normalised. `d`, `[in]`, is the LDL diagonal in units of the
    /// undamped Hessian.
    /// `output_fisher`, `[out]`, is `E[g_i²]`. Both are floored at a thousandth of their mean.
    /// A Fisher of zeros says nothing and counts as none: [`StepBasis::has_fisher`] tells. See [`StepBasis`] for what
    /// becomes of a layer with less than both.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`]; [`Error::Statistic`] for a `D` that is not finite and above 0, or a Fisher that is not
    /// finite or below 0.
    pub fn allocate(
        weights: ArrayView2<'_, f32>,
        d: Option<&[f64]>,
        output_fisher: Option<&[f32]>,
    ) -> Result<StepAllocation> {
        let (n_rows, n_cols) = weights.dim();
        let d_logs = d.map(|d| d_logs(d, n_cols)).transpose()?;
        let fisher_logs = match output_fisher {
            Some(fisher) => fisher_logs(fisher, n_rows)?,
            None => None,
        };
        let sigma_logs = || -> Vec<f64> {
            let scales = row_scales(weights);
            scales.iter().map(|s| s.to_f64().log2()).collect()
        };
        // Base-2 logarithms of the row and column parts of a step; the exponent −½ belongs to both statistics.
        let halved = |logs: Vec<f64>| logs.into_iter().map(|x| -0.5 * x).collect::<Vec<_>>();
        let (rows, cols, basis) = match (fisher_logs, d_logs) {
            (Some(fisher), Some(d)) => (halved(fisher), halved(d), StepBasis::Kl),
            (None, Some(d)) => (sigma_logs(), centred(halved(d)), StepBasis::Columns),
            (Some(fisher), None) => {
                let sigma = mean(&sigma_logs());
                let rows = centred(halved(fisher)).iter().map(|x| x + sigma).collect();
                (rows, vec![0.0; n_cols], StepBasis::Rows)
            }
            (None, None) => (sigma_logs(), vec![0.0; n_cols], StepBasis::RowScales),
        };
        let factors = Self {
            tensor_log2: (mean(&rows) + mean(&cols)) as f32,
            rows: exponents(&centred(rows)),
            cols: exponents(&centred(cols)),
        };
        Ok(StepAllocation { factors, basis })
    }

    /// The same steps times `2^log2`.
    pub fn shifted(&self, log2: f32) -> Self {
        Self {
            tensor_log2: self.tensor_log2 + log2,
            ..self.clone()
        }
    }
}

/// # Steps
impl StepFactors {
    /// The step of weight `(i, j)` at the global step `delta`, in the unit of the weights.
    ///
    /// Exactly `row_steps(base_step(delta))[i] * col_factors()[j]` in f32. An index outside of the layer has
    /// the exponent 0.
    pub fn step(&self, i: usize, j: usize, delta: f32) -> f32 {
        let exponent = |exponents: &[i8], idx: usize| exponents.get(idx).copied().unwrap_or(0);
        row_step(self.base_step(delta), exponent(&self.rows, i))
            * quarter_octave(exponent(&self.cols, j)) as f32
    }

    /// `delta · 2^tensor_log2`: the one number of a layer that takes a libm to find. Store it and not its parts
    /// where two machines have to agree on the steps.
    pub(super) fn base_step(&self, delta: f32) -> f32 {
        (f64::from(delta) * f64::from(self.tensor_log2).exp2()) as f32
    }

    /// `base_step · 2^(rows[i]/4)` for every row, `[out]`.
    pub fn row_steps(&self, base_step: f32) -> Vec<f32> {
        self.rows.iter().map(|&k| row_step(base_step, k)).collect()
    }

    /// `2^(cols[j]/4)` for every column, `[in]`.
    pub fn col_factors(&self) -> Vec<f32> {
        self.cols
            .iter()
            .map(|&k| quarter_octave(k) as f32)
            .collect()
    }
}

/// Floored logarithms of the LDL diagonal.
fn d_logs(d: &[f64], n_cols: usize) -> Result<Vec<f64>> {
    check_len("length of the diagonal of the factor", d.len(), n_cols)?;
    if let Some(idx) = d.iter().position(|&d| !(d.is_finite() && d > 0.0)) {
        return Err(Error::Statistic {
            what: "diagonal of the factor at column",
            idx,
            found: d[idx],
            allowed: "finite numbers above 0",
        });
    }
    let floor = D_FLOOR * mean(d);
    Ok(d.iter().map(|d| d.max(floor).log2()).collect())
}

/// Floored logarithms of the output Fisher; none where it is zero.
fn fisher_logs(fisher: &[f32], n_rows: usize) -> Result<Option<Vec<f64>>> {
    check_len("length of the output Fisher", fisher.len(), n_rows)?;
    let fisher: Vec<f64> = fisher.iter().map(|&g| f64::from(g)).collect();
    if let Some(idx) = fisher.iter().position(|&g| !(g.is_finite() && g >= 0.0)) {
        return Err(Error::Statistic {
            what: "output Fisher of row",
            idx,
            found: fisher[idx],
            allowed: "finite numbers of at least 0",
        });
    }
    let floor = FISHER_FLOOR * mean(&fisher);
    if n_rows > 0 && floor == 0.0 {
        return Ok(None);
    }
    Ok(Some(fisher.iter().map(|g| g.max(floor).log2()).collect()))
}

fn check_len(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::ShapeMismatch {
        what,
        found,
        expected,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn centred(mut logs: Vec<f64>) -> Vec<f64> {
    let mean = mean(&logs);
    for log in &mut logs {
        *log -= mean;
    }
    logs
}

/// Base-2 logarithms to quarter octaves; beyond ±31.75 octaves the nearest that a byte holds.
pub(super) fn exponents(logs: &[f64]) -> Vec<i8> {
    let limit = f64::from(i8::MAX);
    let exponent = |log: &f64| {
        (f64::from(BUCKETS_PER_OCTAVE) * log)
            .round()
            .clamp(-limit, limit) as i8
    };
    logs.iter().map(exponent).collect()
}

fn row_step(base_step: f32, exponent: i8) -> f32 {
    (f64::from(base_step) * quarter_octave(exponent)) as f32
}

#[cfg(test)]
mod tests;
