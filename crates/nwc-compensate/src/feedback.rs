//! Error feedback over columns, and the same walk without it.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use nwc_chunk::ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, Slice};

use crate::error::check_shape;
use crate::{BlockQuantizer, Error, LdlFactor, Result};

/// Columns whose feedback from everything right of them is worked out in one matrix product.
const PANEL_COLS: usize = 64;

/// Quantises `weights` column block by column block and feeds each block's error into those left of it.
///
/// `weights` and the result are `[out, in]`; `factor` is that of the layer's damped Hessian, `[in, in]`.
/// Blocks of `block_cols` columns (the last may be smaller) are coded last to first in the factor's order
/// ([`LdlFactor::order`], by which the indices below count); `quantizer` is given
/// `W_b + Σ_{i>b} (W_i − Ŵ_i) L_ib`, with errors against the original columns and `L` the block
/// unit-lower factor for that block size. So `tr(Δ H Δᵀ)` is what the quantiser's own errors weigh under `D`:
/// with single columns `Σ_j D_j ‖e_j‖²`. A block of all columns is [`no_feedback`].
///
/// The views handed to `quantizer` have contiguous columns. The result is what it wrote, bit for bit.
/// Source: `docs/METHOD.md` 1.7; the scheme is QuIP's LDLQ (arXiv 2307.13304).
/// Differs from the authors' release only in speed: feedback is summed up panel by panel.
///
/// # Errors
/// [`Error::ShapeMismatch`] where `factor` is not `[in, in]`; [`Error::OutOfRange`] where `block_cols` is 0;
/// [`Error::NonFinite`] for a weight, for a target that overflows, and for a reconstruction;
/// [`Error::Quantizer`] with whatever `quantizer` returns.
pub fn ldlq(
    weights: ArrayView2<'_, f32>,
    factor: &LdlFactor,
    block_cols: usize,
    quantizer: &mut dyn BlockQuantizer,
) -> Result<Array2<f32>> {
    let dim = weights.ncols();
    check_shape("factor of the hessian", factor.l().dim(), (dim, dim))?;
    check_block_cols(block_cols)?;
    let mut columns = Columns::new(weights, factor.order().to_vec())?;
    let mut errors = Array2::<f32>::zeros(columns.values.dim());
    let panel_cols = (PANEL_COLS / block_cols).max(1).saturating_mul(block_cols);
    for panel in last_to_first(dim, panel_cols) {
        let mut fed = feed_panel(&errors, factor.l(), panel.clone());
        for block in last_to_first(panel.len(), block_cols) {
            let positions = panel.start + block.start..panel.start + block.end;
            if positions.end < dim {
                solve_block(&mut fed, block.clone(), panel.start, factor.l());
            }
            columns.quantize(
                positions.clone(),
                Some(fed.slice_axis(Axis(0), Slice::from(block.clone()))),
                quantizer,
                Some(errors.slice_axis_mut(Axis(0), Slice::from(positions.clone()))),
            )?;
            for j in positions {
                for i in 0..block.start {
                    let l_ji = factor.l()[[j, panel.start + i]];
                    fed.row_mut(i).scaled_add(l_ji, &errors.row(j));
                }
            }
        }
    }
    Ok(columns.into_matrix())
}

/// Quantises `weights` column block by column block, last to first as [`ldlq`] does, with no feedback.
///
/// `weights` and the result are `[out, in]`. What a codec does without calibration data.
///
/// # Errors
/// As [`ldlq`].
pub fn no_feedback(
    weights: ArrayView2<'_, f32>,
    block_cols: usize,
    quantizer: &mut dyn BlockQuantizer,
) -> Result<Array2<f32>> {
    check_block_cols(block_cols)?;
    let mut columns = Columns::new(weights, (0..weights.ncols()).collect())?;
    for cols in last_to_first(weights.ncols(), block_cols) {
        columns.quantize(cols, None, quantizer, None)?;
    }
    Ok(columns.into_matrix())
}

/// Refuses a block of no columns; a block larger than the matrix is all of it.
pub(crate) fn check_block_cols(block_cols: usize) -> Result<()> {
    if block_cols > 0 {
        Ok(())
    } else {
        Err(Error::OutOfRange {
            what: "columns of a block",
            found: 0.0,
            allowed: "1 or more",
        })
    }
}

/// Blocks of `size` from index 0, the last one smaller where it does not divide, in reverse.
fn last_to_first(n: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n)
        .step_by(size)
        .rev()
        .map(move |start| start..start.saturating_add(size).min(n))
}

