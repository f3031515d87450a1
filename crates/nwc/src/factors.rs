//! What a layer's statistics say once they are factored: how errors feed back, and what they weigh.

use nwc_compensate::{Hessian, LayerStatistics, LdlFactor, PAPER_DAMPING};

use crate::error::TensorError;
use crate::options::Feedback;

/// The factors of one layer; without statistics nothing.
#[derive(Debug, Default)]
pub(crate) struct LayerFactors {
    columns: Option<(LdlFactor, usize)>,
    /// What an error of a row weighs, `[out]`.
    row_importance: Option<Vec<f32>>,
    /// What an error of a column weighs, `[in]`, squared activations.
    col_importance: Option<Vec<f64>>,
}

impl LayerFactors {
    /// Factors `layer` for feedback as asked for.
    pub(crate) fn new(
        layer: Option<&LayerStatistics>,
        feedback: Option<Feedback>,
    ) -> Result<Self, TensorError> {
        let mut factors = Self::default();
        let Some(layer) = layer else {
            return Ok(factors);
        };
        factors.row_importance.clone_from(&layer.output_fisher);
        match (&layer.hessian, feedback) {
            (Some(hessian), Some(feedback)) => {
                let factor = LdlFactor::ordered(hessian, PAPER_DAMPING, feedback.column_order)?;
                factors.col_importance = Some(factor.d_in_hessian_units());
                factors.columns = Some((factor, feedback.block_cols));
            }
            // An error that nothing makes up for weighs its whole column.
            (Some(hessian), None) => factors.col_importance = Some(damped_diagonal(hessian)),
            (None, _) => {}
        }
        Ok(factors)
    }

    /// Feedback from columns into later ones, so many coded between two feedbacks.
    pub(crate) fn columns(&self) -> Option<(&LdlFactor, usize)> {
        self.columns
            .as_ref()
            .map(|(factor, block_cols)| (factor, *block_cols))
    }

    /// What an error of a row weighs, `[out]`, in squared gradients.
    pub(crate) fn row_importance(&self) -> Option<&[f32]> {
        self.row_importance.as_deref()
    }

    /// What an error of a column weighs, `[in]`, in squared activations.
    pub(crate) fn col_importance(&self) -> Option<&[f64]> {
        self.col_importance.as_deref()
    }
}

/// The diagonal of a Hessian with the usual damping, in its own units.
fn damped_diagonal(hessian: &Hessian) -> Vec<f64> {
    let damping = PAPER_DAMPING * hessian.mean_diagonal();
    // A Hessian of zeros says nothing: all columns alike.
    let floor = if damping > 0.0 { damping } else { 1.0 };
    let diagonal = hessian.diagonal();
    diagonal.iter().map(|&h| f64::from(h) + floor).collect()
}
