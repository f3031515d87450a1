//! Which columns deserve a finer quality level.

use nwc_chunk::QualityLevel;

use crate::error::check_len;
use crate::{Error, Result};

/// Shares of the columns at levels 1, 2 and 3 of the paper: 10 %, 1 % and 0.1 %, METHOD 2.7.
pub const PAPER_LEVEL_FRACTIONS: [f64; 3] = [0.10, 0.01, 0.001];

/// The paper's level of every column from the diagonal of its Hessian, `[in]`.
///
/// `fractions[k]` is the share of the columns at level `k + 1`, rounded down. The columns with the largest
/// diagonal get the highest level, the next ones the level below, and so on; the rest is level 0.
/// Of equal columns the first counts as larger. Damping does not change the order, so either Hessian's will do.
/// Source: METHOD 2.7.
///
/// # Errors
/// [`Error::OutOfRange`] for a share outside `[0, 1]`, or more than 255 shares;
/// [`Error::Negative`] for a diagonal entry that is negative or not a number.
pub fn quality_levels(diag_h: &[f32], fractions: &[f64]) -> Result<Vec<QualityLevel>> {
    check_importance(diag_h.iter().map(|&h| f64::from(h)))?;
    if let Some(&found) = fractions.iter().find(|f| !(0.0..=1.0).contains(*f)) {
        return Err(Error::OutOfRange {
            what: "share of a quality level",
            found,
            allowed: "0 to 1",
        });
    }
    let n_fractions = u8::try_from(fractions.len()).map_err(|_| Error::OutOfRange {
        what: "number of quality levels above 0",
        found: fractions.len() as f64,
        allowed: "0 to 255",
    })?;
    let mut by_importance: Vec<usize> = (0..diag_h.len()).collect();
    by_importance.sort_by(|&a, &b| diag_h[b].total_cmp(&diag_h[a]).then(a.cmp(&b)));
    let mut by_importance = by_importance.into_iter();
    let mut levels = vec![QualityLevel(0); diag_h.len()];
    for (level, fraction) in (1..=n_fractions).zip(fractions).rev() {
        // Truncated as the authors do: 4 / 40 / 409 of 4096.
        let n_cols = (fraction * diag_h.len() as f64) as usize;
        for col in by_importance.by_ref().take(n_cols) {
            levels[col] = QualityLevel(level);
        }
    }
    Ok(levels)
}

/// The level of every column whose weight of distortion lies nearest to the column's importance.
///
/// `importance`, `[in]`, is in any unit, for example `D` of the LDL; `level_weights[q]` is what level `q` weighs
/// distortion by, in a unit of one's own (METHOD 2.4: 1, 2.83, 34, 68). A column whose importance is `anchor`
/// has weight 1. Nearest is by ratio, of two as near the lower level. A free map, where [`quality_levels`] is
/// bound to the paper's shares.
///
/// # Errors
/// [`Error::OutOfRange`] where `anchor` or a weight is not finite and above 0, or there are no weights or more
/// than 256; [`Error::Negative`] for an importance that is negative or not a number.
pub fn levels_by_weight(
    importance: &[f64],
    anchor: f64,
    level_weights: &[f64],
) -> Result<Vec<QualityLevel>> {
    check_importance(importance.iter().copied())?;
    for (what, &found) in std::iter::once(("anchor of the importance", &anchor)).chain(
        level_weights
            .iter()
            .map(|w| ("weight of a quality level", w)),
    ) {
        if !(found.is_finite() && found > 0.0) {
            return Err(Error::OutOfRange {
                what,
                found,
                allowed: "a finite number above 0",
            });
        }
    }
    if !(1..=256).contains(&level_weights.len()) {
        return Err(Error::OutOfRange {
            what: "number of quality levels",
            found: level_weights.len() as f64,
            allowed: "1 to 256",
        });
    }
    let logs: Vec<f64> = level_weights.iter().map(|w| w.log2()).collect();
    let nearest = |importance: f64| {
        // Far outside of any codec's range; keeps dead and infinite columns comparable.
        let wanted = (importance / anchor).log2().clamp(-1e3, 1e3);
        let far = |q: &u8| (logs[usize::from(*q)] - wanted).abs();
        (0..=u8::MAX)
            .take(logs.len())
            .min_by(|a, b| far(a).total_cmp(&far(b)))
            .unwrap_or(0)
    };
    Ok(importance
        .iter()
        .map(|&i| QualityLevel(nearest(i)))
        .collect())
}

