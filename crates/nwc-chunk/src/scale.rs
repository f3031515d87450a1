//! Row scales: what a row of a weight matrix is divided by before coding.

use half::f16;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, Zip};

use crate::{Error, Result};

/// A row whose standard deviation is below this share of its rms counts as constant, and its rms is taken.
///
/// Divided by its standard deviation such a row would be nothing but huge, equal numbers.
/// Differs from the paper: the authors' release divides by whatever the deviation is.
const MIN_STD_OVER_RMS: f64 = 1.0 / 1024.0;

/// The unbiased standard deviation of each row of `weights`, `[out, in]`, rounded to f16: `[out]`.
///
/// `scale_i = sqrt(Σ_j (w_ij − mean_i)² / (in − 1))`. The weights themselves are not shifted by the mean.
/// A row of one weight, or one that is constant, has its rms as scale; a row of zeros, an empty one and one
/// with a NaN or an infinity has 1. A scale is always finite and positive: beyond the range of f16 it is the
/// nearest positive f16. Source: `docs/METHOD.md` 1.7, with f16 as in the paper.
pub fn row_scales(weights: ArrayView2<'_, f32>) -> Array1<f16> {
    weights
        .rows()
        .into_iter()
        .map(|row| to_positive_f16(row_scale(row)))
        .collect()
}

/// Divides each row of `weights`, `[out, in]`, by its scale.
///
/// # Errors
/// [`Error::LengthMismatch`] where there is not one scale for each row.
pub fn normalize_rows(
    weights: ArrayView2<'_, f32>,
    scales: ArrayView1<'_, f16>,
) -> Result<Array2<f32>> {
    let mut normalized = weights.as_standard_layout().into_owned();
    normalize_rows_in_place(normalized.view_mut(), scales)?;
    Ok(normalized)
}

/// As [`normalize_rows`], in place.
///
/// # Errors
/// [`Error::LengthMismatch`] where there is not one scale for each row.
pub fn normalize_rows_in_place(
    mut weights: ArrayViewMut2<'_, f32>,
    scales: ArrayView1<'_, f16>,
) -> Result<()> {
    check_n_scales(weights.nrows(), scales.len())?;
    Zip::from(weights.axis_iter_mut(Axis(0)))
        .and(scales)
        .for_each(|mut row, scale| row /= scale.to_f32());
    Ok(())
}

/// Multiplies each row of `normalized`, `[out, in]`, by its scale: what a decoder does last.
///
/// # Errors
/// [`Error::LengthMismatch`] where there is not one scale for each row.
pub fn denormalize_rows_in_place(
    mut normalized: ArrayViewMut2<'_, f32>,
    scales: ArrayView1<'_, f16>,
) -> Result<()> {
    check_n_scales(normalized.nrows(), scales.len())?;
    Zip::from(normalized.axis_iter_mut(Axis(0)))
        .and(scales)
        .for_each(|mut row, scale| row *= scale.to_f32());
    Ok(())
}

fn row_scale(row: ArrayView1<'_, f32>) -> f64 {
    let n = row.len() as f64;
    let mean = row.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
    let (mut centred, mut raw) = (0.0, 0.0);
    for &w in row {
        let w = f64::from(w);
        centred += (w - mean) * (w - mean);
        raw += w * w;
    }
    let rms = (raw / n).sqrt();
    let std = (centred / (n - 1.0)).sqrt(); // NaN for one weight, and then not chosen
    match () {
        () if !(rms.is_finite() && rms > 0.0) => 1.0,
        () if std >= MIN_STD_OVER_RMS * rms => std,
        () => rms,
    }
}

pub(crate) fn to_positive_f16(scale: f64) -> f16 {
    f16::from_f64(scale).clamp(f16::MIN_POSITIVE_SUBNORMAL, f16::MAX)
}

fn check_n_scales(n_rows: usize, n_scales: usize) -> Result<()> {
    if n_rows == n_scales {
        Ok(())
    } else {
        Err(Error::LengthMismatch {
            what: "row scales",
            found: n_scales,
            expected: n_rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, Array2, array};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(row: &[f32], expected: f32) {
        let weights = Array::from_shape_vec((1, row.len()), row.to_vec()).unwrap();
        let scales = row_scales(weights.view());
        assert_eq!(scales.len(), 1);
        assert_eq!(scales[0], f16::from_f32(expected), "{row:?}");
    }

    #[test]
    fn the_deviation_is_unbiased_and_about_the_mean() {
        check(&[1.0, 3.0], 2.0_f32.sqrt());
        check(&[-1.0, 1.0, 3.0], 2.0);
        check(&[11.0, 13.0, 15.0], 2.0);
    }

    #[test]
    fn degenerate_rows_have_a_usable_scale() {
        check(&[], 1.0);
        check(&[0.0, 0.0], 1.0);
        check(&[-3.0], 3.0);
        check(&[0.1; 7], 0.1);
        check(&[5.0, 5.000001], 5.0);
        check(&[f32::NAN, 1.0], 1.0);
        check(&[f32::INFINITY, 1.0], 1.0);
        check(&[1e30, -1e30], 65504.0);
        check(&[1e-30, -1e-30], f16::MIN_POSITIVE_SUBNORMAL.to_f32());
        assert_eq!(row_scales(Array2::zeros((3, 0)).view()).len(), 3);
        assert_eq!(row_scales(Array2::zeros((0, 3)).view()).len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn scales_are_positive_and_normalisation_undone(
            rows in 0_usize..8,
            cols in 0_usize..8,
            bits in prop::collection::vec(any::<u32>(), 64),
        ) {
            // Any bit pattern: subnormal, infinite and NaN weights too.
            let weights =
                Array2::from_shape_fn((rows, cols), |(i, j)| f32::from_bits(bits[i * 8 + j]));
            let scales = row_scales(weights.view());
            prop_assert!(scales.iter().all(|s| s.is_finite() && *s > f16::ZERO));
            let normalized = normalize_rows(weights.view(), scales.view()).unwrap();
            let mut restored = normalized.clone();
            denormalize_rows_in_place(restored.view_mut(), scales.view()).unwrap();
            for ((&w, &n), &r) in weights.iter().zip(&normalized).zip(&restored) {
                if n.is_normal() && r.is_normal() {
                    prop_assert!((w - r).abs() <= w.abs() * f32::EPSILON, "{} became {}", w, r);
                }
            }
        }

        #[test]
        fn rows_become_unit_deviation(row in prop::collection::vec(-10.0_f32..10.0, 8..40)) {
            let weights = Array2::from_shape_vec((1, row.len()), row).unwrap();
            let scales = row_scales(weights.view());
            let normalized = normalize_rows(weights.view(), scales.view()).unwrap();
            // f16 rounds the scale by at most 2^-11 of it.
            prop_assert!((normalized.std(1.0) - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn a_wrong_number_of_scales_is_refused() {
        let weights = array![[1.0_f32], [2.0]];
        let scales = array![f16::ONE];
        let err = Error::LengthMismatch {
            what: "row scales",
            found: 1,
            expected: 2,
        };
        assert_eq!(
            normalize_rows(weights.view(), scales.view()),
            Err(err.clone())
        );
        let mut weights = weights;
        assert_eq!(
            denormalize_rows_in_place(weights.view_mut(), scales.view()),
            Err(err)
        );
    }
}
