//! Feedback against its defining formulas, and what it is worth.

use nwc_chunk::ndarray::array;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::testing::{Rounding, damped};
use crate::{ColumnOrder, Hessian, PAPER_DAMPING, QuantizerError, no_feedback, proxy_loss};

/// Rounds to `step` and adds up `D_j ‖e_j‖²` of the errors on what it was given.
struct Weighing {
    step: f32,
    d: Vec<f64>,
    weighted_error: f64,
    cols_seen: Vec<usize>,
}

impl BlockQuantizer for Weighing {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        for (j, &col) in cols.iter().enumerate() {
            self.cols_seen.push(col);
            for i in 0..target.nrows() {
                let t = target[[i, j]];
                let r = (t / self.step).round() * self.step;
                reconstruction[[i, j]] = r;
                self.weighted_error += self.d[col] * f64::from(r - t).powi(2);
            }
        }
        Ok(())
    }
}

struct Layer {
    weights: Array2<f32>,
    hessian: Hessian,
}

/// Weights and the second moment of correlated inputs with a few strong channels.
fn layer(rows: usize, cols: usize, seed: u64) -> Layer {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || (0..6).map(|_| rng.random_range(-1.0..1.0_f32)).sum::<f32>() / 2_f32.sqrt();
    let weights = Array2::from_shape_fn((rows, cols), |_| normal());
    let mix = Array2::from_shape_fn((cols, cols), |_| normal());
    let loud = Array2::from_shape_fn((1, cols), |_| normal().exp());
    let inputs = Array2::from_shape_fn((2 * cols, cols), |_| normal()).dot(&mix) * loud;
    let hessian = inputs.t().dot(&inputs) / (2 * cols).max(1) as f32;
    Layer {
        weights,
        hessian: Hessian::new(hessian.into(), 2 * cols as u64).unwrap(),
    }
}

