//! Chunks of the weights that are not zero.

use std::ops::Range;
use std::sync::Arc;

use half::f16;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2};

use crate::layout::MAX_CHUNK_LEN;
use crate::scale::to_positive_f16;
use crate::{Error, QualityLevel, Result, ZeroMask};

/// How the weights of a matrix `[rows, cols]` that are not zero are cut into chunks.
///
/// The kept weights of a column, top to bottom, make its chunks, the last of which is filled up with zeros.
/// Chunks are numbered column by column.
#[derive(Debug, Clone)]
pub struct KeptChunks {
    mask: Arc<ZeroMask>,
    chunk_len: usize,
    /// First chunk of each column, and the number of chunks.
    starts: Vec<usize>,
}

impl KeptChunks {
    /// Chunks of `chunk_len` weights; with `is_even` every column has as many as the one that has most.
    ///
    /// # Errors
    /// [`Error::ChunkLength`] where `chunk_len` is 0 or above [`MAX_CHUNK_LEN`].
    pub fn new(mask: Arc<ZeroMask>, chunk_len: usize, is_even: bool) -> Result<Self> {
        if !(1..=MAX_CHUNK_LEN).contains(&chunk_len) {
            return Err(Error::ChunkLength {
                found: chunk_len,
                max: MAX_CHUNK_LEN,
            });
        }
        let mut counts = mask.kept_in_cols();
        for n in &mut counts {
            *n = n.div_ceil(chunk_len);
        }
        if is_even {
            let most = counts.iter().copied().max().unwrap_or(0);
            counts.fill(most);
        }
        let mut starts = Vec::with_capacity(counts.len() + 1);
        let mut n_chunks = 0;
        starts.push(n_chunks);
        for n in counts {
            n_chunks += n;
            starts.push(n_chunks);
        }
        Ok(Self {
            mask,
            chunk_len,
            starts,
        })
    }

    /// Chunks of all columns.
    pub fn n_chunks(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The chunks of column `col`, which must be one of the matrix.
    pub fn of_column(&self, col: usize) -> Range<usize> {
        self.starts[col]..self.starts[col + 1]
    }

    /// Cuts the columns `cols` of the matrix, which are those of `weights`, into chunks `[their chunks, chunk_len]`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where `weights` is not `[rows, cols.len()]`.
    pub fn gather(&self, weights: ArrayView2<'_, f32>, cols: &[usize]) -> Result<Array2<f32>> {
        self.check(weights.dim(), cols)?;
        let n_chunks = cols.iter().map(|&col| self.of_column(col).len()).sum();
        let mut chunks = Array2::zeros((n_chunks, self.chunk_len));
        let mut first = 0;
        for (column, &col) in weights.columns().into_iter().zip(cols) {
            for (k, row) in self.mask.kept_rows(col).enumerate() {
                chunks[[first + k / self.chunk_len, k % self.chunk_len]] = column[row];
            }
            first += self.of_column(col).len();
        }
        Ok(chunks)
    }

    /// Puts `chunks` of the columns `cols` together in `weights`, which has these columns only: zeros stay as they are.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where `weights` is not `[rows, cols.len()]`, or there are other chunks.
    pub fn scatter(
        &self,
        chunks: ArrayView2<'_, f32>,
        cols: &[usize],
        mut weights: ArrayViewMut2<'_, f32>,
    ) -> Result<()> {
        self.check(weights.dim(), cols)?;
        let n_chunks = cols.iter().map(|&col| self.of_column(col).len()).sum();
        if chunks.dim() != (n_chunks, self.chunk_len) {
            return Err(Error::ShapeMismatch {
                what: "chunks",
                found: chunks.dim(),
                expected: (n_chunks, self.chunk_len),
            });
        }
        let mut first = 0;
        for (mut column, &col) in weights.columns_mut().into_iter().zip(cols) {
            for (k, row) in self.mask.kept_rows(col).enumerate() {
                column[row] = chunks[[first + k / self.chunk_len, k % self.chunk_len]];
            }
            first += self.of_column(col).len();
        }
        Ok(())
    }

    /// Repeats the level of each of the columns `cols` for each of its chunks.
    pub fn chunk_levels(&self, levels: &[QualityLevel], cols: &[usize]) -> Vec<QualityLevel> {
        let of_column = |&col: &usize| std::iter::repeat_n(levels[col], self.of_column(col).len());
        cols.iter().flat_map(of_column).collect()
    }

    fn check(&self, found: (usize, usize), cols: &[usize]) -> Result<()> {
        let expected = (self.mask.rows(), cols.len());
        let is_inside = cols.iter().all(|&col| col < self.mask.cols());
        if found == expected && is_inside {
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            what: "weights",
            found,
            expected,
        })
    }
}

