//! How large the symbols of every weight will be, from two small vectors.

use ndarray::ArrayView2;
use nwc_chunk::ZeroMask;

use super::steps::exponents;
use super::{Error, Result, StepFactors};

/// Row and column indices lie in `±MAX_SCALE_INDEX`: 25 octaves, far beyond any rate.
const MAX_SCALE_INDEX: i8 = 100;

/// Alternations of the fit: the first rows are fitted before any column is known, the second corrects them.
const N_SWEEPS: usize = 2;

/// The predicted scale of `w_ij / step_ij`: row rms times column rms, in quarter octaves.
///
/// `σ_ij ≈ 2^((rows[i] + cols[j]) / 4)`, which picks the table that codes the symbol.
/// Plain data: stored with the tensor, a byte a row and a byte a column, and handed on as two slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePrediction {
    /// Quarter-octave index of every output row, `[out]`, the layer's overall scale included.
    pub rows: Vec<i8>,
    /// Quarter-octave index of every input column, `[in]`, about 0.
    pub cols: Vec<i8>,
}

/// The same before rounding: base-2 logarithms, which another step only moves.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleLogs {
    rows: Vec<f64>,
    cols: Vec<f64>,
}

impl ScaleLogs {
    /// Fits the scales of `weights`, `[out, in]`, under the steps that `factors` gives at `delta`.
    ///
    /// `r_i² = mean_j u_ij² / c_j²` and `c_j² = mean_i u_ij² / r_i²` in turn, with `u_ij = w_ij / step_ij`:
    /// the most likely separable variance of a Gaussian. Then the columns' mean logarithm is moved to the rows.
    /// Rows and columns of zeros get the smallest index and take no part; nor do the weights that `zeros` marks.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where `factors` or `zeros` is not of the matrix; [`Error::NotFinite`] for a weight;
    /// [`Error::BaseStep`] where `delta` gives no usable step.
    pub fn fit(
        weights: ArrayView2<'_, f32>,
        zeros: Option<&ZeroMask>,
        factors: &StepFactors,
        delta: f32,
    ) -> Result<Self> {
        let base_step = factors.base_step(delta);
        if !(base_step.is_finite() && base_step > 0.0) {
            return Err(Error::BaseStep { found: base_step });
        }
        for (what, found, expected) in [
            ("number of row steps", factors.rows.len(), weights.nrows()),
            (
                "number of column steps",
                factors.cols.len(),
                weights.ncols(),
            ),
            (
                "rows of the mask of zeros",
                zeros.map_or(weights.nrows(), ZeroMask::rows),
                weights.nrows(),
            ),
            (
                "columns of the mask of zeros",
                zeros.map_or(weights.ncols(), ZeroMask::cols),
                weights.ncols(),
            ),
        ] {
            if found != expected {
                return Err(Error::ShapeMismatch {
                    what,
                    found,
                    expected,
                });
            }
        }
        let row_steps = factors.row_steps(base_step);
        let col_factors = factors.col_factors();
        if let Some(((row, col), &value)) = weights.indexed_iter().find(|(_, w)| !w.is_finite()) {
            return Err(Error::NotFinite { row, col, value });
        }
        let lanes = Lanes::new(weights, zeros, &row_steps, &col_factors);
        let (row_logs, col_logs) = lanes.fit(weights);
        let live: Vec<f64> = col_logs.iter().copied().filter(|x| x.is_finite()).collect();
        let shift = live.iter().sum::<f64>() / live.len().max(1) as f64;
        Ok(Self {
            rows: row_logs.iter().map(|x| x + shift).collect(),
            cols: col_logs.iter().map(|x| x - shift).collect(),
        })
    }

    /// The prediction for steps that are `2^octaves` times those of the fit.
    pub fn at(&self, octaves: f64) -> ScalePrediction {
        ScalePrediction {
            rows: indices(self.rows.iter().map(|x| x - octaves)),
            cols: indices(self.cols.iter().copied()),
        }
    }
}

impl ScalePrediction {
    /// [`ScaleLogs::fit`], rounded.
    ///
    /// # Errors
    /// As [`ScaleLogs::fit`].
    pub fn fit(
        weights: ArrayView2<'_, f32>,
        zeros: Option<&ZeroMask>,
        factors: &StepFactors,
        delta: f32,
    ) -> Result<Self> {
        Ok(ScaleLogs::fit(weights, zeros, factors, delta)?.at(0.0))
    }
}

