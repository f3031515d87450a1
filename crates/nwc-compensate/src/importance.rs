//! Which columns deserve a finer quality level.

use nwc_chunk::QualityLevel;

use crate::{Error, Result};

/// The paper's level of every column from the diagonal of its Hessian, `[in]`.
///
/// `fractions[k]` is the share of the columns at level `k + 1`, rounded down. The columns with the largest
/// diagonal get the highest level, the next ones the level below, and so on; the rest is level 0.
/// Of equal columns the first counts as larger. Damping does not change the order, so either Hessian's will do.
/// Source: `docs/METHOD.md` 1.7.
///
/// # Errors
/// [`Error::OutOfRange`] for a share outside `[0, 1]`, or more than 255 shares;
/// [`Error::Negative`] for a diagonal entry that is negative or not a number.
pub fn quality_levels(diag_h: &[f32], fractions: &[f64]) -> Result<Vec<QualityLevel>> {
    check_importance(diag_h)?;
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

/// Refuses negative numbers and NaN.
fn check_importance(importance: &[f32]) -> Result<()> {
    match importance.iter().position(|&i| i < 0.0 || i.is_nan()) {
        None => Ok(()),
        Some(idx) => Err(Error::Negative {
            what: "importance of column",
            idx,
            found: f64::from(importance[idx]),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns at levels 0, 1, 2 and 3 of the paper's map, whose diagonal grows with the index.
    #[track_caller]
    fn check(n_cols: usize, expected: [usize; 4]) {
        let diag: Vec<f32> = (0..n_cols).map(|j| j as f32).collect();
        let levels = quality_levels(&diag, &[0.1, 0.01, 0.001]).unwrap();
        assert!(levels.is_sorted(), "the larger, the higher");
        let count = |q| levels.iter().filter(|level| level.0 == q).count();
        assert_eq!([count(0), count(1), count(2), count(3)], expected);
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
    }
}
