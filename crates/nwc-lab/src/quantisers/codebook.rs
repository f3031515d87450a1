//! K-means with a codebook for each matrix, weights weighted by what their errors cost.

use anyhow::Result;
use nwc_chunk::half::f16;
use nwc_chunk::ndarray::{ArrayView2, ArrayViewMut2};
use nwc_compensate::{BlockQuantizer, LayerStatistics, QuantizerError, no_feedback};

use super::Coded;

/// Cells of the histogram that Lloyd's algorithm runs on.
const N_CELLS: usize = 1 << 14;

/// Lloyd's algorithm stops here at the latest; it has mostly come to rest before.
const MAX_ROUNDS: usize = 200;

/// Bits of a codebook entry, an f16.
const ENTRY_BITS: f64 = 16.0;

/// Codes every weight as the nearest of `2^bits` entries that suit the whole matrix.
///
/// The error of weight `(i, j)` counts `E[g_i²] · E[x_j²]`, the diagonal of the Fisher information as its
/// Kronecker factors give it (as SqueezeLLM, arXiv 2306.07629, weights its k-means); what is not known counts 1.
///
/// # Errors
/// Where a weight is not finite.
pub(super) fn code(
    weights: ArrayView2<'_, f32>,
    statistics: &LayerStatistics,
    bits: u32,
) -> Result<Coded> {
    let (rows, cols) = weights.dim();
    let row_importance = statistics.output_fisher.clone();
    let col_importance = statistics.hessian.as_ref().map(|h| h.diagonal());
    let importance = |i: usize, j: usize| {
        let row = row_importance.as_ref().map_or(1.0, |f| f[i]);
        let col = col_importance.as_ref().map_or(1.0, |h| h[j]);
        f64::from(row) * f64::from(col)
    };
    let mut codebook = Codebook::fit(weights, importance, 1 << bits);
    Ok(Coded {
        reconstruction: no_feedback(weights, cols.max(1), &mut codebook)?,
        bits: stored_bits(rows, cols, bits),
    })
}

/// Bits of a whole matrix: the codes and the codebook.
fn stored_bits(rows: usize, cols: usize, bits: u32) -> f64 {
    (rows * cols) as f64 * f64::from(bits) + f64::from(1 << bits) * ENTRY_BITS
}

/// A histogram cell: how much what fell into it counts, and the same times its values.
#[derive(Clone, Copy, Default)]
struct Cell {
    mass: f64,
    moment: f64,
}

/// Rising reconstruction values.
struct Codebook {
    entries: Vec<f32>,
}

impl Codebook {
    /// The codebook that Lloyd's algorithm ends with.
    fn fit(
        weights: ArrayView2<'_, f32>,
        importance: impl Fn(usize, usize) -> f64,
        n_entries: usize,
    ) -> Self {
        let (lo, hi) = weights
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &w| {
                (lo.min(w), hi.max(w))
            });
        if lo > hi {
            return Self {
                entries: vec![0.0; n_entries],
            };
        }
        let width = ((f64::from(hi) - f64::from(lo)) / N_CELLS as f64).max(f64::MIN_POSITIVE);
        let mut cells = vec![Cell::default(); N_CELLS];
        for ((i, j), &w) in weights.indexed_iter() {
            // The largest value falls on the border behind the last cell.
            let idx = ((f64::from(w) - f64::from(lo)) / width) as usize;
            let cell = &mut cells[idx.min(N_CELLS - 1)];
            // Weights that cost nothing still need an entry near them.
            let mass = importance(i, j).max(f64::MIN_POSITIVE);
            cell.mass += mass;
            cell.moment += mass * f64::from(w);
        }
        let mut entries: Vec<f64> = companded_start(&cells, n_entries)
            .into_iter()
            .map(|idx| f64::from(lo) + (idx + 0.5) * width)
            .collect();
        for _ in 0..MAX_ROUNDS {
            if !lloyd_round(&cells, f64::from(lo), width, &mut entries) {
                break;
            }
        }
        let mut entries: Vec<f32> = entries
            .into_iter()
            .map(|entry| f16::from_f64(entry).to_f32())
            .collect();
        entries.sort_by(f32::total_cmp);
        Self { entries }
    }

    fn nearest(&self, x: f32) -> f32 {
        let above = self.entries.partition_point(|&entry| entry < x);
        let near = |idx: usize| self.entries.get(idx).copied();
        match (above.checked_sub(1).and_then(near), near(above)) {
            (Some(below), Some(above)) if x - below <= above - x => below,
            (_, Some(above)) => above,
            (Some(below), None) => below,
            (None, None) => 0.0,
        }
    }
}

