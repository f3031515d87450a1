//! Where calibration puts what it finds.

use ndarray::Array2;
use nwc::StatisticsWriter;

use crate::error::BoxedError;

/// One statistic of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Statistic {
    /// The Hessian of an input, stored under the input's key.
    Hessian {
        /// Weight names of the linears that read this input.
        linears: Vec<String>,
        /// Tokens that the mean is over. For an expert these are the tokens that were routed to it; one that saw none
        /// gets the mean of its siblings' Hessians and 0 tokens.
        n_tokens: u64,
        /// H = mean of x xᵀ, `[in, in]`.
        values: Array2<f32>,
    },
    /// The output Fisher of a linear, `[out]`, stored under its weight name: `E[g²]`, the mean over all tokens of the
    /// squared derivative of the text's summed log-likelihood by each output, with labels drawn from the model.
    ///
    /// With it, an error ΔW costs about `½ Σ_i E[g_i²] (ΔW H ΔWᵀ)_ii` nats of KL per token. An expert's mean is over all
    /// tokens, also those routed elsewhere, so that this stays true.
    OutputFisher(Vec<f32>),
    /// The curvature of the KL divergence in the weights of a block's linear, stored under its weight name: from
    /// `G = Σ_t g_t x_tᵀ` over each Fisher window of the first group
    /// ([`crate::CalibrationOptions::activation_bytes`]).
    Curvature {
        /// `E[Gᵀ U G]`, `[in, in]`: every output is weighted by the inverse of its gradients' energy in the window, and
        /// pairs of different tokens are shrunk. Only the shape of this matrix matters, not its scale.
        cols: Array2<f32>,
        /// `E[G_i H⁻¹ G_iᵀ] / tr(H⁻¹ H)` per token with a damped `H`, `[out]`: equals the output Fisher if tokens are
        /// independent.
        rows: Vec<f32>,
    },
}

/// The kinds of [`Statistic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatisticKind {
    /// [`Statistic::Hessian`].
    Hessian,
    /// [`Statistic::OutputFisher`].
    OutputFisher,
    /// [`Statistic::Curvature`].
    Curvature,
}

/// Receives statistics as they become final.
pub trait StatisticsSink {
    /// Stores `statistic` under `name`.
    ///
    /// # Errors
    /// Any error; it stops the calibration.
    fn put(&mut self, name: &str, statistic: Statistic) -> Result<(), BoxedError>;

    /// Whether this statistic is stored already. Calibration does not compute it again, so an interrupted run continues.
    fn has(&self, kind: StatisticKind, name: &str) -> bool;

    /// The Hessian stored for the input `key`, `[in, in]`; linears that read an input without one get no curvature.
    ///
    /// # Errors
    /// Any error; it stops the calibration.
    fn hessian(&self, key: &str) -> Result<Option<Array2<f32>>, BoxedError>;
}

impl StatisticsSink for StatisticsWriter {
    fn put(&mut self, name: &str, statistic: Statistic) -> Result<(), BoxedError> {
        match statistic {
            Statistic::Hessian {
                linears,
                n_tokens,
                values,
            } => self.hessian(name, &linears, n_tokens, values.view())?,
            Statistic::OutputFisher(fisher) => self.output_fisher(name, &fisher)?,
            Statistic::Curvature { cols, rows } => self.curvature(name, cols.view(), &rows)?,
        }
        Ok(())
    }

    fn has(&self, kind: StatisticKind, name: &str) -> bool {
        match kind {
            StatisticKind::Hessian => self.has_hessian(name),
            StatisticKind::OutputFisher => self.has_output_fisher(name),
            StatisticKind::Curvature => self.has_curvature(name),
        }
    }

    fn hessian(&self, key: &str) -> Result<Option<Array2<f32>>, BoxedError> {
        Ok(self.stored_hessian(key)?)
    }
}
