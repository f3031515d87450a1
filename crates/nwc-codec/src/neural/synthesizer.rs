//! The seam at which the synthesis of a codec can be computed elsewhere than in this crate.
//!
//! Everything before it, entropy decoding included, is done with integers; only what comes out of a [`Synthesizer`]
//! is floating point, so another one may round the last bits of a weight differently and nothing else.

use std::fmt::Debug;

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_chunk::{Parallelism, QualityLevel};

use super::codec::NeuralCodec;
use crate::Result;

/// The synthesis of one codec, ready to run; calls may come from several threads.
pub trait Synthesizer: Debug + Send + Sync {
    /// Decodes `symbols`, `[n_chunks, latent_dim]`, to chunks `[n_chunks, chunk_len]`, as
    /// [`NeuralCodec::synthesize`] does but for rounding.
    ///
    /// # Errors
    /// As [`CodecConfig::check_symbols`](crate::CodecConfig::check_symbols); [`Error::Synthesis`](crate::Error::Synthesis) where the device fails.
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
    /// [`Error::Synthesis`](crate::Error::Synthesis) where it does not fit, or the device fails.
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
