//! Entropy-coded scalar quantisation: uniform steps, the mean of a cell as its value, the symbols' entropy as rate.

use nwc_chunk::ndarray::{ArrayView2, ArrayViewMut2};
use nwc_compensate::{BlockQuantizer, QuantizerError};
use serde::Serialize;

/// Symbols beyond this are cut to it; at the finest step in use that is 76 standard deviations.
const MAX_SYMBOL: i32 = 4095;

/// One point of a curve of bits over error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Point {
    /// What the quantiser was given: a step, or the bits of a code.
    pub(crate) setting: f64,
    /// Bits a weight.
    pub(crate) bits: f64,
    /// Weighted squared error over weighted energy.
    pub(crate) nmse: f64,
}

/// A row of weights, and how much its squared error counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) weight: f64,
}

/// What falls into each cell of one table of symbols.
#[derive(Debug, Clone)]
struct Cells(Vec<Cell>);

/// What fell into one cell; offsets are from its middle, in steps.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    count: u64,
    offsets: f64,
    weights: f64,
    weighted_offsets: f64,
}

impl Cells {
    fn new() -> Self {
        Self(vec![Cell::default(); 2 * MAX_SYMBOL as usize + 1])
    }

    /// Counts a value and gives its cell's index, its symbol and its offset from the cell's middle.
    fn add(&mut self, in_steps: f32, weight: f64) -> (usize, f32, f64) {
        let symbol = rounded(in_steps.clamp(-MAX_SYMBOL as f32, MAX_SYMBOL as f32));
        let offset = f64::from(in_steps - symbol);
        let idx = (symbol as i32 + MAX_SYMBOL) as usize;
        let cell = &mut self.0[idx];
        cell.count += 1;
        cell.offsets += offset;
        cell.weights += weight;
        cell.weighted_offsets += weight * offset;
        (idx, symbol, offset)
    }

    /// Empirical entropy of the symbols, bits each; 0 for none.
    fn entropy(&self) -> f64 {
        let n: u64 = self.0.iter().map(|cell| cell.count).sum();
        let counts = self.0.iter().map(|cell| cell.count).filter(|&n| n > 0);
        let shares = counts.map(|count| count as f64 / n as f64);
        shares.map(|p| -p * p.log2()).sum()
    }
}

impl Cell {
    /// The mean of what fell in, in steps from the middle.
    fn centroid(&self) -> f64 {
        match self.count {
            0 => 0.0,
            count => self.offsets / count as f64,
        }
    }
}

/// Fed row by row, keeps sums only: so a model of any size is measured in one pass.
#[derive(Debug, Clone)]
pub(crate) struct EcsqSums {
    step: f32,
    cells: Cells,
    /// Σ weight · (offset from the middle of the cell)², in steps².
    weighted_squares: f64,
    /// Σ weight · energy: what nMSE is relative to.
    weighted_energy: f64,
}

impl EcsqSums {
    pub(crate) fn new(step: f32) -> Self {
        Self {
            step,
            cells: Cells::new(),
            weighted_squares: 0.0,
            weighted_energy: 0.0,
        }
    }

    pub(crate) fn add(&mut self, row: Row<'_>) {
        let per_step = 1.0 / self.step;
        let (mut squares, mut energy) = (0.0, 0.0);
        for &w in row.values {
            let (_, _, offset) = self.cells.add(w * per_step, row.weight);
            squares += offset * offset;
            energy += f64::from(w) * f64::from(w);
        }
        self.weighted_squares += row.weight * squares;
        self.weighted_energy += row.weight * energy;
    }

    /// The entropy under one table, and the error with every cell at its mean.
    pub(crate) fn point(&self) -> Point {
        let mut squares = self.weighted_squares;
        for cell in &self.cells.0 {
            // Σ weight (offset − centroid)², multiplied out.
            let centroid = cell.centroid();
            squares += centroid * (centroid * cell.weights - 2.0 * cell.weighted_offsets);
        }
        let step = f64::from(self.step);
        Point {
            setting: step,
            bits: self.cells.entropy(),
            nmse: ratio(step * step * squares, self.weighted_energy),
        }
    }
}

/// Quantises block by block, as feedback wants it, row `i` with its own step.
#[derive(Debug, Clone)]
pub(crate) struct Ecsq {
    row_steps: Vec<f32>,
    cells: Cells,
    /// Offset from the middle that each cell is reconstructed at; empty for the middle.
    centroids: Vec<f32>,
}

impl Ecsq {
    /// Reconstructs in the middle of each cell.
    pub(crate) fn new(row_steps: Vec<f32>) -> Self {
        Self {
            row_steps,
            cells: Cells::new(),
            centroids: Vec::new(),
        }
    }

