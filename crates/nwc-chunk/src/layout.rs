//! Where each weight of a matrix lies in its chunks, and the way back.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Slice};

use crate::{Error, QualityLevel, Result};

/// Longest chunk allowed, in weights; the paper's is 16, a whole column of a small model a few hundred.
pub const MAX_CHUNK_LEN: usize = 4096;

/// Largest buffer of f32 that can be addressed, in weights.
const MAX_ELEMS: usize = isize::MAX as usize / size_of::<f32>();

/// How a matrix `[rows, cols]` is cut into chunks.
///
/// Chunk `c` of column `j` is chunk number `j * n_chunks_per_col() + c` and holds the output rows
/// `c * chunk_len ..` of that column; the last chunk of a column is filled up with zeros.
/// A matrix with no rows has no chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkLayout {
    rows: usize,
    cols: usize,
    /// Invariant: in `1..=MAX_CHUNK_LEN`, and all chunks together are at most `MAX_ELEMS` weights.
    chunk_len: usize,
}

/// # Construction and sizes
impl ChunkLayout {
    /// The layout of a matrix `[rows, cols]` in chunks of `chunk_len` weights.
    ///
    /// # Errors
    /// [`Error::ChunkLength`] where `chunk_len` is 0 or above [`MAX_CHUNK_LEN`];
    /// [`Error::TooLarge`] where the padded matrix could not be addressed.
    pub fn new(rows: usize, cols: usize, chunk_len: usize) -> Result<Self> {
        if !(1..=MAX_CHUNK_LEN).contains(&chunk_len) {
            return Err(Error::ChunkLength {
                found: chunk_len,
                max: MAX_CHUNK_LEN,
            });
        }
        rows.div_ceil(chunk_len)
            .checked_mul(chunk_len)
            .and_then(|padded_rows| padded_rows.checked_mul(cols))
            .filter(|&n_elems| n_elems <= MAX_ELEMS)
            .ok_or(Error::TooLarge {
                rows,
                cols,
                chunk_len,
                max_bytes: isize::MAX as usize,
            })?;
        Ok(Self {
            rows,
            cols,
            chunk_len,
        })
    }

    /// The layout of `cols` columns of the same matrix, for coding it column block by column block.
    ///
    /// # Errors
    /// As [`ChunkLayout::new`], where `cols` is larger than the matrix allows.
    pub fn with_cols(&self, cols: usize) -> Result<Self> {
        Self::new(self.rows, cols, self.chunk_len)
    }

    /// Output features of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Weights in a chunk.
    pub fn chunk_len(&self) -> usize {
        self.chunk_len
    }

    /// Chunks in a column, the padded one included.
    pub fn n_chunks_per_col(&self) -> usize {
        self.rows.div_ceil(self.chunk_len)
    }

    /// Chunks in the matrix.
    pub fn n_chunks(&self) -> usize {
        self.n_chunks_per_col() * self.cols
    }
}

/// # Moving weights
impl ChunkLayout {
    /// Cuts `weights`, `[rows, cols]`, into chunks `[n_chunks, chunk_len]`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where `weights` is not of this layout's shape.
    pub fn gather(&self, weights: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        let mut chunks = Array2::zeros((self.n_chunks(), self.chunk_len));
        self.gather_into(weights, chunks.view_mut())?;
        Ok(chunks)
    }

    /// As [`ChunkLayout::gather`], into a buffer `[n_chunks, chunk_len]` that is overwritten.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where `weights` or `chunks` is not of this layout's shape.
    fn gather_into(
        &self,
        weights: ArrayView2<'_, f32>,
        mut chunks: ArrayViewMut2<'_, f32>,
    ) -> Result<()> {
        self.check("weights", weights.dim(), (self.rows, self.cols))?;
        self.check("chunks", chunks.dim(), (self.n_chunks(), self.chunk_len))?;
        // Row block by row block: a row-major matrix is then read in `chunk_len` sequential streams.
        for chunk_of_col in 0..self.n_chunks_per_col() {
            let block = weights.slice_axis(Axis(0), self.rows_of_chunk(chunk_of_col));
            for (j, col) in block.columns().into_iter().enumerate() {
                let mut chunk = chunks.row_mut(j * self.n_chunks_per_col() + chunk_of_col);
                let n_used = col.len();
                for (slot, &w) in chunk.iter_mut().zip(col) {
                    *slot = w;
                }
                for slot in chunk.iter_mut().skip(n_used) {
                    *slot = 0.0;
                }
            }
        }
        Ok(())
    }

    /// Puts `chunks`, `[n_chunks, chunk_len]`, together in `weights`, `[rows, cols]`, and drops the padding.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where `weights` or `chunks` is not of this layout's shape.
    pub fn scatter(
        &self,
        chunks: ArrayView2<'_, f32>,
        mut weights: ArrayViewMut2<'_, f32>,
    ) -> Result<()> {
        self.check("chunks", chunks.dim(), (self.n_chunks(), self.chunk_len))?;
        self.check("weights", weights.dim(), (self.rows, self.cols))?;
        for chunk_of_col in 0..self.n_chunks_per_col() {
            let mut block = weights.slice_axis_mut(Axis(0), self.rows_of_chunk(chunk_of_col));
            for (j, mut col) in block.columns_mut().into_iter().enumerate() {
                let chunk = chunks.row(j * self.n_chunks_per_col() + chunk_of_col);
                // The chunk is the longer one where it is padded.
                for (slot, &w) in col.iter_mut().zip(chunk) {
                    *slot = w;
                }
            }
        }
        Ok(())
    }