/// Cells at which Lloyd's algorithm starts: as dense as the cube root of the mass, the best density at high rates.
fn companded_start(cells: &[Cell], n_entries: usize) -> Vec<f64> {
    let total: f64 = cells.iter().map(|cell| cell.mass.cbrt()).sum();
    let mut starts = Vec::with_capacity(n_entries);
    let mut reached = 0.0;
    for (idx, cell) in cells.iter().enumerate() {
        reached += cell.mass.cbrt();
        while starts.len() < n_entries
            && reached >= total * (starts.len() as f64 + 0.5) / n_entries as f64
        {
            starts.push(idx as f64);
        }
    }
    starts.resize(n_entries, cells.len() as f64 - 1.0);
    starts
}

/// Moves every entry to the mean of what is nearest to it; says whether one has moved.
fn lloyd_round(cells: &[Cell], lo: f64, width: f64, entries: &mut [f64]) -> bool {
    let mut moved = false;
    let mut start = 0;
    for idx in 0..entries.len() {
        let end = match entries.get(idx + 1) {
            // A cell belongs to the entry that its middle is nearest to.
            Some(next) => (((entries[idx] + next) / 2.0 - lo) / width).round() as usize,
            None => cells.len(),
        }
        .clamp(start, cells.len());
        let sum = cells[start..end]
            .iter()
            .fold(Cell::default(), |sum, cell| Cell {
                mass: sum.mass + cell.mass,
                moment: sum.moment + cell.moment,
            });
        start = end;
        if sum.mass > 0.0 {
            let mean = sum.moment / sum.mass;
            moved |= (mean - entries[idx]).abs() > 1e-3 * width;
            entries[idx] = mean;
        }
    }
    moved
}

impl BlockQuantizer for Codebook {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        _cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        reconstruction.zip_mut_with(&target, |slot, &x| *slot = self.nearest(x));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::{Array2, array};
    use nwc_compensate::Hessian;

    use super::*;
    use crate::sample;

    #[test]
    fn two_values_come_back_exactly() {
        let weights = Array2::from_shape_fn(
            (5, 7),
            |(i, j)| if (i * j) % 3 == 1 { 0.375 } else { -1.25 },
        );
        for bits in [1, 3] {
            let coded = code(weights.view(), &LayerStatistics::default(), bits).unwrap();
            assert_eq!(coded.reconstruction, weights);
        }
        let constant = Array2::from_elem((2, 2), 0.5);
        let coded = code(constant.view(), &LayerStatistics::default(), 2).unwrap();
        assert_eq!(coded.reconstruction, constant);
    }

    #[test]
    fn a_gaussian_gets_close_to_lloyd_and_max() {
        let weights = sample::gaussian(128, 512, 3);
        let energy = weights.mapv(|w| f64::from(w).powi(2)).sum();
        // Max 1960, table 1: 8 and 16 levels.
        for (bits, expected) in [(3, 0.034_54), (4, 0.009_497)] {
            let coded = code(weights.view(), &LayerStatistics::default(), bits).unwrap();
            let error = (&coded.reconstruction - &weights)
                .mapv(|e| f64::from(e).powi(2))
                .sum();
            assert!(
                (error / energy / expected - 1.0).abs() < 0.03,
                "{}",
                error / energy
            );
        }
    }

    #[test]
    fn what_costs_more_is_coded_better() {
        let weights = array![[1.0, 2.0], [3.0, 4.0]];
        let statistics = LayerStatistics {
            hessian: Some(Hessian::new(Array2::eye(2).into(), 1).unwrap()),
            output_fisher: Some(vec![1e6, 1e-6]),
            curvature: None,
        };
        // Two entries for four values: the first row's are exact but for the other row's small pull.
        let coded = code(weights.view(), &statistics, 1).unwrap();
        let error = (&coded.reconstruction - &weights).mapv(f32::abs);
        assert!(error[[0, 0]] < 1e-3 && error[[0, 1]] < 1e-3, "{error}");
    }

    #[test]
    fn bits_are_those_of_codes_and_codebook() {
        assert_eq!(stored_bits(3, 5, 4), 60.0 + 256.0);
        let empty = Array2::zeros((0, 4));
        assert_eq!(
            code(empty.view(), &LayerStatistics::default(), 3)
                .unwrap()
                .bits,
            128.0
        );
    }
}