/// What the columns right of a panel feed into it, `[panel columns, out]`: `L[right, panel]ᵀ · errors[right]`.
fn feed_panel(errors: &Array2<f32>, l: &Array2<f32>, panel: Range<usize>) -> Array2<f32> {
    const ROW_MAJOR: &str = "row-major by construction";
    let (dim, width) = errors.dim();
    let n_right = dim - panel.end;
    let mut fed = Array2::zeros((panel.len(), width));
    let l = MatRef::from_row_major_slice(l.as_slice().expect(ROW_MAJOR), dim, dim);
    let errors = MatRef::from_row_major_slice(errors.as_slice().expect(ROW_MAJOR), dim, width);
    // faer's product is about a quarter faster here than ndarray's.
    matmul(
        MatMut::from_row_major_slice_mut(fed.as_slice_mut().expect(ROW_MAJOR), panel.len(), width),
        Accum::Replace,
        l.submatrix(panel.end, panel.start, n_right, panel.len())
            .transpose(),
        errors.submatrix(panel.end, 0, n_right, width),
        1.0,
        Par::Seq,
    );
    fed
}

/// Turns the scalar factor's feedback into the block factor's, in place: `X · L[block, block] = fed[block]`.
///
/// `fed` is `[panel columns, out]`, its first column being column `panel_start` of the matrix.
fn solve_block(fed: &mut Array2<f32>, block: Range<usize>, panel_start: usize, l: &Array2<f32>) {
    for j in block.clone().rev() {
        let (mut earlier, solved) = fed.view_mut().split_at(Axis(0), j);
        for i in block.start..j {
            let l_ji = l[[panel_start + j, panel_start + i]];
            earlier.row_mut(i).scaled_add(-l_ji, &solved.row(0));
        }
    }
}

/// The weights column by column, `[in, out]`: originals before the walk, reconstructions behind it.
struct Columns {
    values: Array2<f32>,
    /// The matrix' column that each row of `values` is; a permutation.
    order: Vec<usize>,
}

impl Columns {
    fn new(weights: ArrayView2<'_, f32>, order: Vec<usize>) -> Result<Self> {
        let mut values = transposed(weights);
        if !order.is_sorted() {
            values = values.select(Axis(0), &order);
        }
        check_finite("weight", values.view(), &order)?;
        Ok(Self { values, order })
    }

    /// Has the columns at `positions` quantised, with `fed` (`[block columns, out]`) added, and notes original minus
    /// reconstruction in `errors` (the same shape).
    fn quantize(
        &mut self,
        positions: Range<usize>,
        fed: Option<ArrayView2<'_, f32>>,
        quantizer: &mut dyn BlockQuantizer,
        errors: Option<ArrayViewMut2<'_, f32>>,
    ) -> Result<()> {
        let mut originals = self
            .values
            .slice_axis_mut(Axis(0), Slice::from(positions.clone()));
        let cols = &self.order[positions];
        let mut target = originals.to_owned();
        // NaN: a column that the quantiser forgets to write is found out below.
        let mut reconstruction = Array2::from_elem(originals.dim(), f32::NAN);
        if let Some(fed) = fed {
            target += &fed;
        }
        check_finite("compensated target", target.view(), cols)?;
        quantizer
            .quantize(target.t(), cols, reconstruction.view_mut().reversed_axes())
            .map_err(|source| Error::Quantizer {
                col: cols.first().copied().unwrap_or_default(),
                n_cols: cols.len(),
                source,
            })?;
        check_finite("reconstruction", reconstruction.view(), cols)?;
        if let Some(mut errors) = errors {
            errors.assign(&originals);
            errors -= &reconstruction;
        }
        originals.assign(&reconstruction);
        Ok(())
    }

    fn into_matrix(self) -> Array2<f32> {
        if self.order.is_sorted() {
            return transposed(self.values.view());
        }
        let mut by_column = Array2::zeros(self.values.dim());
        for (row, &col) in self.values.rows().into_iter().zip(&self.order) {
            by_column.row_mut(col).assign(&row);
        }
        transposed(by_column.view())
    }
}

/// The transpose, row-major; in bands, so that neither side is walked across its rows one number a time.
fn transposed(matrix: ArrayView2<'_, f32>) -> Array2<f32> {
    const BAND: usize = 16; // f32 in a cache line
    let mut out = Array2::zeros((matrix.ncols(), matrix.nrows()));
    for (mut to, from) in out
        .axis_chunks_iter_mut(Axis(1), BAND)
        .zip(matrix.axis_chunks_iter(Axis(0), BAND))
    {
        to.assign(&from.t());
    }
    out
}

/// Refuses a NaN or an infinity in `values`, `[columns, out]`, whose rows are the columns `cols` of the matrix.
fn check_finite(what: &'static str, values: ArrayView2<'_, f32>, cols: &[usize]) -> Result<()> {
    let is_finite = |lane: ArrayView1<'_, f32>| lane.fold(true, |all, v| all & v.is_finite());
    if values.rows().into_iter().all(is_finite) {
        return Ok(());
    }
    match values.indexed_iter().find(|(_, v)| !v.is_finite()) {
        None => Ok(()),
        Some(((position, row), &found)) => Err(Error::NonFinite {
            what,
            row,
            col: cols.get(position).copied().unwrap_or(position),
            found,
        }),
    }
}

#[cfg(test)]
mod tests;