    /// The same steps with nothing counted, each cell reconstructed at the mean of what fell into it here.
    pub(crate) fn with_centroids(self) -> Self {
        let centroids = self.cells.0.iter().map(|cell| cell.centroid() as f32);
        Self {
            centroids: centroids.collect(),
            ..Self::new(self.row_steps)
        }
    }

    /// Empirical entropy of all symbols so far, bits a weight.
    pub(crate) fn entropy(&self) -> f64 {
        self.cells.entropy()
    }
}

impl BlockQuantizer for Ecsq {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        _cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        for (col, mut out) in target
            .columns()
            .into_iter()
            .zip(reconstruction.columns_mut())
        {
            for ((slot, &t), &step) in out.iter_mut().zip(col).zip(&self.row_steps) {
                let (idx, symbol, _) = self.cells.add(t / step, 1.0);
                let offset = self.centroids.get(idx).copied().unwrap_or(0.0);
                *slot = (symbol + offset) * step;
            }
        }
        Ok(())
    }
}

/// `x` rounded to a whole number, ties to even; for |x| below 2^22.
fn rounded(x: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0; // 1.5 · 2^23: adding it leaves no room for a fraction
    (x + WHOLE) - WHOLE
}

pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::{Array2, array};
    use nwc_compensate::no_feedback;

    use super::*;
    use crate::sample;

    /// Bits and mean squared error of a standard Gaussian, both ways.
    #[track_caller]
    fn check(step: f32, expected_bits: f64, expected_mse: f64) {
        let weights = sample::gaussian(512, 1024, 5);
        let (rows, cols) = weights.dim();
        let mut first = Ecsq::new(vec![step; rows]);
        no_feedback(weights.view(), 64, &mut first).unwrap();
        let mut second = first.with_centroids();
        let decoded = no_feedback(weights.view(), 64, &mut second).unwrap();
        let squares = (&decoded - &weights).mapv(|e| f64::from(e).powi(2));
        let mse = squares.sum() / (rows * cols) as f64;
        assert!((second.entropy() - expected_bits).abs() < 0.005);
        assert!((mse / expected_mse - 1.0).abs() < 0.005, "{mse}");

        let mut sums = EcsqSums::new(step);
        for row in weights.rows() {
            let values = row.as_slice().unwrap();
            sums.add(Row {
                values,
                weight: 1.0,
            });
        }
        let point = sums.point();
        // Rounding at a border may differ by one weight: division there, multiplication here.
        assert!((point.bits - second.entropy()).abs() < 1e-4, "{point:?}");
        let energy = weights.mapv(|w| f64::from(w).powi(2)).sum();
        let nmse = squares.sum() / energy;
        assert!((point.nmse / nmse - 1.0).abs() < 1e-4, "{point:?} {nmse}");
    }

    #[test]
    fn a_gaussian_costs_what_theory_says() {
        check(1.0824, 2.0, 0.088941);
        check(0.5224, 3.0, 0.022239);
        check(0.1292, 5.0, 0.0013899);
    }

    #[test]
    fn each_row_has_its_step_and_each_cell_its_mean() {
        let weights = array![[1.4_f32, 3.2], [1.4, 0.6]];
        let mut first = Ecsq::new(vec![1.0, 0.5]);
        let decoded = no_feedback(weights.view(), 1, &mut first).unwrap();
        assert_eq!(decoded, array![[1.0, 3.0], [1.5, 0.5]]);
        // Symbols 1, 3 in the first row, 3, 1 in the second.
        assert_eq!(first.entropy(), 1.0);
        let mut second = first.with_centroids();
        let decoded = no_feedback(weights.view(), 2, &mut second).unwrap();
        assert_eq!(second.entropy(), 1.0);
        // Offsets 0.4 and 0.2 in cell 1, 0.2 and −0.2 in cell 3.
        assert!((decoded[[0, 0]] - 1.3).abs() < 1e-6 && (decoded[[0, 1]] - 3.0).abs() < 1e-6);
    }

    #[test]
    fn rows_of_one_value_and_of_none_are_fine() {
        for values in [&[][..], &[0.0; 5], &[0.25; 5], &[1e9, -1e9]] {
            let mut sums = EcsqSums::new(0.5);
            sums.add(Row {
                values,
                weight: 1.0,
            });
            let point = sums.point();
            assert!(
                point.nmse.is_finite() && point.bits.is_finite(),
                "{point:?}"
            );
        }
        let mut empty = Ecsq::new(Vec::new());
        no_feedback(Array2::zeros((0, 0)).view(), 1, &mut empty).unwrap();
        assert_eq!(empty.entropy(), 0.0);
    }
}
