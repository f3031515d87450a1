//! The second moment of a layer's inputs.

use std::sync::Arc;

use nwc_chunk::ndarray::{Array2, ArrayView2};

use crate::{Error, Result};

/// How far two mirrored entries may be apart, as a share of `sqrt(h_ii h_jj)`: rounding of a sum in f32.
const SYMMETRY_TOLERANCE: f32 = 1e-3;

/// `H = E[x xᵀ]`, `[in, in]`, the mean over the tokens that calibration has seen; not damped, not normalised.
///
/// Symmetric, finite, with no negative diagonal. Cheap to clone: layers that share their input share it.
/// Source: `docs/METHOD.md` 1.6.
#[derive(Debug, Clone, PartialEq)]
pub struct Hessian {
    /// Invariant: square, finite, diagonal at least 0, symmetric up to `SYMMETRY_TOLERANCE`.
    values: Arc<Array2<f32>>,
    n_tokens: u64,
}

impl Hessian {
    /// A Hessian of which both triangles are given, `[in, in]`, the mean over `n_tokens` inputs.
    ///
    /// # Errors
    /// [`Error::NotSquare`], [`Error::NonFinite`], [`Error::Negative`] for a diagonal entry,
    /// [`Error::NotSymmetric`].
    pub fn new(values: Arc<Array2<f32>>, n_tokens: u64) -> Result<Self> {
        let (rows, cols) = values.dim();
        if rows != cols {
            return Err(Error::NotSquare { rows, cols });
        }
        if let Some(((row, col), &found)) = values.indexed_iter().find(|(_, h)| !h.is_finite()) {
            return Err(Error::NonFinite {
                what: "hessian",
                row,
                col,
                found,
            });
        }
        let diagonal = values.diag();
        if let Some((idx, &found)) = diagonal.indexed_iter().find(|&(_, &h)| h < 0.0) {
            return Err(Error::Negative {
                what: "diagonal entry of the hessian",
                idx,
                found: f64::from(found),
            });
        }
        let roots = diagonal.mapv(f32::sqrt);
        for row in 0..rows {
            for col in 0..row {
                let (found, mirrored) = (values[[row, col]], values[[col, row]]);
                if (found - mirrored).abs() > SYMMETRY_TOLERANCE * roots[row] * roots[col] {
                    return Err(Error::NotSymmetric {
                        row,
                        col,
                        found,
                        mirrored,
                    });
                }
            }
        }
        Ok(Self { values, n_tokens })
    }

    /// A Hessian from its lower triangle, row by row: `h_00, h_10, h_11, h_20, …`, `dim * (dim + 1) / 2` values.
    ///
    /// # Errors
    /// [`Error::PackedLength`], or as [`Hessian::new`].
    pub fn from_packed_lower(packed: &[f32], dim: usize, n_tokens: u64) -> Result<Self> {
        let expected = dim
            .checked_add(1)
            .and_then(|n| n.checked_mul(dim))
            .map_or(usize::MAX, |n| n / 2);
        if packed.len() != expected {
            return Err(Error::PackedLength {
                dim,
                found: packed.len(),
                expected,
            });
        }
        let at = |row: usize, col: usize| packed[row * (row + 1) / 2 + col];
        let values = Array2::from_shape_fn((dim, dim), |(i, j)| at(i.max(j), i.min(j)));
        Self::new(Arc::new(values), n_tokens)
    }

    /// Input features.
    pub fn dim(&self) -> usize {
        self.values.nrows()
    }

    /// Inputs that the mean was taken over.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// All of `H`, `[in, in]`.
    pub fn values(&self) -> ArrayView2<'_, f32> {
        self.values.view()
    }

    /// `E[x_j²]` of every input: `[in]`.
    pub fn diagonal(&self) -> Vec<f32> {
        self.values.diag().to_vec()
    }

    /// Mean of the diagonal, the unit that damping is given in; 0 for an empty Hessian.
    pub fn mean_diagonal(&self) -> f64 {
        let sum: f64 = self.values.diag().iter().map(|&h| f64::from(h)).sum();
        sum / self.dim().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::array;

    use super::*;

    #[track_caller]
    fn check_refused(values: Array2<f32>, message: &str) {
        let err = Hessian::new(Arc::new(values), 1).unwrap_err();
        assert_eq!(err.to_string(), message);
    }

    #[test]
    fn a_packed_triangle_comes_back() {
        let packed = [2.0, -1.0, 3.0, 0.5, 0.25, 4.0];
        let hessian = Hessian::from_packed_lower(&packed, 3, 7).unwrap();
        assert_eq!(
            hessian.values(),
            array![[2.0, -1.0, 0.5], [-1.0, 3.0, 0.25], [0.5, 0.25, 4.0]]
        );
        assert_eq!(hessian.n_tokens(), 7);
        assert_eq!(hessian.mean_diagonal(), 3.0);
    }

    #[test]
    fn an_empty_hessian_is_one() {
        let hessian = Hessian::from_packed_lower(&[], 0, 0).unwrap();
        assert_eq!(hessian.dim(), 0);
        assert_eq!(hessian.mean_diagonal(), 0.0);
    }

    #[test]
    fn bad_hessians_are_refused() {
        check_refused(
            Array2::zeros((2, 3)),
            "hessian is 2 x 3, expected a square matrix",
        );
        check_refused(
            array![[1.0, 0.5], [-0.5, 1.0]],
            "hessian is -0.5 at (1, 0) and 0.5 at (0, 1), expected equal",
        );
        check_refused(
            array![[1.0, 0.0], [0.0, -2.0]],
            "diagonal entry of the hessian 1 is -2, expected at least 0",
        );
        check_refused(
            array![[f32::NAN]],
            "hessian (0, 0) is NaN, expected a finite number",
        );
        for (found, dim) in [(2, 2), (0, usize::MAX)] {
            let err = Hessian::from_packed_lower(&vec![1.0; found], dim, 1).unwrap_err();
            assert!(matches!(err, Error::PackedLength { .. }), "{err}");
        }
    }
}
