//! The seam at which the synthesis of a codec can be computed elsewhere than in this crate.
//!
//! Everything before it, entropy decoding included, is done with integers; only what comes out of a [`Synthesizer`]
//! is floating point, so another one may round the last bits of a weight differently and nothing else.

use std::fmt::Debug;

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_chunk::{Parallelism, QualityLevel};

use super::codec::{NeuralCodec, check_shape};
use crate::{CodecConfig, Error, Result};

/// The synthesis of one codec, ready to run; calls may come from several threads.
pub trait Synthesizer: Debug + Send + Sync {
    /// Decodes `symbols`, `[n_chunks, latent_dim]`, to chunks `[n_chunks, chunk_len]`, as
    /// [`NeuralCodec::synthesize`] does but for rounding.
    ///
    /// # Errors
    /// As [`CodecConfig::check_symbols`]; [`Error::Synthesis`] where the device fails.
    fn synthesize(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
    ) -> Result<Array2<f32>>;
}

/// A place where codecs' syntheses can run.
pub trait SynthesisBackend: Debug + Send + Sync {
    /// Brings the synthesis of `codec` there.
    ///
    /// # Errors
    /// [`Error::Synthesis`] where it does not fit, or the device fails.
    fn load(&self, codec: &NeuralCodec) -> Result<Box<dyn Synthesizer>>;
}

/// Plain Rust, over the rayon pool of the caller.
impl Synthesizer for NeuralCodec {
    fn synthesize(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
    ) -> Result<Array2<f32>> {
        NeuralCodec::synthesize(self, symbols, levels, Parallelism::Rayon)
    }
}

impl CodecConfig {
    /// Checks what a [`Synthesizer`] is given: `symbols` are `[levels.len(), latent_dim]`, all levels the codec's.
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
