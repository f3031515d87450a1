//! Probabilities to integer masses: every bin at least 1, an exact sum, nearly the least code length.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A bin and what it gains by one more unit of mass.
struct Bid {
    gain: f64,
    bin: usize,
}

impl Ord for Bid {
    fn cmp(&self, other: &Self) -> Ordering {
        // Ties go to the lower bin, so that the result depends on nothing but the input.
        self.gain
            .total_cmp(&other.gain)
            .then(other.bin.cmp(&self.bin))
    }
}
impl PartialOrd for Bid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Bid {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Bid {}

/// Gives `total` units of mass to bins of the given weights, at least one to each.
///
/// Minimises the code length Σ −w log2 m: all bins get a little less than their share, then each unit that is left
/// goes where it saves most, which is optimal as the saving falls with m.
///
/// The caller has checked that `weights` are finite, not negative, sum to a finite positive `sum`, and that there are
/// at most `total`.
pub(crate) fn integer_masses(weights: &[f64], sum: f64, total: u32) -> Vec<u32> {
    // Rounded down with one unit a bin kept back: at most `total` is given even where a bin got 1 for a share of 0.
    let shared = f64::from(total) - weights.len() as f64;
    let mut masses: Vec<u32> = weights
        .iter()
        .map(|w| ((w / sum * shared) as u32).max(1))
        .collect();
    let given: u32 = masses.iter().sum();
    let mut heap: BinaryHeap<Bid> = weights
        .iter()
        .zip(&masses)
        .enumerate()
        .map(|(bin, (&w, &m))| Bid {
            gain: w * saving(m),
            bin,
        })
        .collect();
    for _ in given..total {
        let Some(mut best) = heap.peek_mut() else {
            break;
        };
        let bin = best.bin;
        masses[bin] += 1;
        best.gain = weights[bin] * saving(masses[bin]);
    }
    masses
}

/// ln((m + 1)/m), relative error below 2e-5, by sums and products only: every machine gets the same table.
fn saving(mass: u32) -> f64 {
    // 2 artanh(z)
    let z = 1.0 / (2.0 * f64::from(mass) + 1.0);
    let z2 = z * z;
    2.0 * z * (1.0 + z2 * (1.0 / 3.0 + z2 * (1.0 / 5.0 + z2 / 7.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cost(weights: &[f64], masses: &[u32]) -> f64 {
        weights
            .iter()
            .zip(masses)
            .map(|(w, &m)| -w * f64::from(m).log2())
            .sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

        #[test]
        fn sum_is_exact_and_no_swap_helps(
            weights in prop::collection::vec(prop_oneof![0.0..1.0_f64, 0.0..1e-4_f64, Just(0.0)], 2..40),
            precision in 8_u32..=16,
        ) {
            let sum: f64 = weights.iter().sum();
            prop_assume!(sum > 0.0);
            let masses = integer_masses(&weights, sum, 1 << precision);
            prop_assert!(masses.iter().all(|&m| m >= 1));
            prop_assert_eq!(masses.iter().sum::<u32>(), 1 << precision);
            // Moving one unit from any bin to any other gains next to nothing.
            let before = cost(&weights, &masses);
            for from in 0..masses.len() {
                for to in 0..masses.len() {
                    if from != to && masses[from] > 1 {
                        let mut other = masses.clone();
                        other[from] -= 1;
                        other[to] += 1;
                        prop_assert!(cost(&weights, &other) >= before - 1e-4 * sum);
                    }
                }
            }
        }
    }
}
