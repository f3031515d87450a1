//! Uniform scalar quantisation whose symbols are meant for an entropy coder.

use std::collections::BTreeMap;

use nwc_chunk::ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::error::check_step;
use crate::round_to_nearest::{check_block, round_ties_even};
use crate::{BlockQuantizer, QuantizerError, Result};

/// Rounds every weight to a whole number of its step and keeps the numbers: entropy-coded scalar quantisation.
///
/// The step of weight `(i, j)` is `row_steps[i] · col_factors[j]`. Symbols are `[out, in]`; what they would cost
/// is [`EntropyScalar::entropy`]. The reconstruction is the middle of the cell, or with [`Centroids`] the mean
/// of what falls into it: run once, take [`EntropyScalar::centroids`], run again with them.
/// At high rates a Gaussian costs 0.255 bit more than its rate-distortion limit.
#[derive(Debug, Clone)]
pub struct EntropyScalar {
    /// Invariant: each product of a row's and a column's is finite and above 0.
    row_steps: Vec<f32>,
    col_factors: Vec<f32>,
    reconstruction: Centroids,
    symbols: Array2<i32>,
    /// Sum of (target / step) and count, of each symbol in `±MAX_CENTROID`.
    sums: Vec<(f64, u64)>,
}

/// Symbols beyond this are reconstructed in the middle of their cell.
const MAX_CENTROID: i32 = 255;

/// Where a symbol is reconstructed, in steps, relative to the middle of its cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Centroids {
    /// Offset of symbol `k` at `k + MAX_CENTROID`; empty for the middle.
    offsets: Vec<f32>,
}

impl Centroids {
    /// The middle of every cell.
    pub fn middle() -> Self {
        Self {
            offsets: Vec::new(),
        }
    }

    /// Reconstruction of `symbol`, in steps.
    pub fn get(&self, symbol: i32) -> f32 {
        let offset = slot_of(symbol).and_then(|slot| self.offsets.get(slot));
        symbol as f32 + offset.copied().unwrap_or(0.0)
    }
}

/// # Before coding
impl EntropyScalar {
    /// A quantiser of matrices `[row_steps.len(), n_cols]`, row `i` with step `row_steps[i]`.
    ///
    /// For weights divided by their row scales that is one number, repeated.
    ///
    /// # Errors
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) for a step that is not finite and above 0.
    pub fn new(row_steps: Vec<f32>, n_cols: usize) -> Result<Self> {
        Self::with_col_factors(row_steps, vec![1.0; n_cols])
    }

    /// As [`EntropyScalar::new`], each step times the factor of its column.
    ///
    /// # Errors
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) where a step, a factor or a product of the two is not
    /// finite and above 0.
    pub fn with_col_factors(row_steps: Vec<f32>, col_factors: Vec<f32>) -> Result<Self> {
        for &step in &row_steps {
            check_step("step of a row", step)?;
        }
        for &factor in &col_factors {
            check_step("step factor of a column", factor)?;
        }
        // The products lie between these two.
        let bounds = |values: &[f32]| {
            let smallest = values.iter().copied().fold(f32::INFINITY, f32::min);
            (smallest, values.iter().copied().fold(0.0, f32::max))
        };
        if !row_steps.is_empty() && !col_factors.is_empty() {
            let (rows, cols) = (bounds(&row_steps), bounds(&col_factors));
            check_step("step of a weight", rows.0 * cols.0)?;
            check_step("step of a weight", rows.1 * cols.1)?;
        }
        Ok(Self {
            symbols: Array2::zeros((row_steps.len(), col_factors.len())),
            row_steps,
            col_factors,
            reconstruction: Centroids::middle(),
            sums: vec![(0.0, 0); 2 * MAX_CENTROID as usize + 1],
        })
    }

    /// The same quantiser, reconstructing at `centroids`.
    #[must_use]
    pub fn with_centroids(mut self, centroids: Centroids) -> Self {
        self.reconstruction = centroids;
        self
    }
}

/// # After coding
impl EntropyScalar {
    /// The symbols, `[out, in]`; 0 where nothing has been coded.
    pub fn symbols(&self) -> ArrayView2<'_, i32> {
        self.symbols.view()
    }

    /// Empirical entropy of all symbols under one table, in bits a weight; 0 for an empty matrix.
    pub fn entropy(&self) -> f64 {
        let mut counts = BTreeMap::<i32, u64>::new();
        for &symbol in &self.symbols {
            *counts.entry(symbol).or_default() += 1;
        }
        let n = self.symbols.len() as f64;
        counts
            .values()
            .map(|&count| count as f64 / n)
            .map(|p| -p * p.log2())
            .sum()
    }

    /// Mean of what fell into each symbol's cell, from everything coded so far.
    pub fn centroids(&self) -> Centroids {
        let offset = |(slot, &(sum, count)): (usize, &(f64, u64))| match count {
            0 => 0.0,
            _ => (sum / count as f64 - (slot as f64 - f64::from(MAX_CENTROID))) as f32,
        };
        Centroids {
            offsets: self.sums.iter().enumerate().map(offset).collect(),
        }
    }
}

