//! From symbols to points: the union codebook of the integers, split by parity class.
//!
//! A weight over its step is quantised to an integer `k = 2s + p`, where the trellis state dictates
//! the class `p` and `s` is the symbol that is stored.
//!
//! Zero is in the even class alone. Dependent quantisation in VVC (H.266, 7.3.11.11) and JPEG 2000 part 2
//! give it to both; on N(0, 1) the plain integers with learned reconstruction points are nearer to the
//! rate-distortion limit from 0.1 bit on: by 0.055 bit at 1 bit, 0.04 at 1.5, 0.03 at 2 (8 states).

/// A set of integers that a state may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PointClass {
    /// `2s`.
    Even,
    /// `2s + 1`.
    Odd,
}

/// Weights are cut to this many steps, far beyond any use, so that symbols stay in `i32`.
pub(super) const MAX_POINT: f32 = (1 << 30) as f32;

impl PointClass {
    /// The class that a table codes: tables are `[bucket][parity]`.
    pub(super) fn of_table(table: usize) -> Self {
        match table & 1 {
            0 => Self::Even,
            _ => Self::Odd,
        }
    }

    /// The point of `symbol`, in steps.
    pub(super) fn point(self, symbol: i32) -> f32 {
        let symbol = symbol as f32;
        match self {
            Self::Even => 2.0 * symbol,
            Self::Odd => 2.0 * symbol + 1.0,
        }
    }

    /// Rank of the symbol's magnitude in its class, from the innermost on.
    pub(super) fn magnitude_rank(self, symbol: i32) -> usize {
        match self {
            Self::Odd if symbol < 0 => symbol.wrapping_neg().wrapping_sub(1) as u32 as usize,
            Self::Even | Self::Odd => symbol.unsigned_abs() as usize,
        }
    }

    /// The symbol of the negated point.
    pub(super) fn mirrored(self, symbol: i32) -> i32 {
        match self {
            Self::Even => -symbol,
            Self::Odd => -1 - symbol,
        }
    }

    /// The largest symbol whose point is not above `value` (in steps, within [`MAX_POINT`]).
    ///
    /// Points increase with symbols and a coset holds every second symbol, so of both cosets the
    /// nearest points lie among this symbol, the one before and the two after it.
    #[inline(always)]
    pub(super) fn floor_symbol(self, value: f32) -> i32 {
        match self {
            Self::Even => floor(0.5 * value),
            Self::Odd => floor(0.5 * (value - 1.0)),
        }
    }
}

/// The integer not above `position`, which fits; the standard function is a call without SSE 4.1.
#[inline(always)]
fn floor(position: f32) -> i32 {
    let towards_zero = position as i32;
    towards_zero - i32::from(position < towards_zero as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [PointClass; 2] = [PointClass::Even, PointClass::Odd];

    #[test]
    fn neighbours_of_the_floor_hold_the_nearest_point_of_each_coset() {
        for class in CLASSES {
            for step in -300..300 {
                let value = step as f32 * 0.07;
                let floor = class.floor_symbol(value);
                assert!(class.point(floor) <= value && value < class.point(floor + 1));
                for bit in 0..2 {
                    let nearest = |symbols: std::ops::Range<i32>| {
                        let in_coset = symbols.filter(|symbol| symbol & 1 == bit);
                        let distances = in_coset.map(|symbol| (class.point(symbol) - value).abs());
                        distances.fold(f32::MAX, f32::min)
                    };
                    assert_eq!(nearest(floor - 1..floor + 3), nearest(-40..40));
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
                let symbol = class.floor_symbol(value);
                assert!(
                    (class.point(symbol) - value).abs() <= 256.0,
                    "f32 has 24 bits"
                );
            }
        }
    }
}
