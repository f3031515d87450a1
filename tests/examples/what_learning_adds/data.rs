//! What the trellis sees: weights over their steps, error feedback included, and their predicted scales.

use std::path::Path;

use nwc::Statistics;
use nwc_chunk::ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use nwc_codec::trellis::{
    FitSample, ScalePrediction, StepFactors, TensorScales, TrellisCodec, TrellisConfig,
    TrellisQuantizer, encode, ideal_bits,
};
use nwc_compensate::{BlockQuantizer, LdlFactor, PAPER_DAMPING, QuantizerError, ldlq};

use crate::Result;

/// Transformer blocks that everything is fitted to.
pub(crate) const FITTED_BLOCKS: [usize; 2] = [8, 20];
/// Transformer blocks that everything is measured on.
pub(crate) const MEASURED_BLOCKS: [usize; 3] = [3, 14, 25];
/// Every so manieth column is looked at in the search for a step.
const COLUMN_STRIDE: usize = 4;
/// Bits a weight that steps and predicted scales cost on this model, counted in the rates asked for.
const SIDE_BITS: f64 = 0.03;

/// A linear layer with what its coding needs.
pub(crate) struct Layer {
    /// `q_proj` and so on.
    pub(crate) kind: String,
    /// `[out, in]`.
    pub(crate) weights: Array2<f32>,
    factors: StepFactors,
    factor: LdlFactor,
}

/// Layers to fit to and layers to measure on.
pub(crate) struct Layers {
    pub(crate) fitted: Vec<Layer>,
    pub(crate) measured: Vec<Layer>,
}

/// A matrix as the trellis sees it, column after column.
pub(crate) struct Matrix {
    pub(crate) kind: String,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Targets over their steps, `[cols][rows]`.
    pub(crate) values: Vec<f32>,
    /// Predicted-scale exponents, quarter-octaves of a step.
    pub(crate) row_rms: Vec<i8>,
    pub(crate) col_rms: Vec<i8>,
}

impl Matrix {
    /// Predicted scale of (row, col) in quarter-octaves of a step.
    pub(crate) fn exponent(&self, row: usize, col: usize) -> i32 {
        i32::from(self.row_rms[row]) + i32::from(self.col_rms[col])
    }

    /// Predicted deviation of (row, col) in steps.
    pub(crate) fn sigma(&self, row: usize, col: usize) -> f32 {
        (self.exponent(row, col) as f32 / 4.0).exp2()
    }

    pub(crate) fn column(&self, col: usize) -> &[f32] {
        &self.values[col * self.rows..][..self.rows]
    }
}

/// Both sets at one rate, and the codec of the product for it.
pub(crate) struct Targets {
    pub(crate) fitted: Vec<Matrix>,
    pub(crate) measured: Vec<Matrix>,
    /// Bits a weight of the product's substreams on `measured`, and under its tables without coder.
    pub(crate) product_bits: f64,
    pub(crate) product_ideal_bits: f64,
    /// Mean squared error of the product on `measured`, in squared steps.
    pub(crate) product_error: f64,
    pub(crate) delta: f64,
}

impl Layers {
    /// Reads the layers of both sets with their statistics.
    pub(crate) fn read(model: &Path, statistics: &Path) -> Result<Self> {
        let statistics = Statistics::open(statistics)?;
        let mut layers = Self {
            fitted: Vec::new(),
            measured: Vec::new(),
        };
        let mut failure = None;
        nwc::for_each_linear(model, false, |name, weights| {
            let parts: Vec<&str> = name.split('.').collect();
            let block = parts.iter().find_map(|part| part.parse::<usize>().ok());
            let set = match block {
                Some(b) if FITTED_BLOCKS.contains(&b) => &mut layers.fitted,
                Some(b) if MEASURED_BLOCKS.contains(&b) => &mut layers.measured,
                _ => return Ok(()),
            };
            let kind = parts[parts.len().saturating_sub(2)];
            match Layer::new(kind, name, weights, &statistics) {
                Ok(layer) => set.push(layer),
                Err(error) => failure = Some(error),
            }
            Ok(())
        })?;
        match failure {
            Some(error) => Err(error),
            None => Ok(layers),
        }
    }

    /// The step at which the product's trellis takes `bits` a weight, and all targets at it.
    pub(crate) fn targets(&self, bits: f64) -> Result<Targets> {
        let mut log2_delta = -8.0_f64;
        let mut codec = self.fit(log2_delta.exp2())?;
        for _ in 0..6 {
            let found = self.bits_without_feedback(&codec, log2_delta.exp2())? + SIDE_BITS;
            log2_delta += (found - bits).clamp(-4.0, 4.0);
            codec = self.fit(log2_delta.exp2())?;
        }
        let delta = log2_delta.exp2();
        let mut n_bytes = 0;
        let mut ideal = 0.0;
        let mut squares = 0.0;
        let mut n_weights = 0;
        let fitted = self.fitted.iter().map(|l| Ok(l.recorded(&codec, delta)?.0));
        let fitted = fitted.collect::<Result<Vec<_>>>()?;
        let mut measured = Vec::new();
        for layer in &self.measured {
            let (matrix, coded) = layer.recorded(&codec, delta)?;
            n_bytes += coded.n_bytes;
            ideal += coded.ideal_bits;
            squares += coded.squares;
            n_weights += matrix.values.len();
            measured.push(matrix);
        }
        let n = n_weights as f64;
        Ok(Targets {
            fitted,
            measured,
            product_bits: n_bytes as f64 * 8.0 / n,
            product_ideal_bits: ideal / n,
            product_error: squares / n,
            delta,
        })
    }

