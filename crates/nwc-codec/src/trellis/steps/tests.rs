//! The three degrees of knowledge, the optimum they approach, and what is refused.

use ndarray::Array2;
use proptest::prelude::*;

use super::*;

/// How far the rounding of the two exponents may move a step, in octaves.
const ROUNDING: f64 = 0.25 + 1e-4;

/// Allocates and compares every step at `Δ = 1` with a formula.
#[track_caller]
fn check(
    weights: &Array2<f32>,
    d: Option<&[f64]>,
    fisher: Option<&[f32]>,
    basis: StepBasis,
    expected: impl Fn(usize, usize) -> f64,
) -> StepFactors {
    let allocation = StepFactors::allocate(weights.view(), d, fisher).unwrap();
    assert_eq!(allocation.basis, basis);
    let factors = allocation.factors;
    let (rows, cols) = (
        factors.row_steps(factors.base_step(0.5)),
        factors.col_factors(),
    );
    let shifted = factors.shifted(1.5);
    for ((i, j), _) in weights.indexed_iter() {
        let octaves = (f64::from(factors.step(i, j, 1.0)) / expected(i, j)).log2();
        assert!(
            octaves.abs() <= ROUNDING,
            "step ({i}, {j}) is off by {octaves} octaves"
        );
        assert_eq!(factors.step(i, j, 0.5), rows[i] * cols[j]);
        let octaves = (shifted.step(i, j, 1.0) / factors.step(i, j, 1.0)).log2();
        assert!((octaves - 1.5).abs() < 1e-5, "{octaves}");
    }
    factors
}

fn geometric_mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let logs: Vec<f64> = values.into_iter().map(f64::ln).collect();
    (logs.iter().sum::<f64>() / logs.len() as f64).exp()
}

/// Weights whose rows differ in size.
fn weights(rows: usize, cols: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, cols), |(i, j)| {
        let sign = if (i + j) % 2 == 0 { 1.0 } else { -1.0 };
        sign * (0.1 + i as f32) * (1.0 + 0.1 * j as f32)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn steps_follow_their_statistics(
        d_octaves in prop::collection::vec(-3.0..3.0_f64, 1..10),
        fisher_octaves in prop::collection::vec(-24.0..-18.0_f32, 1..10),
    ) {
        let d: Vec<f64> = d_octaves.iter().map(|x| x.exp2()).collect();
        let fisher: Vec<f32> = fisher_octaves.iter().map(|x| x.exp2()).collect();
        let weights = weights(fisher.len(), d.len());
        let sigma: Vec<f64> = row_scales(weights.view()).iter().map(|s| s.to_f64()).collect();
        let d_mean = geometric_mean(d.iter().copied());
        let fisher_mean = geometric_mean(fisher.iter().map(|&g| f64::from(g)));
        let sigma_mean = geometric_mean(sigma.iter().copied());

        check(&weights, Some(&d), Some(&fisher), StepBasis::Kl, |i, j| {
            1.0 / (f64::from(fisher[i]) * d[j]).sqrt()
        });
        check(&weights, Some(&d), None, StepBasis::Columns, |i, j| {
            sigma[i] * (d_mean / d[j]).sqrt()
        });
        check(&weights, None, Some(&fisher), StepBasis::Rows, |i, _| {
            sigma_mean * (fisher_mean / f64::from(fisher[i])).sqrt()
        });
        check(&weights, None, None, StepBasis::RowScales, |i, _| sigma[i]);
    }
}

#[test]
fn dead_rows_and_columns_are_floored() {
    let fisher = [1e-6, 0.0, 1e-30];
    let d = [1.0, 1e-9];
    let fisher_floor = FISHER_FLOOR * (1e-6 / 3.0);
    let d_floor = D_FLOOR * 0.5;
    check(
        &weights(3, 2),
        Some(&d),
        Some(&fisher),
        StepBasis::Kl,
        |i, j| 1.0 / (f64::from(fisher[i]).max(fisher_floor) * d[j].max(d_floor)).sqrt(),
    );
}

#[test]
fn a_fisher_of_zeros_counts_as_none() {
    let sigma = |i: usize, _| f64::from(row_scales(weights(2, 3).view())[i].to_f32());
    check(
        &weights(2, 3),
        None,
        Some(&[0.0, 0.0]),
        StepBasis::RowScales,
        sigma,
    );
}

#[test]
fn edge_shapes_have_steps() {
    let one = |_, _| 1.0;
    check(
        &Array2::zeros((0, 0)),
        None,
        None,
        StepBasis::RowScales,
        one,
    );
    check(
        &Array2::zeros((0, 2)),
        Some(&[1.0, 1.0]),
        Some(&[]),
        StepBasis::Kl,
        one,
    );
    check(
        &Array2::zeros((2, 0)),
        Some(&[]),
        Some(&[1.0, 1.0]),
        StepBasis::Kl,
        one,
    );
    check(
        &Array2::zeros((2, 2)),
        None,
        None,
        StepBasis::RowScales,
        one,
    );
    let factors = StepFactors {
        rows: vec![],
        cols: vec![],
        tensor_log2: 1.0,
    };
    assert_eq!(factors.step(5, 5, 2.0), 4.0);
}

/// Steps that all weights share, of the same total rate, cost more of the predicted KL.
#[test]
fn the_allocation_is_the_optimum() {
    let fisher = [1e-4_f32, 3e-6, 2e-5];
    let d = [4.0, 0.1, 0.9, 1.7];
    let weights = weights(3, 4);
    let factors = StepFactors::allocate(weights.view(), Some(&d), Some(&fisher))
        .unwrap()
        .factors;
    let delta = 1e-3;
    let sum = |of: &dyn Fn(usize, usize) -> f64| -> f64 {
        weights.indexed_iter().map(|((i, j), _)| of(i, j)).sum()
    };
    // Half of the weighted squares of a uniform quantiser's errors.
    let kl = |step: &dyn Fn(usize, usize) -> f64| {
        sum(&|i, j| f64::from(fisher[i]) * d[j] * step(i, j).powi(2) / 24.0)
    };
    let step = |i, j| f64::from(factors.step(i, j, delta));
    let allocated = kl(&step);
    let ideal = 12.0 * f64::from(delta).powi(2) / 24.0;
    assert!(
        (allocated / ideal - 1.0).abs() < 0.08,
        "{allocated} against {ideal}"
    );
    let same_rate = (sum(&|i, j| step(i, j).log2()) / 12.0).exp2();
    assert!(kl(&|_, _| same_rate) > 2.0 * allocated);
}

#[test]
fn exponents_are_the_nearest_in_a_byte() {
    assert_eq!(
        exponents(&[-1e9, 1e9, 0.13, f64::NEG_INFINITY]),
        [-127, 127, 1, -127]
    );
}

#[test]
fn bad_statistics_are_refused() {
    let refused = |d: Option<&[f64]>, fisher: Option<&[f32]>| {
        let err = StepFactors::allocate(weights(1, 2).view(), d, fisher).unwrap_err();
        err.to_string()
    };
    assert_eq!(
        refused(Some(&[1.0]), None),
        "length of the diagonal of the factor is 1, expected 2"
    );
    assert_eq!(
        refused(Some(&[1.0, 0.0]), None),
        "diagonal of the factor at column 1 is 0, allowed: finite numbers above 0"
    );
    assert_eq!(
        refused(None, Some(&[1.0, 1.0])),
        "length of the output Fisher is 2, expected 1"
    );
    assert_eq!(
        refused(None, Some(&[-1.0])),
        "output Fisher of row 0 is -1, allowed: finite numbers of at least 0"
    );
}
