//! What the decoder knows of a matrix beforehand: its steps and its predicted scales.

use std::sync::Arc;

use nwc_chunk::ZeroMask;

use super::{Error, Result, ScalePrediction, StepFactors};

/// Least and largest step that a matrix may use, in weight units; both far inside normal f32.
const STEP_RANGE: [f64; 2] = [1e-30, 1e30];

/// Steps and predicted scales of a matrix, `[rows, cols]`, as exponents a row and a column.
///
/// The step of weight (i, j) is `tensor_step · 2^((row_step[i] + col_step[j]) / 4)` in weight units,
/// and its predicted standard deviation is `2^((row_rms[i] + col_rms[j]) / 4)` steps.
/// All four exponents are in quarter-octaves.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorScales {
    /// Step at exponent zero, in weight units.
    pub tensor_step: f32,
    /// Step exponent of each row.
    pub row_step: Vec<i8>,
    /// Step exponent of each column.
    pub col_step: Vec<i8>,
    /// Predicted-scale exponent of each row.
    pub row_rms: Vec<i8>,
    /// Predicted-scale exponent of each column.
    pub col_rms: Vec<i8>,
    /// Weights that are exactly zero and have no symbol; none of them where it is `None`. Not part of
    /// [`TensorScales::to_bytes`].
    pub zeros: Option<Arc<ZeroMask>>,
}

/// `2^(exponent / 4)`, the same bits on every machine: four constants and an exact power of two.
///
/// Rounded to f32 it is a column's factor, in the encoder as in the decoder.
pub(super) fn quarter_octave(exponent: i8) -> f64 {
    const FRACTIONS: [f64; 4] = [
        1.0,
        1.189_207_115_002_721_1,
        std::f64::consts::SQRT_2,
        1.681_792_830_507_429,
    ];
    let exponent = i64::from(exponent);
    let fraction = FRACTIONS[exponent.rem_euclid(4) as usize];
    // The exponent is within ±32, so the power of two is a normal number with these bits.
    fraction * f64::from_bits(((1023 + exponent.div_euclid(4)) as u64) << 52)
}

impl TensorScales {
    /// The scales of a matrix whose steps are `factors` at the global step `delta`, `prediction` being fitted to it at
    /// that step ([`ScalePrediction::fit`]).
    ///
    /// Vectors of another matrix are found out by [`TensorScales::validate`].
    pub fn new(factors: &StepFactors, prediction: &ScalePrediction, delta: f32) -> Self {
        Self {
            tensor_step: factors.base_step(delta),
            row_step: factors.rows.clone(),
            col_step: factors.cols.clone(),
            row_rms: prediction.rows.clone(),
            col_rms: prediction.cols.clone(),
            zeros: None,
        }
    }

    /// One step and one predicted scale for all of a `rows × cols` matrix.
    ///
    /// `rms` is the predicted standard deviation, `tensor_step` the step, both in weight units.
    pub fn uniform(rows: usize, cols: usize, tensor_step: f32, rms: f32) -> Self {
        let exponent = 4.0 * (rms / tensor_step).log2();
        // A NaN or infinite quotient (zero matrix, zero step) saturates, which only costs bits.
        let exponent = exponent.round().clamp(-127.0, 127.0) as i8;
        Self {
            tensor_step,
            row_step: vec![0; rows],
            col_step: vec![0; cols],
            row_rms: vec![exponent; rows],
            col_rms: vec![0; cols],
            zeros: None,
        }
    }

    /// The same for a matrix of which these weights are zero.
    #[must_use]
    pub fn with_zeros(self, zeros: Option<Arc<ZeroMask>>) -> Self {
        Self { zeros, ..self }
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.row_step.len()
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.col_step.len()
    }

    /// Checks that the vectors belong to one matrix and that every step is a usable f32.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::Step`].
    pub fn validate(&self) -> Result<()> {
        let pairs = [
            ("predicted scales of rows", self.row_rms.len(), self.rows()),
            (
                "predicted scales of columns",
                self.col_rms.len(),
                self.cols(),
            ),
        ];
        for (what, found, expected) in pairs {
            if found != expected {
                return Err(Error::ShapeMismatch {
                    what,
                    found,
                    expected,
                });
            }
        }
        let extreme = |vector: &[i8], pick: fn(i8, i8) -> i8| {
            f64::from(vector.iter().copied().reduce(pick).unwrap_or(0))
        };
        for pick in [i8::min as fn(i8, i8) -> i8, i8::max] {
            let exponent = extreme(&self.row_step, pick) + extreme(&self.col_step, pick);
            let found = f64::from(self.tensor_step) * (exponent / 4.0).exp2();
            let [min, max] = STEP_RANGE;
            if !(min..=max).contains(&found) {
                return Err(Error::Step { found, min, max });
            }
        }
        Ok(())
    }

