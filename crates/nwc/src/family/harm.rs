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
