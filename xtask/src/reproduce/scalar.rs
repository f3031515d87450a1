//! Two scalar quantisers, fed row by row, that keep sums only: so a model of any size is measured in one pass.

use half::f16;

use super::reference::Point;

/// Symbols beyond this are cut to it; at the finest step that is 76 standard deviations.
const MAX_SYMBOL: i32 = 4095;

/// A row of weights, and how much its squared error counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) values: &'a [f32],
    pub(super) weight: f64,
}

/// Entropy-coded scalar quantiser: uniform steps, the centroid of each cell as its value, one table for everything.
#[derive(Debug, Clone)]
pub(super) struct Ecsq {
    step: f32,
    cells: Vec<Cell>,
    /// Σ weight · (offset from the middle of the cell)², in steps².
    weighted_squares: f64,
    n_weights: u64,
    /// Σ weight · energy: what nMSE is relative to.
    weighted_energy: f64,
}

/// What fell into one cell; offsets are from its middle, in steps.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    count: u64,
    offsets: f64,
    weights: f64,
    weighted_offsets: f64,
}

impl Ecsq {
    pub(super) fn new(step: f32) -> Self {
        Self {
            step,
            cells: vec![Cell::default(); 2 * MAX_SYMBOL as usize + 1],
            weighted_squares: 0.0,
            n_weights: 0,
            weighted_energy: 0.0,
        }
    }

    pub(super) fn add(&mut self, row: Row<'_>) {
        let per_step = 1.0 / self.step;
        let (mut squares, mut energy) = (0.0, 0.0);
        for &w in row.values {
            let in_steps = w * per_step;
            let symbol = rounded(in_steps.clamp(-MAX_SYMBOL as f32, MAX_SYMBOL as f32));
            let offset = f64::from(in_steps - symbol);
            squares += offset * offset;
            energy += f64::from(w) * f64::from(w);
            let cell = &mut self.cells[(symbol as i32 + MAX_SYMBOL) as usize];
            cell.count += 1;
            cell.offsets += offset;
            cell.weights += row.weight;
            cell.weighted_offsets += row.weight * offset;
        }
        self.weighted_squares += row.weight * squares;
        self.weighted_energy += row.weight * energy;
        self.n_weights += row.values.len() as u64;
    }

    pub(super) fn point(&self) -> Point {
        let n = self.n_weights as f64;
        let mut bits = 0.0;
        let mut squares = self.weighted_squares;
        for cell in self.cells.iter().filter(|cell| cell.count > 0) {
            let p = cell.count as f64 / n;
            bits -= p * p.log2();
            // Σ weight (offset − centroid)², multiplied out.
            let centroid = cell.offsets / cell.count as f64;
            squares += centroid * (centroid * cell.weights - 2.0 * cell.weighted_offsets);
        }
        let step = f64::from(self.step);
        Point {
            setting: step,
            bits,
            nmse: ratio(step * step * squares, self.weighted_energy),
        }
    }
}

/// `x` rounded to a whole number, ties to even; for |x| below 2^22.
fn rounded(x: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0; // 1.5 · 2^23: adding it leaves no room for a fraction
    (x + WHOLE) - WHOLE
}

/// Round to nearest on a grid from a row's least to its greatest weight; the ends are stored as two f16.
#[derive(Debug, Clone)]
pub(super) struct RoundToNearest {
    index_bits: u32,
    weighted_errors: f64,
    weighted_energy: f64,
    n_weights: u64,
    stored_bytes: u64,
}

impl RoundToNearest {
    pub(super) fn new(index_bits: u32) -> Self {
        Self {
            index_bits,
            weighted_errors: 0.0,
            weighted_energy: 0.0,
            n_weights: 0,
            stored_bytes: 0,
        }
    }