/// What turns a weight into `u² / (r² c²)`, row by row, and what has been found of rows and columns.
///
/// In f64, so that no square overflows, and without a copy of the matrix: every pass reads the weights anew.
struct Lanes {
    /// `1 / step` of each row, with the columns' factors apart.
    row_factors: Vec<f64>,
    col_factors: Vec<f64>,
    /// Weights of each row that take part.
    live_in_rows: Vec<usize>,
    /// Weights of each column that take part.
    live_in_cols: Vec<usize>,
}

impl Lanes {
    fn new(
        weights: ArrayView2<'_, f32>,
        zeros: Option<&ZeroMask>,
        row_steps: &[f32],
        col_factors: &[f32],
    ) -> Self {
        let inverse = |steps: &[f32]| steps.iter().map(|&s| f64::from(s).recip()).collect();
        let mut is_live_col = vec![false; weights.ncols()];
        let mut n_live_rows = 0;
        for row in weights.rows() {
            let mut is_live_row = false;
            for (is_live, &w) in is_live_col.iter_mut().zip(row) {
                *is_live |= w != 0.0;
                is_live_row |= w != 0.0;
            }
            n_live_rows += usize::from(is_live_row);
        }
        let n_live_cols = is_live_col.into_iter().filter(|&live| live).count();
        Self {
            row_factors: inverse(row_steps),
            col_factors: inverse(col_factors),
            live_in_rows: match zeros {
                Some(zeros) => zeros.kept_in_rows(),
                None => vec![n_live_cols; weights.nrows()],
            },
            live_in_cols: match zeros {
                Some(zeros) => zeros.kept_in_cols(),
                None => vec![n_live_rows; weights.ncols()],
            },
        }
    }

    /// Base-2 logarithms of the rms of rows and columns, −∞ for a lane of zeros.
    ///
    /// A sweep is one pass: a row's mean is known when its end is reached, and the columns take in the row
    /// divided by it. Entries of lanes that are zero do not dilute the others' means.
    fn fit(&self, weights: ArrayView2<'_, f32>) -> (Vec<f64>, Vec<f64>) {
        let (n_rows, n_cols) = weights.dim();
        let mut row_logs = vec![f64::NEG_INFINITY; n_rows];
        // Of each column: what squares are divided by, as a factor, and the sum of the sweep.
        let mut col_gains = vec![1.0; n_cols];
        let mut col_logs = vec![0.0; n_cols];
        let mut sums = vec![0.0; n_cols];
        let mut squares = vec![0.0; n_cols];
        for _ in 0..N_SWEEPS {
            sums.fill(0.0);
            for (((row, &row_factor), &n_live), log) in weights
                .rows()
                .into_iter()
                .zip(&self.row_factors)
                .zip(&self.live_in_rows)
                .zip(&mut row_logs)
            {
                let entries = squares.iter_mut().zip(&self.col_factors).zip(row);
                for ((square, col_factor), &w) in entries {
                    let u = f64::from(w) * (row_factor * col_factor);
                    *square = u * u;
                }
                let mean = weighted_sum(&squares, &col_gains) / n_live.max(1) as f64;
                *log = 0.5 * mean.log2();
                if mean > 0.0 {
                    let gain = mean.recip();
                    for (sum, square) in sums.iter_mut().zip(&squares) {
                        *sum += square * gain;
                    }
                }
            }
            let cols = col_logs.iter_mut().zip(&mut col_gains);
            for (((log, gain), sum), &n_live) in cols.zip(&sums).zip(&self.live_in_cols) {
                let mean = sum / n_live.max(1) as f64;
                *log = 0.5 * mean.log2();
                if mean > 0.0 {
                    *gain = mean.recip();
                }
            }
        }
        (row_logs, col_logs)
    }
}

/// `Σ a_j b_j` in eight sums side by side, which vectors and pipelines like.
fn weighted_sum(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_tail) = a.as_chunks::<8>();
    let (b, b_tail) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let tail: f64 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + tail
}

