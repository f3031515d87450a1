//! What guides the coding of a matrix: its statistics, read and factored once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nwc_compensate::{Hessian, LayerStatistics, LdlFactor, PAPER_DAMPING};
use nwc_format::Digest;

use crate::error::TensorError;
use crate::options::{Curvature, Feedback};
use crate::statistics::Statistics;
use crate::{Error, Result};

/// Factors that are kept between planning and coding take no more memory than this; what does not fit is factored again.
const MAX_KEPT_BYTES: usize = 1 << 30;

/// The statistics of one compression.
#[derive(Debug)]
pub(crate) struct Guide {
    statistics: Option<Statistics>,
    feedback: Option<Feedback>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    layers: HashMap<String, Arc<Guidance>>,
    n_bytes: usize,
}

/// Whether a layer will be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It will.
    Yes,
    /// It will not: what was kept for it is given back.
    No,
}

/// What the statistics of a layer say once they are factored; empty without statistics.
#[derive(Debug, Default)]
pub(crate) struct Guidance {
    /// Feedback from columns into later ones, and after how many columns.
    feedback: Option<(LdlFactor, usize)>,
    /// What an error of a row weighs, `[out]`, in squared gradients.
    pub(crate) row_importance: Option<Vec<f32>>,
    /// What an error of a column weighs once feedback has made up for it, `[in]`, in squared activations.
    pub(crate) col_importance: Option<Vec<f64>>,
    /// Mean squared activations, `[in]`.
    pub(crate) squared_inputs: Option<Vec<f32>>,
}

impl Guide {
    /// Opens the statistics in `path` for the model with this fingerprint.
    pub(crate) fn open(
        path: Option<&Path>,
        curvature: Curvature,
        feedback: Option<Feedback>,
        fingerprint: &Digest,
    ) -> Result<Self> {
        let statistics = match path {
            Some(path) => {
                let statistics = Statistics::open(path)?.weighed_by(curvature);
                statistics.check_model(fingerprint)?;
                Some(statistics)
            }
            None => None,
        };
        Ok(Self {
            statistics,
            feedback,
            kept: Mutex::default(),
        })
    }

    /// The digest of the statistics, where there are any.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.statistics.as_ref().map(Statistics::digest)
    }

    /// Whether there are statistics at all.
    pub(crate) fn has_statistics(&self) -> bool {
        self.statistics.is_some()
    }

    /// Whether the weight tensor `name` is stored `[in, out]`.
    pub(crate) fn is_transposed(&self, name: &str) -> bool {
        self.statistics
            .as_ref()
            .is_some_and(|s| s.is_transposed(name))
    }

    /// What is known of the layer `name`, `[rows, cols]` with outputs as rows; `wrong` adds the file to an error.
    pub(crate) fn layer(
        &self,
        name: &str,
        (rows, cols): (usize, usize),
        keep: Keep,
        wrong: impl FnOnce(TensorError) -> Error,
    ) -> Result<Arc<Guidance>> {
        let Some(statistics) = &self.statistics else {
            return Ok(Arc::default());
        };
        if let Some(known) = self.kept().recall(name, keep) {
            return Ok(known);
        }
        let guidance = match statistics.layer(name, rows, cols)? {
            Some(layer) => Guidance::new(layer, self.feedback).map_err(wrong)?,
            None => Guidance::default(),
        };
        let guidance = Arc::new(guidance);
        if keep == Keep::Yes {
            self.kept().keep(name, &guidance);
        }
        Ok(guidance)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn recall(&mut self, name: &str, keep: Keep) -> Option<Arc<Guidance>> {
        match keep {
            Keep::Yes => self.layers.get(name).cloned(),
            Keep::No => {
                let known = self.layers.remove(name)?;
                self.n_bytes -= known.n_bytes();
                Some(known)
            }
        }
    }

    fn keep(&mut self, name: &str, guidance: &Arc<Guidance>) {
        let n_bytes = guidance.n_bytes();
        if self.n_bytes + n_bytes > MAX_KEPT_BYTES || self.layers.contains_key(name) {
            return;
        }
        self.n_bytes += n_bytes;
        self.layers.insert(name.into(), Arc::clone(guidance));
    }
}

