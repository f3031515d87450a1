//! From symbols to points: the union codebook of the integers, split by parity class.
//!
//! A weight over its step is quantised to an integer `k = 2s + p`, where the trellis state dictates
//! the class `p` and `s` is the symbol that is stored. In buckets of small predicted scale the odd
//! class is `0, ±1, ±3, ±5, …` instead, for `s = 0, ±1, ±2, ±3, …`, so that every state reaches zero.
//! The second form is that of dependent quantisation in VVC (H.266, 7.3.11.11 and 8.7.3); JPEG 2000
//! part 2 gives zero to both classes of its trellis quantiser for the same reason.

/// A set of integers that a state may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PointClass {
    /// `2s`.
    Even,
    /// `2s + 1`.
    Odd,
    /// `2s − sgn(s)`.
    OddWithZero,
}

/// Weights are cut to this many steps, far beyond any use, so that symbols stay in `i32`.
pub(super) const MAX_POINT: f32 = (1 << 30) as f32;

impl PointClass {
    /// The point of `symbol`, in steps.
    pub(super) fn point(self, symbol: i32) -> f32 {
        let symbol = symbol as f32;
        match self {
            Self::Even => 2.0 * symbol,
            Self::Odd => 2.0 * symbol + 1.0,
            Self::OddWithZero if symbol == 0.0 => 0.0,
            Self::OddWithZero => 2.0 * symbol - symbol.signum(),
        }
    }

    /// Rank of the symbol's magnitude in its class, from the innermost on.
    pub(super) fn magnitude_rank(self, symbol: i32) -> usize {
        match self {
            Self::Odd if symbol < 0 => symbol.wrapping_neg().wrapping_sub(1) as u32 as usize,
            _ => symbol.unsigned_abs() as usize,
        }
    }

    /// The symbol of the negated point.
    pub(super) fn mirrored(self, symbol: i32) -> i32 {
        match self {
            Self::Odd => -1 - symbol,
            _ => -symbol,
        }
    }

    /// The two symbols with lowest bit `bit` whose points lie around `value` (in steps).
    ///
    /// `value` must lie within [`MAX_POINT`].
    pub(super) fn candidates(self, value: f32, bit: i32) -> [i32; 2] {
        match self {
            Self::Even => around(0.5 * value, bit),
            Self::Odd => around(0.5 * (value - 1.0), bit),
            Self::OddWithZero => {
                let [low, high] = around(0.5 * (value.abs() + 1.0), bit);
                // Nothing lies between zero and the first magnitude of a coset.
                let (low, high) = if low < 0 { (bit, bit + 2) } else { (low, high) };
                if value < 0.0 {
                    [-low, -high]
                } else {
                    [low, high]
                }
            }
        }
    }
}

/// The two integers of lowest bit `bit` around `position`.
fn around(position: f32, bit: i32) -> [i32; 2] {
    let low = 2 * (0.5 * (position - bit as f32)).floor() as i32 + bit;
    [low, low + 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [PointClass; 3] = [PointClass::Even, PointClass::Odd, PointClass::OddWithZero];

    #[test]
    fn candidates_hold_the_nearest_point_of_each_coset() {
        for class in CLASSES {
            for step in -300..300 {
                let value = step as f32 * 0.07;
                for bit in 0..2 {
                    let distance = |s: &i32| (class.point(*s) - value).abs();
                    let nearest = (-40..40)
                        .filter(|s| s & 1 == bit)
                        .map(|s| distance(&s))
                        .fold(f32::MAX, f32::min);
                    let candidates = class.candidates(value, bit);
                    assert!(candidates.iter().all(|s| s & 1 == bit));
                    let found = candidates.iter().map(distance).fold(f32::MAX, f32::min);
                    assert_eq!(found, nearest, "{class:?} {value} {bit}");
                }
            }
        }
    }

    #[test]
    fn mirroring_negates_the_point_and_keeps_the_rank() {
        for class in CLASSES {
            for symbol in -20..20 {
                let mirrored = class.mirrored(symbol);
                assert_eq!(class.point(mirrored), -class.point(symbol));
                assert_eq!(class.magnitude_rank(mirrored), class.magnitude_rank(symbol));
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        for class in CLASSES {
            for symbol in [i32::MIN, i32::MIN + 1, i32::MAX] {
                assert!(class.point(symbol).is_finite());
                class.magnitude_rank(symbol);
            }
            for value in [-MAX_POINT, MAX_POINT] {
                for bit in 0..2 {
                    class.candidates(value, bit);
                }
            }
        }
    }
}