fn indices(logs: impl Iterator<Item = f64>) -> Vec<i8> {
    let logs: Vec<f64> = logs.collect();
    exponents(&logs)
        .into_iter()
        .map(|k| k.clamp(-MAX_SCALE_INDEX, MAX_SCALE_INDEX))
        .collect()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Predicted scale of weight `(i, j)`, in quarter octaves above one step.
    fn bucket(prediction: &ScalePrediction, i: usize, j: usize) -> i16 {
        i16::from(prediction.rows[i]) + i16::from(prediction.cols[j])
    }

    fn unit_steps(rows: usize, cols: usize) -> StepFactors {
        StepFactors {
            rows: vec![0; rows],
            cols: vec![0; cols],
            tensor_log2: 0.0,
        }
    }

    /// Fits weights of known row and column scales and compares every bucket, to one quarter octave.
    #[track_caller]
    fn check(row_octaves: &[f64], col_octaves: &[f64], factors: &StepFactors, delta: f32) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let shape = (row_octaves.len(), col_octaves.len());
        let sigma = |i: usize, j: usize| (row_octaves[i] + col_octaves[j]).exp2();
        let weights = Array2::from_shape_fn(shape, |(i, j)| {
            // Signs of a fixed size: the rms of any lane is known exactly.
            let sign = if rng.random() { 1.0 } else { -1.0 };
            (sign * sigma(i, j)) as f32
        });
        let prediction = ScalePrediction::fit(weights.view(), None, factors, delta).unwrap();
        for i in 0..shape.0 {
            for j in 0..shape.1 {
                let expected = 4.0 * (sigma(i, j) / f64::from(factors.step(i, j, delta))).log2();
                let found = f64::from(bucket(&prediction, i, j));
                assert!(
                    (found - expected).abs() <= 1.01,
                    "({i}, {j}) is {found}, expected {expected}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn separable_scales_are_found(
            row_octaves in prop::collection::vec(-4.0..4.0_f64, 0..9),
            col_octaves in prop::collection::vec(-4.0..4.0_f64, 0..9),
            row_steps in prop::collection::vec(-20..20_i8, 9),
            col_steps in prop::collection::vec(-20..20_i8, 9),
            delta in 0.01..2.0_f32,
        ) {
            let factors = StepFactors {
                rows: row_steps[..row_octaves.len()].to_vec(),
                cols: col_steps[..col_octaves.len()].to_vec(),
                tensor_log2: 0.3,
            };
            check(&row_octaves, &col_octaves, &factors, delta);
        }
    }

    #[test]
    fn lanes_of_zeros_take_no_part() {
        let weights = array![[1.0, 0.0, 4.0], [0.0, 0.0, 0.0], [2.0, 0.0, 8.0]];
        let prediction =
            ScalePrediction::fit(weights.view(), None, &unit_steps(3, 3), 1.0).unwrap();
        let of = |i, j| bucket(&prediction, i, j);
        assert_eq!([of(0, 0), of(0, 2), of(2, 0), of(2, 2)], [0, 8, 4, 12]);
        assert_eq!(prediction.rows[1], -MAX_SCALE_INDEX);
        assert_eq!(prediction.cols[1], -MAX_SCALE_INDEX);
        let zeros = Array2::<f32>::zeros((2, 2));
        let prediction = ScalePrediction::fit(zeros.view(), None, &unit_steps(2, 2), 1.0).unwrap();
        assert_eq!(bucket(&prediction, 0, 0), -2 * i16::from(MAX_SCALE_INDEX));
    }

    /// Half of the weights are gone, and those that are left have the scales that they had.
    #[test]
    fn marked_zeros_take_no_part() {
        let whole = Array2::from_shape_fn((16, 16), |(i, j)| (1 << (i % 3 + j % 2)) as f32);
        let sparse = Array2::from_shape_fn((16, 16), |at| match (at.0 * 5 + at.1 / 2) % 2 {
            0 => whole[at],
            _ => 0.0,
        });
        let fit = |weights: &Array2<f32>, zeros| {
            ScalePrediction::fit(weights.view(), zeros, &unit_steps(16, 16), 1.0).unwrap()
        };
        let zeros = ZeroMask::of(sparse.view());
        assert_eq!(fit(&sparse, Some(&zeros)), fit(&whole, None));
        assert_ne!(fit(&sparse, None), fit(&whole, None));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let fit = |weights: Array2<f32>, delta| {
            ScalePrediction::fit(weights.view(), None, &unit_steps(1, 1), delta)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            fit(array![[1.0, 2.0]], 1.0),
            "number of column steps is 1, expected 2"
        );
        assert_eq!(
            fit(array![[f32::NAN]], 1.0),
            "weight NaN at row 0 of column 0 is not finite"
        );
        assert_eq!(
            fit(array![[1.0]], 0.0),
            "base step is 0, allowed: finite numbers above 0"
        );
    }
}
