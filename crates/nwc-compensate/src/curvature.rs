//! What errors cost whole sequences, where `E[x xᵀ]` and `E[g²]` only know single tokens.
//!
//! An error of a weight is there at every token of a sequence, and what it does at one adds to what it does at the
//! others. The second-order expansion of the KL divergence therefore rests on `G = Σ_t g_t x_tᵀ`, `[out, in]`: the
//! gradient in the weights of the log-likelihood of labels drawn from the model, over a sequence. Its covariance is
//! taken as a product of a matrix over inputs and a diagonal over outputs.
//! Source: after the sequence-level Hessian sketches of YAQA (arXiv 2505.22988).

use nwc_chunk::ndarray::Array2;

use crate::error::check_len;
use crate::{Error, Hessian, LayerStatistics, Result};

/// The share of the curvature in what guides a layer's coding; the rest is the Hessian, which all tokens count alike
/// in and more are in. Measured on SmolLM2, `docs/RESULTS.md`.
pub const CURVATURE_SHARE: f64 = 0.75;

/// What `G` of many sequences says about one linear `[out, in]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Curvature {
    /// `E[Gᵀ U G]`, `[in, in]`, `U` diagonal weights of the outputs; only its shape counts.
    pub cols: Hessian,
    /// `E[G_i H⁻¹ G_iᵀ] / tr(H⁻¹ H)` per token for every output row, `[out]`: it would be `E[g_i²]` if no two tokens had
    /// anything to do with each other.
    pub rows: Vec<f32>,
}

impl LayerStatistics {
    /// The same statistics with the Hessian mixed with the curvature, so much of it, and what an error of a row costs
    /// taken from the curvature. Without a Hessian, or a curvature that says anything, they stay as they are.
    ///
    /// The curvature of the columns is scaled to the Hessian's trace, so that `½ Σ_i rows_i (ΔW H ΔWᵀ)_ii` goes on being
    /// the KL divergence in nats a token.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a share outside of `0..=1`; [`Error::LengthMismatch`].
    pub fn guided_by_curvature(self, share: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::OutOfRange {
                what: "share of the curvature",
                found: share,
                allowed: "0 to 1",
            });
        }
        let (Some(hessian), Some(curvature)) = (&self.hessian, &self.curvature) else {
            return Ok(self);
        };
        check_len(
            "curvature of the columns",
            curvature.cols.dim(),
            hessian.dim(),
        )?;
        let trace = |h: &Hessian| h.mean_diagonal() * h.dim() as f64;
        let (of_tokens, of_sequences) = (trace(hessian), trace(&curvature.cols));
        if !(of_tokens > 0.0 && of_sequences > 0.0) {
            return Ok(self);
        }
        let scale = (share * of_tokens / of_sequences) as f32;
        let rest = (1.0 - share) as f32;
        let mut mixed: Array2<f32> = hessian.values().mapv(|h| rest * h);
        mixed.scaled_add(scale, &curvature.cols.values());
        Ok(Self {
            hessian: Some(Hessian::new(mixed.into(), hessian.n_tokens())?),
            output_fisher: Some(curvature.rows.clone()),
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::array;

    use super::*;

    fn statistics() -> LayerStatistics {
        LayerStatistics {
            hessian: Some(Hessian::new(array![[2.0, 1.0], [1.0, 6.0]].into(), 10).unwrap()),
            output_fisher: Some(vec![1.0, 1.0, 1.0]),
            curvature: Some(Curvature {
                cols: Hessian::new(array![[3.0, 0.0], [0.0, 1.0]].into(), 4).unwrap(),
                rows: vec![1.0, 2.0, 1.0],
            }),
        }
    }

    #[test]
    fn the_mixture_keeps_the_trace() {
        let guided = statistics().guided_by_curvature(0.25).unwrap();
        let hessian = guided.hessian.unwrap();
        assert_eq!(hessian.values(), array![[3.0, 0.75], [0.75, 5.0]]);
        assert_eq!(guided.output_fisher.unwrap(), [1.0, 2.0, 1.0]);
    }

    #[test]
    fn without_a_curvature_nothing_changes() {
        let mut plain = statistics();
        plain.curvature = None;
        assert_eq!(plain.clone().guided_by_curvature(0.5).unwrap(), plain);
        let mut silent = statistics();
        let zeros = Array2::zeros((2, 2));
        if let Some(curvature) = &mut silent.curvature {
            curvature.cols = Hessian::new(zeros.into(), 4).unwrap();
        }
        assert_eq!(silent.clone().guided_by_curvature(0.5).unwrap(), silent);
        let mut silent = statistics();
        silent.hessian = Some(Hessian::new(Array2::zeros((2, 2)).into(), 4).unwrap());
        assert_eq!(silent.clone().guided_by_curvature(0.5).unwrap(), silent);
    }

    #[test]
    fn bad_input_is_an_error() {
        let found = |share| {
            statistics()
                .guided_by_curvature(share)
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            found(1.5).unwrap_err(),
            "share of the curvature is 1.5, allowed: 0 to 1"
        );
        let mut other = statistics();
        if let Some(curvature) = &mut other.curvature {
            curvature.cols = Hessian::new(Array2::eye(3).into(), 4).unwrap();
        }
        let err = other.guided_by_curvature(0.5).unwrap_err().to_string();
        assert_eq!(err, "curvature of the columns has 3 entries, expected 2");
    }
}
