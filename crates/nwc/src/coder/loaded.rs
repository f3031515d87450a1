//! A codec as the decoder keeps it: parsed, and its synthesis where it will run.

use nwc_codec::{Codec, NeuralCodec, SynthesisBackend, Synthesizer, trellis::TrellisCodec};

use crate::error::TensorError;

/// A parsed codec, ready to decode.
#[derive(Debug)]
pub(crate) enum LoadedCodec {
    Neural {
        codec: Box<NeuralCodec>,
        /// `None` for the codec's own.
        synthesizer: Option<Box<dyn Synthesizer>>,
    },
    Trellis(Box<TrellisCodec>),
}

impl LoadedCodec {
    /// Brings the synthesis of `codec`, where it has one, to `backend`.
    pub(crate) fn new(
        codec: Codec,
        backend: Option<&dyn SynthesisBackend>,
    ) -> Result<Self, TensorError> {
        match codec {
            Codec::Neural(codec) => Ok(Self::Neural {
                synthesizer: backend.map(|backend| backend.load(&codec)).transpose()?,
                codec,
            }),
            Codec::Trellis(codec) => Ok(Self::Trellis(codec)),
        }
    }
}
