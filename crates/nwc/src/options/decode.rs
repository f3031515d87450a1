//! How compressed tensors are read.

#[cfg(feature = "neural")]
use std::sync::Arc;

#[cfg(feature = "neural")]
use nwc_codec::SynthesisBackend;
use nwc_format::Limits;

/// How tensors are decoded.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// Where the synthesis networks of learned codecs run; `None`, the default, means plain Rust on the caller's rayon
    /// pool.
    ///
    /// Another backend may round the last bits of a weight differently. It changes nothing before them.
    #[cfg(feature = "neural")]
    pub synthesis: Option<Arc<dyn SynthesisBackend>>,
    /// What a file may ask for before it is refused.
    pub limits: Limits,
}

impl DecodeOptions {
    /// The defaults, with synthesis on `backend`.
    #[cfg(feature = "neural")]
    pub fn on(backend: Arc<dyn SynthesisBackend>) -> Self {
        Self {
            synthesis: Some(backend),
            ..Self::default()
        }
    }
}
