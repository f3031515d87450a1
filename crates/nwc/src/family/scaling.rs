//! Rows too large or too small for a codec's own scales, brought into range by powers of two.
//!
//! Scales are f16 in one family and exponents of 8 bits about the matrix's mean in the other: rows of 10⁻²⁰ or 10²⁰
//! have none in either. Such a row is coded as `row · 2^−e`, and the decoder multiplies by `2^e`, which is exact.

#[cfg(feature = "encode")]
use nwc_chunk::ndarray::{Array2, ArrayView1, ArrayView2, CowArray, Ix2};
use nwc_chunk::ndarray::{ArrayViewMut2, Axis};

#[cfg(feature = "encode")]
use super::coded::NewSection;
use super::matrix::StoredSections;
use crate::error::TensorError;

/// Role of the rows' exponents, I16 little-endian, one a row; absent where all are 0.
pub(crate) const EXPONENTS: &str = nwc_format::ROLE_EXPONENTS;

/// A row whose rms lies in this range is coded as it is; both ends are normal in f16.
#[cfg(feature = "encode")]
const SAFE_RMS: [f64; 2] = [1.0 / 8192.0, 8192.0];

/// No exponent is further from 0: more than twice what takes the least f32 to the largest is never needed.
const MAX_EXPONENT: i16 = 300;

/// What a Fisher may grow to by scaling, as a multiple of the largest one of rows that are not scaled.
///
/// Row factors of steps reach 31 octaves about their mean, and a row that outweighs all others by more moves that mean.
#[cfg(feature = "encode")]
const MAX_FISHER_RATIO: f64 = (1u64 << 20) as f64;

/// The exponents of a matrix, one a row; none where all are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RowExponents(Vec<i16>);

impl RowExponents {
    /// The exponents that bring the rows of `weights`, `[out, in]`, into range: those outside to an rms of 1 to 2.
    #[cfg(feature = "encode")]
    pub(crate) fn of(weights: ArrayView2<'_, f32>) -> Self {
        let exponents: Vec<i16> = weights.rows().into_iter().map(exponent).collect();
        match exponents.iter().all(|&e| e == 0) {
            true => Self::default(),
            false => Self(exponents),
        }
    }

    /// Those of a stored matrix of `rows` rows.
    ///
    /// # Errors
    /// [`TensorError::Record`] where there is not one for each row, or one is beyond any that a row needs.
    pub(crate) fn stored(stored: &StoredSections<'_>, rows: usize) -> Result<Self, TensorError> {
        let Some(bytes) = stored.by_role.get(EXPONENTS) else {
            return Ok(Self::default());
        };
        if rows.checked_mul(2) != Some(bytes.len()) {
            return Err(TensorError::Record {
                what: EXPONENTS,
                found: format!("{} bytes", bytes.len()),
                expected: format!("2 for each of {rows} rows"),
            });
        }
        let (exponents, _) = bytes.as_chunks();
        let exponents: Vec<_> = exponents.iter().map(|&b| i16::from_le_bytes(b)).collect();
        let allowed = -MAX_EXPONENT..=MAX_EXPONENT;
        match exponents.iter().find(|e| !allowed.contains(e)) {
            None => Ok(Self(exponents)),
            Some(found) => Err(TensorError::Record {
                what: EXPONENTS,
                found: found.to_string(),
                expected: format!("{} to {}", allowed.start(), allowed.end()),
            }),
        }
    }

    /// Whether no row is scaled.
    #[cfg(feature = "encode")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Row `i` of `weights` times `2^−e_i`: what is coded.
    #[cfg(feature = "encode")]
    pub(crate) fn divide<'a>(&self, weights: ArrayView2<'a, f32>) -> CowArray<'a, f32, Ix2> {
        if self.is_empty() {
            return weights.into();
        }
        let mut scaled: Array2<f32> = weights.to_owned();
        for (row, &e) in scaled.axis_iter_mut(Axis(0)).zip(&self.0) {
            scale(row.into_iter(), -i32::from(e));
        }
        scaled.into()
    }

    /// Row `i` of `decoded` times `2^e_i`, rounded once; what is beyond f32 becomes its largest number.
    pub(crate) fn multiply(&self, mut decoded: ArrayViewMut2<'_, f32>) {
        for (row, &e) in decoded.axis_iter_mut(Axis(0)).zip(&self.0) {
            scale(row.into_iter(), i32::from(e));
        }
    }

    /// The section that stores them, where there is something to store.
    #[cfg(feature = "encode")]
    pub(crate) fn section(&self) -> Option<NewSection> {
        (!self.is_empty()).then(|| NewSection {
            role: EXPONENTS,
            dtype: nwc_format::DType::I16,
            shape: vec![self.0.len()],
            bytes: self.0.iter().flat_map(|e| e.to_le_bytes()).collect(),
        })
    }

    /// What an error of a scaled row weighs, `[out]`: `importance` times `4^e_i`.
    #[cfg(feature = "encode")]
    pub(crate) fn weigh(&self, importance: &[f32]) -> Vec<f64> {
        let exponents = self.0.iter().chain(std::iter::repeat(&0));
        let weighed = importance.iter().zip(exponents);
        weighed
            .map(|(&g, &e)| f64::from(g) * power_of_two(2 * i32::from(e)))
            .collect()
    }

    /// As [`Self::weigh`], within what f32 and the steps of one matrix can tell apart.
    #[cfg(feature = "encode")]
    pub(crate) fn weigh_for_steps(&self, importance: &[f32]) -> Vec<f32> {
        if self.is_empty() {
            return importance.to_vec();
        }
        let of_unscaled = importance.iter().zip(&self.0).filter(|(_, e)| **e == 0);
        let largest = of_unscaled.fold(0.0_f32, |max, (&g, _)| max.max(g));
        let most = match largest > 0.0 {
            true => f64::from(largest) * MAX_FISHER_RATIO,
            false => f64::from(f32::MAX),
        };
        let weighed = self.weigh(importance);
        let most = most.min(f64::from(f32::MAX));
        weighed.iter().map(|g| g.min(most) as f32).collect()
    }
}