    fn fit(&self, delta: f64) -> Result<TrellisCodec> {
        let scales = self.fitted.iter().map(|l| l.scales(delta));
        let scales = scales.collect::<Result<Vec<_>>>()?;
        let columns: Vec<Vec<usize>> = self
            .fitted
            .iter()
            .map(|l| (0..l.weights.ncols()).step_by(COLUMN_STRIDE).collect())
            .collect();
        let parts = self.fitted.iter().zip(&scales).zip(&columns);
        let samples: Vec<FitSample<'_>> = parts
            .map(|((layer, scales), columns)| FitSample {
                weights: layer.weights.view(),
                scales,
                columns,
            })
            .collect();
        Ok(TrellisCodec::fit(TrellisConfig::wide(8), &samples)?)
    }

    fn bits_without_feedback(&self, codec: &TrellisCodec, delta: f64) -> Result<f64> {
        let mut bits = 0.0;
        let mut n = 0;
        for layer in &self.fitted {
            let mut scales = layer.scales(delta)?;
            let columns: Vec<usize> = (0..layer.weights.ncols()).step_by(COLUMN_STRIDE).collect();
            let pick = |exponents: &[i8]| columns.iter().map(|&c| exponents[c]).collect();
            scales.col_step = pick(&scales.col_step);
            scales.col_rms = pick(&scales.col_rms);
            let rows = layer.weights.nrows();
            let mut quantizer = TrellisQuantizer::new(codec, &scales, rows, columns.len())?;
            let mut decoded = vec![0.0; rows];
            for (idx, &col) in columns.iter().enumerate() {
                let target = layer.weights.column(col).to_vec();
                quantizer.quantize_column(idx, &target, &mut decoded)?;
            }
            bits += ideal_bits(codec, &scales, &quantizer.finish()?)?;
            n += rows * columns.len();
        }
        Ok(bits / n.max(1) as f64)
    }
}

/// What the product makes of one layer.
struct Coded {
    n_bytes: usize,
    ideal_bits: f64,
    squares: f64,
}

impl Layer {
    fn new(kind: &str, name: &str, weights: Array2<f32>, statistics: &Statistics) -> Result<Self> {
        let (rows, cols) = weights.dim();
        let layer = statistics.layer(name, rows, cols)?;
        let hessian = layer.as_ref().and_then(|l| l.hessian.as_ref());
        let hessian = hessian.ok_or_else(|| format!("{name} has no Hessian"))?;
        let fisher = layer.as_ref().and_then(|l| l.output_fisher.as_deref());
        let factor = LdlFactor::new(hessian, PAPER_DAMPING)?;
        let d = factor.d_in_hessian_units();
        let allocation = StepFactors::allocate(weights.view(), Some(&d), fisher)?;
        if !allocation.basis.is_kl() {
            return Err(format!("{name} has no output Fisher").into());
        }
        Ok(Self {
            kind: kind.into(),
            weights,
            factors: allocation.factors,
            factor,
        })
    }

    fn scales(&self, delta: f64) -> Result<TensorScales> {
        let delta = delta as f32;
        let prediction = ScalePrediction::fit(self.weights.view(), &self.factors, delta)?;
        Ok(TensorScales {
            tensor_step: self.factors.base_step(delta),
            row_step: self.factors.rows.clone(),
            col_step: self.factors.cols.clone(),
            row_rms: prediction.rows,
            col_rms: prediction.cols,
        })
    }

    /// Codes the layer as the product does and keeps the targets of its quantiser.
    fn recorded(&self, codec: &TrellisCodec, delta: f64) -> Result<(Matrix, Coded)> {
        let (rows, cols) = self.weights.dim();
        let scales = self.scales(delta)?;
        let mut recorder = Recorder {
            quantizer: TrellisQuantizer::new(codec, &scales, rows, cols)?,
            row_steps: self.factors.row_steps(scales.tensor_step),
            col_factors: self.factors.col_factors(),
            values: vec![0.0; rows * cols],
            squares: 0.0,
        };
        ldlq(self.weights.view(), &self.factor, 1, &mut recorder)?;
        let symbols = recorder.quantizer.finish()?;
        let substreams = encode(codec, &scales, &symbols, nwc_chunk::Parallelism::Rayon)?;
        let coded = Coded {
            n_bytes: substreams.iter().map(Vec::len).sum(),
            ideal_bits: ideal_bits(codec, &scales, &symbols)?,
            squares: recorder.squares,
        };
        let matrix = Matrix {
            kind: self.kind.clone(),
            rows,
            cols,
            values: recorder.values,
            row_rms: scales.row_rms,
            col_rms: scales.col_rms,
        };
        Ok((matrix, coded))
    }
}

/// The product's quantiser, with its targets kept.
struct Recorder<'a> {
    quantizer: TrellisQuantizer<'a>,
    row_steps: Vec<f32>,
    col_factors: Vec<f32>,
    values: Vec<f32>,
    squares: f64,
}

impl BlockQuantizer for Recorder<'_> {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> std::result::Result<(), QuantizerError> {
        let rows = target.nrows();
        let mut decoded = vec![0.0; rows];
        for (offset, &col) in cols.iter().enumerate() {
            let column = target.index_axis(Axis(1), offset).to_vec();
            self.quantizer.quantize_column(col, &column, &mut decoded)?;
            let values = &mut self.values[col * rows..][..rows];
            for (row, value) in values.iter_mut().enumerate() {
                let step = self.row_steps[row] * self.col_factors[col];
                *value = column[row] / step;
                self.squares += f64::from((column[row] - decoded[row]) / step).powi(2);
                reconstruction[[row, offset]] = decoded[row];
            }
        }
        Ok(())
    }
}