    /// Checks the scales and that they are those of a `rows × cols` matrix.
    pub(super) fn validate_for(&self, rows: usize, cols: usize) -> Result<()> {
        let masked = self.zeros.as_deref();
        let pairs = [
            ("number of row steps", self.rows(), rows),
            ("number of column steps", self.cols(), cols),
            (
                "rows of the mask of zeros",
                masked.map_or(rows, ZeroMask::rows),
                rows,
            ),
            (
                "columns of the mask of zeros",
                masked.map_or(cols, ZeroMask::cols),
                cols,
            ),
        ];
        for (what, found, expected) in pairs {
            if found != expected {
                return Err(Error::ShapeMismatch {
                    what,
                    found,
                    expected,
                });
            }
        }
        self.validate()
    }

    /// Row factors of the steps, in weight units.
    pub(super) fn row_factors(&self) -> Vec<f32> {
        let factor = |&exponent: &i8| self.tensor_step * quarter_octave(exponent) as f32;
        self.row_step.iter().map(factor).collect()
    }

    /// Column factors of the steps.
    pub(super) fn col_factors(&self) -> Vec<f32> {
        self.col_step
            .iter()
            .map(|&e| quarter_octave(e) as f32)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarter_octaves_are_powers() {
        for exponent in i8::MIN..=i8::MAX {
            let exact = (f64::from(exponent) / 4.0).exp2();
            let relative = quarter_octave(exponent) / exact - 1.0;
            assert!(relative.abs() < 1e-15, "{exponent}: {relative}");
        }
    }

    /// What format 1 says: four constants in f32 and an exact power of two.
    #[test]
    fn quarter_octaves_in_f32_are_those_of_the_format() {
        const BITS: [u32; 4] = [0x3f80_0000, 0x3f98_37f0, 0x3fb5_04f3, 0x3fd7_44fd];
        for exponent in i8::MIN..=i8::MAX {
            let k = i32::from(exponent);
            let octaves = f32::from_bits(((127 + k.div_euclid(4)) as u32) << 23);
            let expected = f32::from_bits(BITS[k.rem_euclid(4) as usize]) * octaves;
            let found = quarter_octave(exponent) as f32;
            assert_eq!(found.to_bits(), expected.to_bits(), "{exponent}");
        }
    }

    #[test]
    fn scales_are_made_of_steps_and_prediction() {
        let factors = StepFactors {
            rows: vec![3, -5],
            cols: vec![1, 0, -2],
            tensor_log2: 1.5,
        };
        let prediction = ScalePrediction {
            rows: vec![7, 9],
            cols: vec![-1, 0, 4],
        };
        let scales = TensorScales::new(&factors, &prediction, 0.3);
        scales.validate_for(2, 3).unwrap();
        assert_eq!(scales.tensor_step, factors.base_step(0.3));
        assert_eq!(
            (&scales.row_step, &scales.col_step),
            (&factors.rows, &factors.cols)
        );
        assert_eq!(
            (&scales.row_rms, &scales.col_rms),
            (&prediction.rows, &prediction.cols)
        );
        assert_eq!(scales.col_factors(), factors.col_factors());
        for (decoder, encoder) in scales
            .row_factors()
            .iter()
            .zip(factors.row_steps(scales.tensor_step))
        {
            // The encoder's is rounded once, the decoder's twice.
            assert!(
                (decoder / encoder - 1.0).abs() < 2e-7,
                "{decoder} {encoder}"
            );
        }
        let other = ScalePrediction {
            rows: vec![7],
            ..prediction
        };
        assert!(TensorScales::new(&factors, &other, 0.3).validate().is_err());
    }

    #[track_caller]
    fn check(expected: &str, change: impl Fn(&mut TensorScales)) {
        let mut scales = TensorScales::uniform(3, 2, 0.01, 0.1);
        scales.validate_for(3, 2).unwrap();
        change(&mut scales);
        let error = scales.validate_for(3, 2).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn scales_that_no_decoder_can_use_are_refused() {
        check("number of row steps is 2, expected 3", |s| {
            s.row_step = vec![0; 2]
        });
        check("number of column steps is 3", |s| s.col_step = vec![0; 3]);
        check("predicted scales of rows is 1", |s| s.row_rms = vec![0; 1]);
        check("predicted scales of columns is 0", |s| s.col_rms = vec![]);
        check("step sizes reach 0e0", |s| s.tensor_step = 0.0);
        check("step sizes reach NaN", |s| s.tensor_step = f32::NAN);
        check("step sizes reach -", |s| s.tensor_step = -1.0);
        check("step sizes reach", |s| {
            s.tensor_step = 1e29;
            s.row_step[1] = 100;
        });
    }
}
