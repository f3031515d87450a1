//! Checks of what a caller hands over, and rows put together to a matrix.

use nwc_chunk::QualityLevel;
use nwc_chunk::ndarray::{Array2, ArrayView2};

use crate::{CodecConfig, Error, Result};

impl CodecConfig {
    /// Checks what a [`crate::Synthesizer`] is given: `symbols` are `[levels.len(), latent_dim]`, all levels the codec's.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Level`].
    pub fn check_symbols(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
    ) -> Result<()> {
        check_shape("symbols", symbols.dim(), levels.len(), self.latent_dim)?;
        self.check_levels(levels)
    }

    pub(super) fn check_levels(&self, levels: &[QualityLevel]) -> Result<()> {
        let n_quality_levels = self.n_quality_levels();
        let unknown = |level: &QualityLevel| usize::from(level.0) >= n_quality_levels;
        match levels.iter().position(unknown) {
            None => Ok(()),
            Some(chunk_idx) => Err(Error::Level {
                chunk_idx,
                found: levels[chunk_idx].0,
                n_quality_levels,
            }),
        }
    }
}

pub(super) fn check_shape(
    what: &'static str,
    found: (usize, usize),
    n_rows: usize,
    n_cols: usize,
) -> Result<()> {
    if found == (n_rows, n_cols) {
        return Ok(());
    }
    Err(Error::Shape {
        what,
        found: vec![found.0, found.1],
        expected: vec![n_rows, n_cols],
    })
}

pub(super) fn to_array<T>(values: Vec<T>, n_rows: usize, n_cols: usize) -> Result<Array2<T>> {
    let found = vec![values.len()];
    Array2::from_shape_vec((n_rows, n_cols), values).map_err(|_| Error::Shape {
        what: "result",
        found,
        expected: vec![n_rows, n_cols],
    })
}
