//! Entropy-coded scalar quantisation of a sample: where training starts, and what its result is measured against.

/// Rate and distortion of a uniform quantiser with one entropy code, on a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EcsqPoint {
    /// Distance of the decision points, in units of the weights.
    pub step: f64,
    /// Empirical entropy of the symbols, bits.
    pub bits_per_weight: f64,
    /// Mean squared error with the mean of each cell as its reconstruction.
    pub mse: f64,
}

/// Symbols beyond this magnitude are counted as this one; no step that makes sense gets here.
const MAX_SYMBOL: i32 = 1 << 16;
/// Halvings of an interval of a factor of a few hundred: the step is then exact to six digits.
const N_BISECTIONS: usize = 28;
/// Steps of a golden-section search over the logarithm of the step; it is exact to three digits after that.
const N_GOLDEN: usize = 20;

/// Rounds `values` to multiples of `step` and measures.
pub fn ecsq(values: &[f32], step: f64) -> EcsqPoint {
    let symbol = |value: f32| {
        let symbol = (f64::from(value) / step).round_ties_even() as i32;
        symbol.clamp(-MAX_SYMBOL, MAX_SYMBOL)
    };
    let (low, high) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
    let (low, high) = (symbol(low), symbol(high));
    // Count and sum of the values of each cell; the squares need no cells.
    let mut cells = vec![(0u64, 0.0f64); (high - low).max(0) as usize + 1];
    let mut squares = 0.0;
    for &value in values {
        let cell = &mut cells[(symbol(value) - low) as usize];
        cell.0 += 1;
        cell.1 += f64::from(value);
        squares += f64::from(value).powi(2);
    }
    let n = values.len().max(1) as f64;
    let (mut bits, mut explained) = (0.0, 0.0);
    for &(count, sum) in cells.iter().filter(|(count, _)| *count > 0) {
        let count = count as f64;
        bits -= count * (count / n).log2();
        explained += sum * sum / count;
    }
    EcsqPoint {
        step,
        bits_per_weight: bits / n,
        mse: (squares - explained).max(0.0) / n,
    }
}

/// The step that makes mse/`variance` · `lambda` + `rate_coefficient` · bits least (`docs/METHOD.md` 1.4).
pub fn ecsq_best_step(
    values: &[f32],
    variance: f64,
    lambda: f64,
    rate_coefficient: f64,
) -> EcsqPoint {
    // D = step²/12 and dD/dR = −2 ln2 D: right at high rates, and within a factor of three at low ones.
    let distortion = variance * rate_coefficient / (2.0 * std::f64::consts::LN_2 * lambda);
    let guess = (12.0 * distortion).sqrt().ln();
    let loss = |log_step: f64| {
        let point = ecsq(values, log_step.exp());
        point.mse / variance * lambda + rate_coefficient * point.bits_per_weight
    };
    let ratio = (5.0f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (guess - 3.0f64.ln(), guess + 3.0f64.ln());
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut left_loss, mut right_loss) = (loss(left), loss(right));
    for _ in 0..N_GOLDEN {
        if left_loss < right_loss {
            (high, right, right_loss) = (right, left, left_loss);
            left = high - ratio * (high - low);
            left_loss = loss(left);
        } else {
            (low, left, left_loss) = (left, right, right_loss);
            right = low + ratio * (high - low);
            right_loss = loss(right);
        }
    }
    ecsq(values, ((low + high) / 2.0).exp())
}

/// The quantiser whose error is `mse`; `None` where no step up to twenty times √`mse` has as much.
pub fn ecsq_at_mse(values: &[f32], mse: f64) -> Option<EcsqPoint> {
    if !(mse > 0.0 && mse.is_finite()) {
        return None;
    }
    let (mut low, mut high) = (mse.sqrt() * 0.1, mse.sqrt() * 20.0);
    if ecsq(values, high).mse < mse {
        return None;
    }
    for _ in 0..N_BISECTIONS {
        let middle = (low * high).sqrt();
        if ecsq(values, middle).mse < mse {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(ecsq(values, (low * high).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::gaussian_matrix;

    /// The exact values for N(0, 1) of `docs/METHOD.md` 2.1: bits, step, mse.
    const ORACLE: [(f64, f64, f64); 3] = [
        (2.0, 1.0824, 0.088941),
        (3.0, 0.5224, 0.022239),
        (4.0, 0.2590, 0.0055597),
    ];

    #[test]
    fn gaussian_points_are_the_exact_ones() {
        let values = gaussian_matrix(512, 512, 3).into_raw_vec_and_offset().0;
        for (bits, step, mse) in ORACLE {
            let point = ecsq(&values, step);
            assert!((point.bits_per_weight - bits).abs() < 0.01, "{point:?}");
            assert!((point.mse / mse - 1.0).abs() < 0.01, "{point:?}");
            let found = ecsq_at_mse(&values, point.mse).unwrap();
            assert!(
                (found.bits_per_weight - point.bits_per_weight).abs() < 1e-3,
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_best_step_follows_lambda() {
        let values = gaussian_matrix(256, 256, 4).into_raw_vec_and_offset().0;
        for lambda in [30.0, 1000.0] {
            let best = ecsq_best_step(&values, 1.0, lambda, 1.2);
            let loss = |point: EcsqPoint| lambda * point.mse + 1.2 * point.bits_per_weight;
            for factor in [0.8, 1.25] {
                assert!(
                    loss(best) < loss(ecsq(&values, best.step * factor)),
                    "lambda {lambda}"
                );
            }
        }
        assert_eq!(ecsq_at_mse(&values, 50.0), None);
        assert_eq!(ecsq_at_mse(&values, f64::NAN), None);
    }
}