/// 0 for a row in range, else the exponent of its rms.
#[cfg(feature = "encode")]
fn exponent(row: ArrayView1<'_, f32>) -> i16 {
    let sum = sum_of_squares(row);
    let rms = (sum / row.len().max(1) as f64).sqrt();
    // A row of zeros has no scale to bring into range.
    match rms == 0.0 || is_safe_rms(rms) {
        true => 0,
        false => rms.log2().floor() as i16,
    }
}

/// Whether rows of this rms are coded as they are.
#[cfg(feature = "encode")]
pub(crate) fn is_safe_rms(rms: f64) -> bool {
    (SAFE_RMS[0]..=SAFE_RMS[1]).contains(&rms)
}

/// In f64, in which no square of an f32 over- or underflows.
#[cfg(feature = "encode")]
fn sum_of_squares(row: ArrayView1<'_, f32>) -> f64 {
    let Some(row) = row.as_slice() else {
        return row.iter().map(|&w| f64::from(w).powi(2)).sum();
    };
    let (blocks, tail) = row.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for block in blocks {
        for (sum, &w) in sums.iter_mut().zip(block) {
            *sum += f64::from(w) * f64::from(w);
        }
    }
    let tail: f64 = tail.iter().map(|&w| f64::from(w).powi(2)).sum();
    sums.iter().sum::<f64>() + tail
}

/// Multiplies by `2^exponent`.
fn scale<'a>(values: impl Iterator<Item = &'a mut f32>, exponent: i32) {
    if exponent == 0 {
        return;
    }
    let factor = power_of_two(exponent);
    let max = f64::from(f32::MAX);
    for value in values {
        // Exact in f64; the cast rounds.
        *value = (f64::from(*value) * factor).clamp(-max, max) as f32;
    }
}

/// `2^exponent`; exponents are within twice [`MAX_EXPONENT`], and so the power is normal.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(all(test, feature = "encode"))]
mod tests {
    use nwc_chunk::ndarray::array;

    use super::*;

    #[test]
    fn rows_in_range_are_left_alone() {
        let weights = array![
            [0.02_f32, -0.01],
            [0.0, 0.0],
            [1.3e-4, 1.3e-4],
            [8000.0, 0.0]
        ];
        let exponents = RowExponents::of(weights.view());
        assert!(exponents.is_empty() && exponents.section().is_none());
        assert_eq!(exponents.divide(weights.view()), weights);
    }

    #[test]
    fn scaling_is_undone_bit_for_bit() {
        let tiny = f32::from_bits(1);
        let weights = array![
            [0.02_f32, -0.01, 0.0],
            [1e-6, -3e-6, 2e-7],
            [1e-20, 1e-21, -1e-20],
            [tiny, -tiny, 2.0 * tiny],
            [f32::MAX, -f32::MAX, 1e38],
            [1e6, 0.02, 0.02],
            [f32::MIN_POSITIVE, 0.0, -0.0],
        ];
        let exponents = RowExponents::of(weights.view());
        let scaled = exponents.divide(weights.view());
        for (row, &e) in scaled.rows().into_iter().zip(&exponents.0) {
            let rms = (row.mapv(|w| f64::from(w).powi(2)).sum() / 3.0).sqrt();
            assert!(e == 0 || (1.0..2.0).contains(&rms), "{e}: {rms}");
        }
        assert_eq!(exponents.0[0], 0);
        let mut restored = scaled.to_owned();
        exponents.multiply(restored.view_mut());
        assert_eq!(restored.mapv(f32::to_bits), weights.mapv(f32::to_bits));
    }

    #[test]
    fn no_exponent_makes_a_number_infinite() {
        for e in [-MAX_EXPONENT, -290, 200, MAX_EXPONENT] {
            let mut values = array![[1.0_f32, -1.0, 0.0, f32::MAX]];
            RowExponents(vec![e]).multiply(values.view_mut());
            let one = if e < 0 { 0.0 } else { f32::MAX };
            assert_eq!(
                values.row(0).as_slice().unwrap()[..3],
                [one, -one, 0.0],
                "{e}"
            );
            assert!(values[[0, 3]].is_finite());
        }
    }

    #[test]
    fn fisher_follows_the_square_of_the_scale() {
        let exponents = RowExponents(vec![0, -3, 40, 0]);
        let importance = [2.0, 2.0, 2.0, 4.0];
        assert_eq!(exponents.weigh(&importance)[..2], [2.0, 2.0 / 64.0]);
        let capped = exponents.weigh_for_steps(&importance);
        assert_eq!(capped[2], 4.0 * MAX_FISHER_RATIO as f32);
        assert!(capped.iter().all(|g| g.is_finite()));
        assert_eq!(
            RowExponents::default().weigh_for_steps(&importance),
            importance
        );
    }
}
