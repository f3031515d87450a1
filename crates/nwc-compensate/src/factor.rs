//! Damping and the factor `H = L D Lᵀ` that error feedback runs on.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{
    LltRegularization, cholesky_in_place, cholesky_in_place_scratch,
};
use faer::{Mat, Par};
use nwc_chunk::ndarray::Array2;

use crate::{Error, Hessian, Result};

/// The authors' damping, `docs/METHOD.md` 1.6: a hundredth of the mean diagonal.
pub const PAPER_DAMPING: f64 = 0.01;

/// Damping is raised no further than this: beyond it the Hessian says nothing any more.
pub const MAX_DAMPING: f64 = 100.0;

/// The damping that a failed factorisation without any goes on with.
const FIRST_DAMPING: f64 = 1e-6;

/// The order in which feedback goes through the columns of a matrix; the decoder need not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColumnOrder {
    /// Last column first, as they lie in the matrix: the paper's (`docs/METHOD.md` 1.7).
    #[default]
    Natural,
    /// The column with the largest diagonal of `H` first, so that its error has the most columns left to be made up
    /// for in: GPTQ's "act-order".
    Importance,
}

/// The factor `L D Lᵀ` of a damped Hessian: unit lower-triangular `L`, diagonal `D`.
///
/// Rows and columns of `L`, and `D`, count by [`LdlFactor::order`].
/// One factor serves every block size: [`ldlq`](crate::ldlq) works the block version out as it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct LdlFactor {
    /// Invariant: square, row-major, unit lower-triangular, finite; above the diagonal zeros.
    l: Array2<f32>,
    /// Invariant: as long as `l` is wide, finite and above 0.
    d: Vec<f64>,
    /// Invariant: a permutation.
    order: Vec<usize>,
    mean_diagonal: f64,
    damping: f64,
}

impl LdlFactor {
    /// [`LdlFactor::ordered`] with the columns as they lie.
    ///
    /// # Errors
    /// As [`LdlFactor::ordered`].
    pub fn new(hessian: &Hessian, fraction: f64) -> Result<Self> {
        Self::ordered(hessian, fraction, ColumnOrder::Natural)
    }

    /// Damps `hessian` by `fraction` of its mean diagonal and factors it for feedback in that order.
    ///
    /// The factor is that of `H / mean(diag H) + fraction · I` (`docs/METHOD.md` 1.6).
    /// Where that is not positive definite, the damping is raised tenfold with a warning until it is.
    /// Computed in f64 on one thread: the same bytes whatever the machine's load.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `fraction` is not in `[0, MAX_DAMPING]`; [`Error::NoInput`] where `H` is zero;
    /// [`Error::NotPositiveDefinite`] where even [`MAX_DAMPING`] does not help.
    pub fn ordered(hessian: &Hessian, fraction: f64, order: ColumnOrder) -> Result<Self> {
        let order = positions(hessian, order);
        let mean_diagonal = unit_of(hessian, fraction)?;
        let mut damping = fraction;
        loop {
            if let Some((l, d)) = factorize(hessian, &order, mean_diagonal, damping) {
                return Ok(Self {
                    l,
                    d,
                    order,
                    mean_diagonal,
                    damping,
                });
            }
            let raised = (damping * 10.0).max(FIRST_DAMPING);
            if raised > MAX_DAMPING {
                return Err(Error::NotPositiveDefinite {
                    dim: hessian.dim(),
                    damping,
                    max: MAX_DAMPING,
                });
            }
            tracing::warn!(
                dim = hessian.dim(),
                damping,
                raised,
                "hessian is not positive definite, damping raised"
            );
            damping = raised;
        }
    }

    /// Input features.
    pub fn dim(&self) -> usize {
        self.d.len()
    }

    /// The column of the matrix at each position, `[in]`; the last position is coded first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// `L`, `[in, in]`, unit lower-triangular, by position.
    pub fn l(&self) -> &Array2<f32> {
        &self.l
    }

    /// `D`, `[in]`, by position, in units of the mean diagonal.
    pub fn d(&self) -> &[f64] {
        &self.d
    }

    /// `D` times the mean diagonal, `[in]`, by column of the matrix: in units of the undamped `H`, squared activations.
    ///
    /// This, not [`LdlFactor::d`], is what can be compared between layers and what step allocation takes.
    pub fn d_in_hessian_units(&self) -> Vec<f64> {
        let mut by_column = vec![0.0; self.d.len()];
        for (&col, d) in self.order.iter().zip(&self.d) {
            by_column[col] = d * self.mean_diagonal;
        }
        by_column
    }

    /// The damping that the factor was found with, at least what was asked for.
    pub fn damping(&self) -> f64 {
        self.damping
    }
}

/// The column at each position, coded from the last position to the first; ties keep their order.
fn positions(hessian: &Hessian, order: ColumnOrder) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..hessian.dim()).collect();
    match order {
        ColumnOrder::Natural => {}
        ColumnOrder::Importance => {
            let diagonal = hessian.diagonal();
            columns.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]));
        }
    }
    columns
}

/// The mean diagonal that a Hessian is divided by.
fn unit_of(hessian: &Hessian, fraction: f64) -> Result<f64> {
    if !(0.0..=MAX_DAMPING).contains(&fraction) {
        return Err(Error::OutOfRange {
            what: "damping",
            found: fraction,
            allowed: "0 to 100 mean diagonals",
        });
    }
    match hessian.mean_diagonal() {
        mean if mean > 0.0 => Ok(mean),
        _ if hessian.dim() == 0 => Ok(1.0),
        _ => Err(Error::NoInput { dim: hessian.dim() }),
    }
}

/// `L` and `D` of the damped Hessian, or nothing where it is not positive definite.
fn factorize(
    hessian: &Hessian,
    order: &[usize],
    scale: f64,
    damping: f64,
) -> Option<(Array2<f32>, Vec<f64>)> {
    let h = hessian.values();
    let dim = hessian.dim();
    // Only the lower triangle is read. `h` is symmetric, so its rows serve as columns.
    let mut chol = Mat::<f64>::from_fn(dim, dim, |i, j| {
        f64::from(h[[order[j], order[i]]]) / scale + if i == j { damping } else { 0.0 }
    });
    let scratch = cholesky_in_place_scratch::<f64>(dim, Par::Seq, Default::default());
    cholesky_in_place(
        chol.as_mut(),
        LltRegularization::default(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .ok()?;
    let roots: Vec<f64> = (0..dim).map(|j| chol[(j, j)]).collect();
    let mut l = Array2::<f32>::zeros((dim, dim));
    for (j, &root) in roots.iter().enumerate() {
        for (slot, &c) in l.column_mut(j).iter_mut().zip(chol.col_as_slice(j)).skip(j) {
            *slot = (c / root) as f32;
        }
    }
    let d: Vec<f64> = roots.iter().map(|root| root * root).collect();
    let is_sound = d.iter().all(|&d| d.is_finite() && d > 0.0) && l.iter().all(|l| l.is_finite());
    is_sound.then_some((l, d))
}

#[cfg(test)]
mod tests;