impl BlockQuantizer for EntropyScalar {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        check_block(target.dim(), cols, self.symbols.dim())?;
        for ((&j, col), mut out) in cols
            .iter()
            .zip(target.columns())
            .zip(reconstruction.columns_mut())
        {
            let factor = self.col_factors[j];
            for (i, ((&t, slot), &row_step)) in
                col.iter().zip(&mut out).zip(&self.row_steps).enumerate()
            {
                let step = row_step * factor;
                let in_steps = t / step;
                // Saturates beyond the range of i32; the error is then fed back like any other.
                let symbol = round_ties_even(in_steps) as i32;
                *slot = self.reconstruction.get(symbol) * step;
                self.symbols[[i, j]] = symbol;
                if let Some((sum, count)) = slot_of(symbol).and_then(|slot| self.sums.get_mut(slot))
                {
                    *sum += f64::from(in_steps);
                    *count += 1;
                }
            }
        }
        Ok(())
    }
}

/// Index of a symbol among those that have a centroid.
fn slot_of(symbol: i32) -> Option<usize> {
    usize::try_from(symbol.checked_add(MAX_CENTROID)?).ok()
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::array;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::no_feedback;

    /// Bits and mean squared error of a standard Gaussian, with centroids.
    #[track_caller]
    fn check(step: f32, expected_bits: f64, expected_mse: f64) {
        let (rows, cols) = (512, 1024);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let weights = Array2::from_shape_fn((rows, cols), |_| {
            // Box-Muller, half of it thrown away.
            let (u, v): (f32, f32) = (rng.random(), rng.random());
            (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
        });
        let mut first = EntropyScalar::new(vec![step; rows], cols).unwrap();
        no_feedback(weights.view(), 64, &mut first).unwrap();
        let centroids = first.centroids();
        let mut second = first.clone().with_centroids(centroids);
        let reconstruction = no_feedback(weights.view(), 64, &mut second).unwrap();
        let mse = (&reconstruction - &weights)
            .mapv(|e| f64::from(e).powi(2))
            .sum()
            / (rows * cols) as f64;
        println!("step {step}: {:.4} bits, mse {mse:.6}", second.entropy());
        assert!((second.entropy() - expected_bits).abs() < 0.005);
        assert!((mse / expected_mse - 1.0).abs() < 0.005);
    }

    #[test]
    fn a_gaussian_costs_what_theory_says() {
        check(1.0824, 2.0, 0.088941);
        check(0.5224, 3.0, 0.022239);
        check(0.1292, 5.0, 0.0013899);
    }

    #[test]
    fn steps_are_products_and_symbols_are_kept() {
        let mut quantizer =
            EntropyScalar::with_col_factors(vec![1.0, 0.5], vec![1.0, 2.0]).unwrap();
        let weights = array![[1.4, 3.1], [1.4, 1e30]];
        let reconstruction = no_feedback(weights.view(), 1, &mut quantizer).unwrap();
        assert_eq!(quantizer.symbols(), array![[1, 2], [3, i32::MAX]]);
        assert_eq!(reconstruction, array![[1.0, 4.0], [1.5, 2_147_483_648.0]]);
        assert_eq!(quantizer.entropy(), 2.0);
        assert_eq!(quantizer.centroids().get(2), 1.55);
        assert_eq!(quantizer.centroids().get(i32::MIN), i32::MIN as f32);
    }

    #[test]
    fn empty_matrices_cost_nothing() {
        let mut quantizer = EntropyScalar::new(Vec::new(), 0).unwrap();
        no_feedback(Array2::zeros((0, 0)).view(), 1, &mut quantizer).unwrap();
        assert_eq!(quantizer.entropy(), 0.0);
    }

    #[test]
    fn bad_steps_are_refused() {
        assert!(EntropyScalar::new(vec![0.0], 1).is_err());
        assert!(EntropyScalar::with_col_factors(vec![1.0], vec![f32::NAN]).is_err());
        let err = EntropyScalar::with_col_factors(vec![1e30], vec![1e30]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "step of a weight is inf, allowed: a finite number above 0"
        );
        assert!(EntropyScalar::with_col_factors(vec![1e-30], vec![1e-30]).is_err());
    }
}