    /// Repeats the quality level of each column for each of its chunks, in the order of the chunks.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] where there is not one level for each column.
    pub fn chunk_levels(&self, col_levels: &[QualityLevel]) -> Result<Vec<QualityLevel>> {
        if col_levels.len() != self.cols {
            return Err(Error::LengthMismatch {
                what: "quality levels of the columns",
                found: col_levels.len(),
                expected: self.cols,
            });
        }
        Ok(col_levels
            .iter()
            .flat_map(|&level| std::iter::repeat_n(level, self.n_chunks_per_col()))
            .collect())
    }

    fn rows_of_chunk(&self, chunk_of_col: usize) -> Slice {
        let start = chunk_of_col * self.chunk_len;
        Slice::from(start..(start + self.chunk_len).min(self.rows))
    }

    fn check(
        &self,
        what: &'static str,
        found: (usize, usize),
        expected: (usize, usize),
    ) -> Result<()> {
        if found == expected {
            Ok(())
        } else {
            Err(Error::ShapeMismatch {
                what,
                found,
                expected,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    /// A matrix whose weights are all different.
    fn numbered(rows: usize, cols: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, cols), |(i, j)| (i * cols + j + 1) as f32)
    }

    #[track_caller]
    fn check(rows: usize, cols: usize, chunk_len: usize) -> Array2<f32> {
        let layout = ChunkLayout::new(rows, cols, chunk_len).unwrap();
        let weights = numbered(rows, cols);
        let chunks = layout.gather(weights.view()).unwrap();
        assert_eq!(chunks.dim(), (layout.n_chunks(), chunk_len));
        assert_eq!(
            chunks.iter().filter(|&&w| w != 0.0).count(),
            rows * cols,
            "every weight once, zeros elsewhere"
        );

        let mut restored = Array2::from_elem((rows, cols), f32::NAN);
        layout.scatter(chunks.view(), restored.view_mut()).unwrap();
        assert_eq!(restored, weights);

        // A view with other strides gives the same chunks.
        let transposed = weights.t().as_standard_layout().into_owned();
        assert_eq!(layout.gather(transposed.t()).unwrap(), chunks);
        chunks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn scatter_undoes_gather(rows in 0_usize..70, cols in 0_usize..9, chunk_len in 1_usize..40) {
            check(rows, cols, chunk_len);
        }
    }

    #[test]
    fn chunks_run_down_columns() {
        let chunks = check(3, 2, 2);
        assert_eq!(
            chunks,
            ndarray::array![[1.0, 3.0], [5.0, 0.0], [2.0, 4.0], [6.0, 0.0]]
        );
    }

    #[test]
    fn edge_shapes() {
        for (rows, cols, chunk_len) in [
            (0, 0, 16),
            (0, 5, 16),
            (5, 0, 16),
            (1, 1, 16),
            (16, 1, 16),
            (17, 1, 16),
            (5, 3, 1),
        ] {
            check(rows, cols, chunk_len);
        }
    }

    #[test]
    fn a_used_buffer_is_padded_again() {
        let layout = ChunkLayout::new(3, 1, 2).unwrap();
        let mut chunks = Array2::from_elem((2, 2), 9.0);
        layout
            .gather_into(numbered(3, 1).view(), chunks.view_mut())
            .unwrap();
        assert_eq!(chunks, ndarray::array![[1.0, 2.0], [3.0, 0.0]]);
    }

    #[test]
    fn levels_follow_their_columns() {
        let layout = ChunkLayout::new(17, 2, 16).unwrap();
        let [a, b] = [QualityLevel(0), QualityLevel(3)];
        assert_eq!(layout.chunk_levels(&[a, b]).unwrap(), [a, a, b, b]);
        assert_eq!(
            layout.chunk_levels(&[a]).unwrap_err().to_string(),
            "quality levels of the columns has 1 entries, expected 2"
        );
    }

    #[test]
    fn bad_chunk_lengths_are_refused() {
        for found in [0, MAX_CHUNK_LEN + 1, usize::MAX] {
            assert_eq!(
                ChunkLayout::new(4, 4, found),
                Err(Error::ChunkLength {
                    found,
                    max: MAX_CHUNK_LEN
                })
            );
        }
    }

    #[test]
    fn unaddressable_shapes_are_refused() {
        for (rows, cols) in [(usize::MAX, 1), (1 << 40, 1 << 40), (1 << 31, 1 << 31)] {
            let err = ChunkLayout::new(rows, cols, 16).unwrap_err();
            assert!(matches!(err, Error::TooLarge { .. }), "{err}");
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let layout = ChunkLayout::new(4, 4, 2).unwrap();
        let err = layout.gather(numbered(4, 5).view()).unwrap_err();
        assert_eq!(err.to_string(), "weights is 4 x 5, expected 4 x 4");
        let mut weights = numbered(4, 4);
        let err = layout
            .scatter(numbered(4, 2).view(), weights.view_mut())
            .unwrap_err();
        assert_eq!(err.to_string(), "chunks is 4 x 2, expected 8 x 2");
    }
}