/// Runs `ldlq` and compares it with the defining formula evaluated block by block in f64.
#[track_caller]
fn check(rows: usize, cols: usize, block_cols: usize, seed: u64) {
    let Layer { weights, hessian } = layer(rows, cols, seed);
    let factor = LdlFactor::new(&hessian, PAPER_DAMPING).unwrap();
    let mut quantizer = Recording::default();
    let reconstruction = ldlq(weights.view(), &factor, block_cols, &mut quantizer).unwrap();

    let l = factor.block_unit_lower(block_cols);
    let mut n_seen = cols;
    for (range, target, written) in &quantizer.blocks {
        assert_eq!(range.end, n_seen, "blocks come last to first");
        n_seen = range.start;
        for (j, col) in range.clone().enumerate() {
            for i in 0..rows {
                let fed: f64 = (range.end..cols)
                    .map(|k| {
                        let error = weights[[i, k]] - reconstruction[[i, k]];
                        f64::from(error) * f64::from(l[[k, col]])
                    })
                    .sum();
                let expected = f64::from(weights[[i, col]]) + fed;
                let found = f64::from(target[[i, j]]);
                assert!(
                    (found - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
                    "target ({i}, {col}) is {found}, expected {expected}"
                );
                assert_eq!(reconstruction[[i, col]], written[[i, j]], "bit for bit");
            }
        }
    }
    assert_eq!(n_seen, 0, "every column is passed");
}

/// Rounds to whole numbers and keeps what it was given and what it wrote.
#[derive(Default)]
struct Recording {
    blocks: Vec<(Range<usize>, Array2<f32>, Array2<f32>)>,
}

impl BlockQuantizer for Recording {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        assert!(target.t().is_standard_layout(), "columns are contiguous");
        let written = target.mapv(f32::round);
        reconstruction.assign(&written);
        self.blocks
            .push((cols[0]..cols[0] + cols.len(), target.to_owned(), written));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn targets_follow_the_formula(
        rows in 0_usize..6,
        cols in 0_usize..90,
        block_cols in 1_usize..100,
        seed in any::<u64>(),
    ) {
        check(rows, cols, block_cols, seed);
    }

    #[test]
    fn the_proxy_loss_is_what_the_errors_weigh(
        rows in 1_usize..8,
        cols in 1_usize..100,
        seed in any::<u64>(),
    ) {
        let Layer { weights, hessian } = layer(rows, cols, seed);
        let factor = LdlFactor::new(&hessian, PAPER_DAMPING).unwrap();
        let mut quantizer = Weighing {
            step: 0.25,
            d: factor.d().to_vec(),
            weighted_error: 0.0,
            cols_seen: Vec::new(),
        };
        let reconstruction = ldlq(weights.view(), &factor, 1, &mut quantizer).unwrap();
        let damped = damped(&hessian, PAPER_DAMPING);
        let loss = proxy_loss(weights.view(), reconstruction.view(), damped.view()).unwrap();
        // An identity; `L` and the errors are rounded to f32, hence the tolerance.
        prop_assert!(
            (loss - quantizer.weighted_error).abs() <= 1e-4 * loss,
            "proxy loss {} against {}", loss, quantizer.weighted_error
        );
        prop_assert_eq!(quantizer.cols_seen, (0..cols).rev().collect::<Vec<_>>());
    }

    #[test]
    fn an_order_is_the_same_walk_over_permuted_columns(
        rows in 1_usize..6,
        cols in 1_usize..90,
        block_cols in 1_usize..40,
        seed in any::<u64>(),
    ) {
        let Layer { weights, hessian } = layer(rows, cols, seed);
        let ordered = LdlFactor::ordered(&hessian, PAPER_DAMPING, ColumnOrder::Importance).unwrap();
        let order = ordered.order().to_vec();
        let h = hessian.values();
        let permuted = Array2::from_shape_fn((cols, cols), |(i, j)| h[[order[i], order[j]]]);
        let natural = LdlFactor::new(&Hessian::new(permuted.into(), 1).unwrap(), PAPER_DAMPING).unwrap();
        prop_assert!(order.windows(2).all(|w| h[[w[0], w[0]]] <= h[[w[1], w[1]]]));
        let mut quantizer = Rounding { step: 0.5 };
        let found = ldlq(weights.view(), &ordered, block_cols, &mut quantizer).unwrap();
        let expected =
            ldlq(weights.select(Axis(1), &order).view(), &natural, block_cols, &mut quantizer).unwrap();
        prop_assert_eq!(found.select(Axis(1), &order), expected);
        let by_column = ordered.d_in_hessian_units();
        for (&col, d) in order.iter().zip(natural.d_in_hessian_units()) {
            // The mean diagonal is summed up in another order.
            prop_assert!((by_column[col] - d).abs() <= 1e-5 * d);
        }
    }

    #[test]
    fn a_block_of_all_columns_is_no_feedback(
        rows in 0_usize..6,
        cols in 0_usize..40,
        more in 0_usize..3,
        seed in any::<u64>(),
    ) {
        let Layer { weights, hessian } = layer(rows, cols, seed);
        let factor = LdlFactor::new(&hessian, PAPER_DAMPING).unwrap();
        let block_cols = cols.max(1) + more;
        let mut quantizer = Rounding { step: 0.5 };
        let with = ldlq(weights.view(), &factor, block_cols, &mut quantizer).unwrap();
        let without = no_feedback(weights.view(), 3, &mut quantizer).unwrap();
        prop_assert_eq!(with, without);
    }
}

#[test]
fn feedback_lowers_the_proxy_loss_of_rounding() {
    for (block_cols, most) in [(1, 0.55), (8, 0.75), (16, 0.95)] {
        let (mut with, mut without) = (0.0, 0.0);
        for seed in 0..20 {
            let Layer { weights, hessian } = layer(16, 32, seed);
            let factor = LdlFactor::new(&hessian, PAPER_DAMPING).unwrap();
            let mut quantizer = Rounding { step: 0.5 };
            let loss = |reconstruction: Array2<f32>| {
                proxy_loss(weights.view(), reconstruction.view(), hessian.values()).unwrap()
            };
            with += loss(ldlq(weights.view(), &factor, block_cols, &mut quantizer).unwrap());
            without += loss(no_feedback(weights.view(), 1, &mut quantizer).unwrap());
        }
        let ratio = with / without;
        println!("block of {block_cols}: {ratio:.3} of the loss without feedback");
        assert!(ratio < most, "block of {block_cols}: {ratio}");
    }
}

struct Failing;

impl BlockQuantizer for Failing {
    fn quantize(
        &mut self,
        _target: ArrayView2<'_, f32>,
        cols: &[usize],
        _reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        if cols.first() == Some(&0) {
            Ok(()) // and has written nothing
        } else {
            Err("no table for this column".into())
        }
    }
}

#[test]
fn bad_arguments_are_refused() {
    let Layer { weights, hessian } = layer(2, 4, 0);
    let factor = LdlFactor::new(&hessian, PAPER_DAMPING).unwrap();
    let refused = |weights: &Array2<f32>, block_cols, quantizer: &mut dyn BlockQuantizer| {
        ldlq(weights.view(), &factor, block_cols, quantizer).unwrap_err()
    };

    let err = refused(&Array2::zeros((2, 5)), 1, &mut Failing);
    assert_eq!(
        err.to_string(),
        "factor of the hessian is 4 x 4, expected 5 x 5"
    );
    let err = refused(&weights, 0, &mut Failing);
    assert_eq!(
        err.to_string(),
        "columns of a block is 0, allowed: 1 or more"
    );
    let err = refused(&weights, 1, &mut Failing);
    assert_eq!(
        err.to_string(),
        "quantising a block of 1 columns that column 3 is the first of"
    );
    let source = std::error::Error::source(&err).unwrap();
    assert_eq!(source.to_string(), "no table for this column");
    let err = refused(&weights, 4, &mut Failing);
    assert_eq!(
        err.to_string(),
        "reconstruction (0, 0) is NaN, expected a finite number"
    );
    let mut broken = weights.clone();
    broken[[1, 2]] = f32::INFINITY;
    let err = refused(&broken, 4, &mut Failing);
    assert_eq!(
        err.to_string(),
        "weight (1, 2) is inf, expected a finite number"
    );
    // Finite, but what it feeds back is not.
    let huge = array![[f32::MAX, f32::MAX, f32::MAX, f32::MAX]];
    assert!(ldlq(huge.view(), &factor, 1, &mut Zeroing).is_err());
}

struct Zeroing;

impl BlockQuantizer for Zeroing {
    fn quantize(
        &mut self,
        _target: ArrayView2<'_, f32>,
        _cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        reconstruction.fill(0.0);
        Ok(())
    }
}
