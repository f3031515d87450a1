//! What compression knows about one linear layer.

use crate::error::check_len;
use crate::{Curvature, Error, Hessian, Result};

/// Calibration statistics of one linear `[out, in]`; either part may be missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerStatistics {
    /// `E[x xᵀ]` of the layer's input, `[in, in]`, shared by the layers that share the input.
    pub hessian: Option<Hessian>,
    /// `E[g_i²]` for every output row, `[out]`: `g` is the gradient of the log-likelihood (in nats, labels drawn
    /// from the model) with respect to the layer's output at one token.
    pub output_fisher: Option<Vec<f32>>,
    /// What errors cost whole sequences; see [`LayerStatistics::guided_by_curvature`].
    pub curvature: Option<Curvature>,
}

impl LayerStatistics {
    /// Checks that the statistics belong to a layer `[n_rows, n_cols]` and can be used.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`]; [`Error::Negative`] or [`Error::NonFinite`] for a Fisher value.
    pub fn check(&self, n_rows: usize, n_cols: usize) -> Result<()> {
        if let Some(hessian) = &self.hessian {
            check_len("hessian", hessian.dim(), n_cols)?;
        }
        if let Some(fisher) = &self.output_fisher {
            check_fisher(fisher, n_rows)?;
        }
        if let Some(curvature) = &self.curvature {
            curvature.check(n_rows, n_cols)?;
        }
        Ok(())
    }
}

/// Refuses an output Fisher that is not one finite number of at least 0 for each row.
pub(crate) fn check_fisher(fisher: &[f32], n_rows: usize) -> Result<()> {
    check_len("output fisher", fisher.len(), n_rows)?;
    for (idx, &found) in fisher.iter().enumerate() {
        if !found.is_finite() {
            return Err(Error::NonFinite {
                what: "output fisher",
                row: idx,
                col: 0,
                found,
            });
        }
        if found < 0.0 {
            return Err(Error::Negative {
                what: "output fisher of row",
                idx,
                found: f64::from(found),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::Array2;

    use super::*;

    #[track_caller]
    fn check(fisher: &[f32], dim: usize, expected: Result<(), &str>) {
        let statistics = LayerStatistics {
            hessian: Some(Hessian::new(Array2::eye(dim).into(), 1).unwrap()),
            output_fisher: Some(fisher.to_vec()),
            curvature: None,
        };
        let found = statistics.check(2, 3).map_err(|err| err.to_string());
        assert_eq!(found, expected.map_err(String::from));
    }

    #[test]
    fn statistics_of_another_layer_are_refused() {
        check(&[1.0, 0.0], 3, Ok(()));
        check(&[1.0, 0.0], 2, Err("hessian has 2 entries, expected 3"));
        check(&[1.0], 3, Err("output fisher has 1 entries, expected 2"));
        check(
            &[1.0, -1.0],
            3,
            Err("output fisher of row 1 is -1, expected at least 0"),
        );
        check(
            &[f32::INFINITY, 0.0],
            3,
            Err("output fisher (0, 0) is inf, expected a finite number"),
        );
        LayerStatistics::default().check(7, 0).unwrap();
    }
}