/// The root mean square of the weights of each row that are not zero, rounded to f16: `[rows]`.
///
/// A row without such weights, and one with a NaN or an infinity, has 1; a scale is finite and positive.
pub fn kept_row_scales(weights: ArrayView2<'_, f32>) -> Array1<f16> {
    let scale = |row: ndarray::ArrayView1<'_, f32>| {
        let n_kept = row.iter().filter(|&&w| w != 0.0).count();
        let energy: f64 = row.iter().map(|&w| f64::from(w).powi(2)).sum();
        let rms = (energy / n_kept as f64).sqrt();
        to_positive_f16(if rms.is_finite() && rms > 0.0 {
            rms
        } else {
            1.0
        })
    };
    weights.rows().into_iter().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn chunks(is_even: bool) -> (Array2<f32>, KeptChunks) {
        let weights = array![[1.0, 0.0, 7.0], [2.0, 0.0, 0.0], [3.0, 0.0, 8.0]];
        let mask = Arc::new(ZeroMask::of(weights.view()));
        (weights, KeptChunks::new(mask, 2, is_even).unwrap())
    }

    #[test]
    fn columns_are_cut_where_they_are_not_zero() {
        let (weights, layout) = chunks(false);
        let all = layout.gather(weights.view(), &[0, 1, 2]).unwrap();
        assert_eq!(all, array![[1.0, 2.0], [3.0, 0.0], [7.0, 8.0]]);
        assert_eq!(layout.n_chunks(), 3);
        let mut restored = Array2::zeros((3, 3));
        layout
            .scatter(all.view(), &[0, 1, 2], restored.view_mut())
            .unwrap();
        assert_eq!(restored, weights);
        let levels = [3, 4, 5].map(QualityLevel);
        let some = layout.chunk_levels(&levels, &[2, 0]);
        assert_eq!(some, [5, 3, 3].map(QualityLevel));
        let last = weights.select(ndarray::Axis(1), &[2]);
        assert_eq!(
            layout.gather(last.view(), &[2]).unwrap(),
            array![[7.0, 8.0]]
        );
    }

    #[test]
    fn columns_can_be_made_even() {
        let (weights, layout) = chunks(true);
        let all = layout.gather(weights.view(), &[0, 1, 2]).unwrap();
        let zeros = [0.0, 0.0];
        assert_eq!(
            all,
            array![[1.0, 2.0], [3.0, 0.0], zeros, zeros, [7.0, 8.0], zeros]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (weights, layout) = chunks(false);
        assert!(layout.gather(weights.view(), &[0, 1]).is_err());
        assert!(layout.gather(weights.view(), &[0, 1, 3]).is_err());
        let wrong = Array2::zeros((2, 2));
        let mut restored = Array2::zeros((3, 3));
        assert!(
            layout
                .scatter(wrong.view(), &[0, 1, 2], restored.view_mut())
                .is_err()
        );
        let mask = Arc::new(ZeroMask::none(1, 1));
        assert!(KeptChunks::new(mask, 0, false).is_err());
    }

    #[test]
    fn scales_are_those_of_what_is_kept() {
        let weights = array![
            [3.0, 0.0, -3.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, f32::NAN, 0.0, 1.0]
        ];
        let scales = kept_row_scales(weights.view());
        assert_eq!(scales.mapv(f16::to_f32), array![3.0, 1.0, 1.0]);
    }
}