impl Guidance {
    /// Factors `layer` for `feedback`.
    pub(crate) fn new(
        layer: LayerStatistics,
        feedback: Option<Feedback>,
    ) -> Result<Self, TensorError> {
        let mut guidance = Self {
            row_importance: layer.output_fisher,
            ..Self::default()
        };
        let Some(hessian) = &layer.hessian else {
            return Ok(guidance);
        };
        guidance.squared_inputs = Some(hessian.diagonal());
        match feedback {
            Some(feedback) => {
                let factor = LdlFactor::ordered(hessian, PAPER_DAMPING, feedback.column_order)?;
                guidance.col_importance = Some(factor.d_in_hessian_units());
                guidance.feedback = Some((factor, feedback.block_cols));
            }
            // An error that nothing makes up for weighs its whole column.
            None => guidance.col_importance = Some(damped_diagonal(hessian)),
        }
        Ok(guidance)
    }

    /// Feedback from columns into later ones, and how many columns are coded between two feedbacks.
    pub(crate) fn feedback(&self) -> Option<(&LdlFactor, usize)> {
        self.feedback
            .as_ref()
            .map(|(factor, block_cols)| (factor, *block_cols))
    }

    fn n_bytes(&self) -> usize {
        let factor = self.feedback.as_ref().map_or(0, |(f, _)| 4 * f.l().len());
        let columns = self.col_importance.as_ref().map_or(0, |c| 12 * c.len());
        factor + columns + self.row_importance.as_ref().map_or(0, |r| 4 * r.len())
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

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::{Array2, array};
    use nwc_compensate::ColumnOrder;

    use super::*;

    fn statistics() -> (Hessian, LayerStatistics) {
        let values = array![[3.0_f32, 1.0, 0.5], [1.0, 1.0, 0.2], [0.5, 0.2, 2.0]];
        let hessian = Hessian::new(values.into(), 1).unwrap();
        let layer = LayerStatistics {
            hessian: Some(hessian.clone()),
            output_fisher: Some(vec![1.0, 4.0]),
            curvature: None,
        };
        (hessian, layer)
    }

    #[test]
    fn under_feedback_a_column_weighs_what_later_ones_cannot_make_up_for() {
        for column_order in [ColumnOrder::Natural, ColumnOrder::Importance] {
            let (hessian, layer) = statistics();
            let feedback = Feedback {
                block_cols: 2,
                column_order,
            };
            let guidance = Guidance::new(layer, Some(feedback)).unwrap();
            let factor = LdlFactor::ordered(&hessian, 0.01, column_order).unwrap();
            assert_eq!(guidance.feedback(), Some((&factor, 2)));
            let d = guidance.col_importance.unwrap();
            assert_eq!(d, factor.d_in_hessian_units());
            assert!(d.iter().sum::<f64>() < 5.9, "less than the diagonal: {d:?}");
            assert_eq!(guidance.row_importance.unwrap(), [1.0, 4.0]);
            assert_eq!(guidance.squared_inputs.unwrap(), [3.0, 1.0, 2.0]);
        }
    }

    #[test]
    fn without_feedback_a_column_weighs_its_damped_diagonal() {
        let (_, layer) = statistics();
        let guidance = Guidance::new(layer, None).unwrap();
        assert!(guidance.feedback().is_none());
        assert_eq!(guidance.col_importance.unwrap(), [3.02, 1.02, 2.02]);
        let silent = LayerStatistics {
            hessian: Some(Hessian::new(Array2::zeros((2, 2)).into(), 1).unwrap()),
            ..LayerStatistics::default()
        };
        let guidance = Guidance::new(silent, None).unwrap();
        assert_eq!(guidance.col_importance.unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn what_is_asked_for_again_is_kept_until_then() {
        let guidance = |n_columns: usize| {
            Arc::new(Guidance {
                col_importance: Some(vec![1.0; n_columns]),
                ..Guidance::default()
            })
        };
        let mut kept = Kept::default();
        let (a, b) = (guidance(5), guidance(7));
        kept.keep("a", &a);
        kept.keep("b", &b);
        kept.keep("a", &b);
        assert_eq!(kept.n_bytes, 12 * 12);
        let is = |found: Option<Arc<Guidance>>, expected| Arc::ptr_eq(&found.unwrap(), expected);
        assert!(is(kept.recall("b", Keep::Yes), &b) && is(kept.recall("a", Keep::Yes), &a));
        assert!(is(kept.recall("a", Keep::No), &a) && kept.recall("a", Keep::No).is_none());
        assert!(is(kept.recall("b", Keep::No), &b));
        assert_eq!(kept.n_bytes, 0);
        kept.n_bytes = MAX_KEPT_BYTES;
        kept.keep("a", &a);
        assert!(kept.recall("a", Keep::Yes).is_none(), "there is no room");
    }
}