/// Refuses a map of levels that is not one level of the codec for each of `n_cols` columns.
///
/// # Errors
/// [`Error::LengthMismatch`] or [`Error::Level`].
pub fn check_levels(levels: &[QualityLevel], n_cols: usize, n_levels: usize) -> Result<()> {
    check_len("quality levels", levels.len(), n_cols)?;
    match levels.iter().position(|q| usize::from(q.0) >= n_levels) {
        None => Ok(()),
        Some(col) => Err(Error::Level {
            col,
            found: levels[col].0,
            n_levels,
        }),
    }
}

/// Refuses negative numbers and NaN.
fn check_importance(importance: impl Iterator<Item = f64>) -> Result<()> {
    for (idx, found) in importance.enumerate() {
        if found < 0.0 || found.is_nan() {
            return Err(Error::Negative {
                what: "importance of column",
                idx,
                found,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns at levels 0, 1, 2 and 3 of the paper's map, whose diagonal grows with the index.
    #[track_caller]
    fn check(n_cols: usize, expected: [usize; 4]) {
        let diag: Vec<f32> = (0..n_cols).map(|j| j as f32).collect();
        let levels = quality_levels(&diag, &PAPER_LEVEL_FRACTIONS).unwrap();
        assert!(levels.is_sorted(), "the larger, the higher");
        let count = |q| levels.iter().filter(|level| level.0 == q).count();
        assert_eq!([count(0), count(1), count(2), count(3)], expected);
        check_levels(&levels, n_cols, 4).unwrap();
    }

    #[test]
    fn counts_are_the_papers() {
        check(4096, [3643, 409, 40, 4]);
        check(14336, [12746, 1433, 143, 14]);
        check(576, [514, 57, 5, 0]);
        check(5, [5, 0, 0, 0]);
        check(0, [0, 0, 0, 0]);
    }

    #[test]
    fn of_equal_columns_the_first_wins() {
        let levels = quality_levels(&[1.0, 2.0, 2.0, 0.0], &[0.25]).unwrap();
        assert_eq!(levels.map_to_u8(), [0, 1, 0, 0]);
        let levels = quality_levels(&[1.0, 2.0], &[1.0, 1.0]).unwrap();
        assert_eq!(levels.map_to_u8(), [2, 2]);
    }

    #[test]
    fn free_maps_take_the_nearest_level() {
        let importance = [0.0, 1.0, 1.7, 3.0, 30.0, 1e9, f64::INFINITY];
        let levels = levels_by_weight(&importance, 1.0, &[1.0, 2.83, 34.0, 68.0]).unwrap();
        assert_eq!(levels.map_to_u8(), [0, 0, 1, 1, 2, 3, 3]);
        let levels = levels_by_weight(&importance[1..4], 100.0, &[1.0, 2.83]).unwrap();
        assert_eq!(levels.map_to_u8(), [0, 0, 0]);
    }

    trait MapToU8 {
        fn map_to_u8(&self) -> Vec<u8>;
    }

    impl MapToU8 for Vec<QualityLevel> {
        fn map_to_u8(&self) -> Vec<u8> {
            self.iter().map(|q| q.0).collect()
        }
    }

    #[test]
    fn bad_maps_are_refused() {
        let err = quality_levels(&[1.0, f32::NAN], &[]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "importance of column 1 is NaN, expected at least 0"
        );
        assert!(quality_levels(&[1.0], &[1.5]).is_err());
        assert!(quality_levels(&[1.0], &[0.0; 256]).is_err());
        for weights in [&[][..], &[0.0], &[1.0; 257]] {
            assert!(levels_by_weight(&[1.0], 1.0, weights).is_err());
        }
        assert!(levels_by_weight(&[1.0], 0.0, &[1.0]).is_err());
        let levels = [QualityLevel(0), QualityLevel(4)];
        assert_eq!(
            check_levels(&levels, 2, 4).unwrap_err().to_string(),
            "quality level of column 1 is 4, the codec has 4"
        );
        assert!(check_levels(&levels, 3, 5).is_err());
    }
}
