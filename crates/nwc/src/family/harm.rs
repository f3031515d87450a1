//! Rows that coding has made worse than zeros would be.

use nwc_chunk::ndarray::{Array1, ArrayView1, ArrayView2};
use nwc_compensate::LdlFactor;
use nwc_format::DType;

use crate::Result;
use crate::folder::dtype;
use crate::survey::Guidance;

/// Rows of `decoded` whose error is larger than their weights, as it will be restored in `dtype`.
///
/// Under error feedback a row's plain error says little: there it is `tr(Δ H Δᵀ)` that has to be larger, too.
pub(super) fn worse_than_zeros(
    weights: ArrayView2<'_, f32>,
    decoded: ArrayView2<'_, f32>,
    dtype: DType,
    guidance: impl FnOnce() -> Result<std::sync::Arc<Guidance>>,
) -> Result<Vec<usize>> {
    let mut rounded = vec![0.0; weights.ncols()];
    let mut is_worse = |(w, d): (ArrayView1<'_, f32>, ArrayView1<'_, f32>)| {
        rounded.iter_mut().zip(d).for_each(|(r, &d)| *r = d);
        dtype::round_in_place(dtype, &mut rounded);
        let (mut error, mut energy) = (0.0, 0.0);
        for (&w, &r) in w.iter().zip(&rounded) {
            error += (f64::from(w) - f64::from(r)).powi(2);
            energy += f64::from(w).powi(2);
        }
        error > energy
    };
    let rows = weights.rows().into_iter().zip(decoded.rows());
    let mut worse: Vec<usize> = rows
        .enumerate()
        .filter_map(|(row, pair)| is_worse(pair).then_some(row))
        .collect();
    if worse.is_empty() {
        return Ok(worse);
    }
    let guidance = guidance()?;
    if let Some((factor, _)) = guidance.feedback() {
        worse.retain(|&row| {
            let w = weights.row(row).mapv(f64::from);
            let error = &w - &decoded.row(row).mapv(f64::from);
            proxy_loss(&error, factor) > proxy_loss(&w, factor)
        });
    }
    Ok(worse)
}

/// `Δ H Δᵀ` of one row, `[in]`, with `H = L D Lᵀ`.
fn proxy_loss(delta: &Array1<f64>, factor: &LdlFactor) -> f64 {
    let mut products = vec![0.0; delta.len()];
    for (l, &col) in factor.l().rows().into_iter().zip(factor.order()) {
        for (product, &l) in products.iter_mut().zip(l) {
            *product += delta[col] * f64::from(l);
        }
    }
    let squares = products.iter().zip(factor.d());
    squares.map(|(p, d)| d * p * p).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nwc_chunk::ndarray::{Array2, array};
    use nwc_compensate::{ColumnOrder, Hessian, LayerStatistics};

    use super::*;
    use crate::family::testing::{random, second_moment};
    use crate::options::Feedback;

    fn feedback(column_order: ColumnOrder) -> Feedback {
        Feedback {
            block_cols: 1,
            column_order,
        }
    }

    #[test]
    fn a_row_is_weighed_by_the_damped_hessian() {
        // The inputs' sizes make the order another one than the columns'.
        let hessian = second_moment(9, 1, |j| 1.0 + (j * 5 % 9) as f32);
        let delta = random(1, 9, 2).row(0).mapv(f64::from);
        let mean = f64::from(hessian.diag().mean().unwrap());
        let damped = hessian.mapv(f64::from) / mean + 0.01 * Array2::<f64>::eye(9);
        let expected = delta.dot(&damped.dot(&delta));
        let hessian = Hessian::new(hessian.into(), 1).unwrap();
        for order in [ColumnOrder::Natural, ColumnOrder::Importance] {
            let factor = LdlFactor::ordered(&hessian, 0.01, order).unwrap();
            assert_eq!(factor.order().is_sorted(), order == ColumnOrder::Natural);
            let found = proxy_loss(&delta, &factor);
            assert!((found / expected - 1.0).abs() < 1e-5, "{found}, {expected}");
        }
    }

    #[test]
    fn under_feedback_only_rows_whose_output_is_worse_count() {
        // Inputs that go together: errors of opposite sign hardly show in the output.
        let hessian = Hessian::new(array![[1.0_f32, 0.99], [0.99, 1.0]].into(), 1).unwrap();
        let weights = array![[0.4_f32, 0.3], [0.4, 0.3], [0.4, 0.3]];
        let decoded = array![[1.1_f32, -0.4], [1.1, 1.0], [0.5, 0.2]];
        let worse = |feedback| {
            let layer = LayerStatistics {
                hessian: Some(hessian.clone()),
                ..LayerStatistics::default()
            };
            let guidance = || Ok(Arc::new(Guidance::new(layer, feedback).unwrap()));
            worse_than_zeros(weights.view(), decoded.view(), DType::F32, guidance).unwrap()
        };
        assert_eq!(worse(None), [0, 1]);
        assert_eq!(worse(Some(feedback(ColumnOrder::Natural))), [1]);
    }
}