    pub(super) fn add(&mut self, row: Row<'_>) {
        let (low, high) = row
            .values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &w| {
                (low.min(w), high.max(w))
            });
        let max_index = ((1_u32 << self.index_bits) - 1) as f32;
        let low = f16::from_f32(low).to_f32();
        let step = f16::from_f32((high - low) / max_index).to_f32();
        let (mut errors, mut energy) = (0.0, 0.0);
        for &w in row.values {
            let index = if step > 0.0 {
                rounded(((w - low) / step).clamp(0.0, max_index))
            } else {
                0.0
            };
            let error = f64::from(w - (low + index * step));
            errors += error * error;
            energy += f64::from(w) * f64::from(w);
        }
        self.weighted_errors += row.weight * errors;
        self.weighted_energy += row.weight * energy;
        let n = row.values.len() as u64;
        self.n_weights += n;
        self.stored_bytes += (n * u64::from(self.index_bits)).div_ceil(8) + 4;
    }

    pub(super) fn point(&self) -> Point {
        Point {
            setting: f64::from(self.index_bits),
            bits: ratio(self.stored_bytes as f64 * 8.0, self.n_weights as f64),
            nmse: ratio(self.weighted_errors, self.weighted_energy),
        }
    }
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use nwc::ndarray::Array2;
    use nwc_compensate::{EntropyScalar, no_feedback};

    use super::*;

    /// A skewed sample without a random generator: sums of fractional parts, near Gaussian.
    fn sample(rows: usize, cols: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, cols), |(i, j)| {
            let n = (i * cols + j) as f64;
            let parts = [0.618_033_988, 0.414_213_562, 0.732_050_807, 0.236_067_977];
            parts.iter().map(|p| (n * p).fract() - 0.47).sum::<f64>() as f32 * 1.7
        })
    }

    fn add_all(weights: &Array2<f32>, mut add: impl FnMut(Row<'_>)) {
        for row in weights.rows() {
            let values = row.to_vec();
            let energy: f64 = values.iter().map(|&w| f64::from(w).powi(2)).sum();
            add(Row {
                values: &values,
                weight: weights.ncols() as f64 / energy,
            });
        }
    }

    fn nmse_over_rows(weights: &Array2<f32>, decoded: &Array2<f32>) -> f64 {
        let pairs = weights.rows().into_iter().zip(decoded.rows());
        let sum: f64 = pairs
            .map(|(w, d)| {
                let error: f64 = w.iter().zip(d).map(|(w, d)| f64::from(w - d).powi(2)).sum();
                error / w.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>()
            })
            .sum();
        sum / weights.nrows() as f64
    }

    #[test]
    fn sums_agree_with_the_column_block_quantiser() {
        let weights = sample(64, 96);
        let (rows, cols) = weights.dim();
        for step in [1.0, 0.3, 0.05] {
            let mut first = EntropyScalar::new(vec![step; rows], cols).unwrap();
            no_feedback(weights.view(), cols, &mut first).unwrap();
            let centroids = first.centroids();
            let mut second = first.clone().with_centroids(centroids);
            let decoded = no_feedback(weights.view(), cols, &mut second).unwrap();
            let mut ours = Ecsq::new(step);
            add_all(&weights, |row| ours.add(row));
            let point = ours.point();
            let nmse = nmse_over_rows(&weights, &decoded);
            // Rounding at a border may differ by one weight: division there, multiplication here.
            assert!((point.bits - second.entropy()).abs() < 2e-3, "{point:?}");
            assert!((point.nmse / nmse - 1.0).abs() < 2e-3, "{point:?} {nmse}");
        }
    }

    #[test]
    fn rounding_costs_what_is_stored_and_falls_by_6_decibels_a_bit() {
        let weights = sample(32, 576);
        let points: Vec<Point> = [4, 5]
            .map(|bits| {
                let mut quantizer = RoundToNearest::new(bits);
                add_all(&weights, |row| quantizer.add(row));
                quantizer.point()
            })
            .into();
        assert!((points[0].bits - (4.0 + 32.0 / 576.0)).abs() < 1e-9);
        let fall = points[0].nmse / points[1].nmse;
        assert!((3.5..5.0).contains(&fall), "{points:?}");
    }

    #[test]
    fn rows_of_one_value_and_of_none_are_fine() {
        for values in [&[][..], &[0.0; 5], &[0.25; 5], &[1e9, -1e9]] {
            let row = Row {
                values,
                weight: 1.0,
            };
            let (mut ecsq, mut rounded) = (Ecsq::new(0.5), RoundToNearest::new(3));
            ecsq.add(row);
            rounded.add(row);
            assert!(ecsq.point().nmse.is_finite() && rounded.point().bits.is_finite());
        }
    }
}
