//! How a matrix is cut into chunks: all of its weights, or those that are not zero.

#[cfg(feature = "encode")]
use std::ops::Range;
use std::sync::Arc;

#[cfg(feature = "encode")]
use nwc_chunk::ndarray::Array2;
use nwc_chunk::ndarray::{ArrayView2, ArrayViewMut2};
use nwc_chunk::{ChunkLayout, KeptChunks, QualityLevel, Result, ZeroMask};
use nwc_codec::NeuralCodec;

/// The chunks of one matrix.
#[derive(Debug, Clone)]
pub(super) enum Chunks {
    /// Of every column, as many.
    All(ChunkLayout),
    /// Of the weights of each column that are not zero.
    Kept {
        layout: KeptChunks,
        /// What the codec is told: on a trellis columns are as long as the longest, else each chunk stands alone.
        per_column: usize,
    },
}

impl Chunks {
    /// The chunks of a matrix `[rows, cols]` for `codec`.
    ///
    /// # Errors
    /// Those of [`ChunkLayout::new`].
    pub(super) fn new(
        codec: &NeuralCodec,
        rows: usize,
        cols: usize,
        zeros: Option<&Arc<ZeroMask>>,
    ) -> Result<Self> {
        let config = codec.config();
        let all = ChunkLayout::new(rows, cols, config.chunk_len)?;
        let Some(zeros) = zeros else {
            return Ok(Self::All(all));
        };
        let is_trellis = config.n_states > 1;
        let layout = KeptChunks::new(Arc::clone(zeros), config.chunk_len, is_trellis)?;
        let per_column = match is_trellis && cols > 0 {
            true => layout.of_column(0).len(),
            false => 1,
        };
        Ok(Self::Kept { layout, per_column })
    }

    /// Chunks in the matrix.
    pub(super) fn n_chunks(&self) -> usize {
        match self {
            Self::All(layout) => layout.n_chunks(),
            Self::Kept { layout, .. } => layout.n_chunks(),
        }
    }

    /// Chunks that the codec takes for a column.
    pub(super) fn per_column(&self) -> usize {
        match self {
            Self::All(layout) => layout.n_chunks_per_col(),
            Self::Kept { per_column, .. } => *per_column,
        }
    }

    /// The chunks of column `col`, which must be one of the matrix.
    #[cfg(feature = "encode")]
    pub(super) fn of_column(&self, col: usize) -> Range<usize> {
        match self {
            Self::All(layout) => {
                let per_col = layout.n_chunks_per_col();
                col * per_col..(col + 1) * per_col
            }
            Self::Kept { layout, .. } => layout.of_column(col),
        }
    }

    /// Repeats the level of each of the columns `cols` for each of its chunks; `levels` has one for every column.
    ///
    /// # Errors
    /// Those of [`ChunkLayout::with_cols`].
    pub(super) fn levels(
        &self,
        levels: &[QualityLevel],
        cols: &[usize],
    ) -> Result<Vec<QualityLevel>> {
        match self {
            Self::All(layout) => {
                let of_cols: Vec<QualityLevel> = cols.iter().map(|&col| levels[col]).collect();
                layout.with_cols(cols.len())?.chunk_levels(&of_cols)
            }
            Self::Kept { layout, .. } => Ok(layout.chunk_levels(levels, cols)),
        }
    }

    /// Cuts `weights`, which are the columns `cols` of the matrix, into chunks.
    ///
    /// # Errors
    /// [`nwc_chunk::Error::ShapeMismatch`].
    #[cfg(feature = "encode")]
    pub(super) fn gather(
        &self,
        weights: ArrayView2<'_, f32>,
        cols: &[usize],
    ) -> Result<Array2<f32>> {
        match self {
            Self::All(layout) => layout.with_cols(cols.len())?.gather(weights),
            Self::Kept { layout, .. } => layout.gather(weights, cols),
        }
    }

    /// Puts the chunks of the columns `cols` together in `weights`, which has these columns only and is zero.
    ///
    /// # Errors
    /// [`nwc_chunk::Error::ShapeMismatch`].
    pub(super) fn scatter(
        &self,
        chunks: ArrayView2<'_, f32>,
        cols: &[usize],
        weights: ArrayViewMut2<'_, f32>,
    ) -> Result<()> {
        match self {
            Self::All(layout) => layout.with_cols(cols.len())?.scatter(chunks, weights),
            Self::Kept { layout, .. } => layout.scatter(chunks, cols, weights),
        }
    }
}
