//! The search against its own formulas, and what feedback is worth.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{TensorScales, TrellisConfig, TrellisQuantizer};
use super::*;

/// Standard normal.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

/// `M` of a cost in which an error weighs `share` of itself in the next row, less in those after it.
fn smoothing(sizes: &[usize], share: f32) -> RowFeedback {
    let block = |&n: &usize| {
        Array2::from_shape_fn((n, n), |(i, k)| {
            if k < i {
                share.powi((i - k) as i32)
            } else {
                7.0
            } // what is not left of the diagonal does not count
        })
    };
    RowFeedback::new(sizes.iter().map(block).collect()).unwrap()
}

/// `Σ E_i²` in squared steps.
fn weighted_error(feedback: &RowFeedback, errors: &[f32]) -> f64 {
    let rows = feedback.rows().enumerate();
    rows.map(|(row, (first, weights))| {
        let fed: f32 = (first..row).map(|k| weights[k - first] * errors[k]).sum();
        f64::from(errors[row] + fed).powi(2)
    })
    .sum()
}

/// Codes columns of a Gaussian; gives the weighted error and the bits, both a weight.
fn code(n_states: u16, sizes: &[usize], feedback: &RowFeedback, with: bool) -> (f64, f64) {
    const STEP: f32 = 0.4;
    let (rows, cols) = (sizes.iter().sum(), 24);
    let codec = TrellisCodec::parametric(TrellisConfig::wide(n_states)).unwrap();
    let scales = TensorScales::uniform(rows, cols, STEP, 1.0);
    let mut quantizer = TrellisQuantizer::new(&codec, &scales, rows, cols).unwrap();
    if with {
        quantizer = quantizer.with_feedback(feedback).unwrap();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut error = 0.0;
    for col in 0..cols {
        let target: Vec<f32> = (0..rows).map(|_| normal(&mut rng)).collect();
        let mut decoded = vec![0.0; rows];
        quantizer
            .quantize_column(col, &target, &mut decoded)
            .unwrap();
        let errors: Vec<f32> = decoded
            .iter()
            .zip(&target)
            .map(|(d, t)| (d - t) / STEP)
            .collect();
        error += weighted_error(feedback, &errors);
    }
    let symbols = quantizer.finish().unwrap();
    let bits = super::super::ideal_bits(&codec, &scales, &symbols).unwrap();
    let n = (rows * cols) as f64;
    (error / n, bits / n)
}

#[test]
fn feedback_is_worth_what_the_factor_promises() {
    // The weighted error without feedback is (1 + 0.6² + 0.6⁴ + …) times the plain one, with it the plain one.
    let sizes = [150, 1, 49];
    let feedback = smoothing(&sizes, 0.6);
    for n_states in [1, 4, 8, 16, 64, 256] {
        let (without, bits_without) = code(n_states, &sizes, &feedback, false);
        let (with, bits_with) = code(n_states, &sizes, &feedback, true);
        println!(
            "{n_states} states: {without:.4} to {with:.4}, {bits_without:.3} to {bits_with:.3} bits"
        );
        let ratio = with / without;
        assert!((0.60..0.72).contains(&ratio), "{n_states} states: {ratio}");
        assert!(
            (bits_with - bits_without).abs() < 0.06,
            "{bits_with} {bits_without}"
        );
    }
}

#[test]
fn without_any_weight_it_is_the_plain_search() {
    let feedback = RowFeedback::new(vec![Array2::zeros((200, 200))]).unwrap();
    for n_states in [1, 4, 8, 16, 64, 256] {
        let (without, bits_without) = code(n_states, &[200], &feedback, false);
        let (with, bits_with) = code(n_states, &[200], &feedback, true);
        let lagrangian = f64::from(TrellisConfig::wide(n_states).lagrangian);
        let (with, without) = (
            with + lagrangian * bits_with,
            without + lagrangian * bits_without,
        );
        println!("{n_states} states: cost {without:.6} to {with:.6}");
        assert!((with / without - 1.0).abs() < 1e-6, "{with} {without}");
    }
}

#[test]
fn feedback_of_another_matrix_is_refused() {
    assert!(RowFeedback::new(vec![Array2::zeros((2, 3))]).is_err());
    assert!(RowFeedback::new(vec![Array2::from_elem((1, 1), f32::NAN)]).is_err());
    let codec = TrellisCodec::parametric(TrellisConfig::wide(8)).unwrap();
    let scales = TensorScales::uniform(4, 1, 1.0, 1.0);
    let feedback = smoothing(&[2, 1], 0.5);
    let quantizer = TrellisQuantizer::new(&codec, &scales, 4, 1).unwrap();
    let error = quantizer.with_feedback(&feedback).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rows of the row feedback is 3, expected 4"
    );
}
