//! A codec of any family.

use crate::file::CodecFile;
use crate::trellis::{self, TrellisCodec};
use crate::{Error, NeuralCodec, Result, neural};

/// A codec whose family is known only when its file is read.
#[derive(Debug, Clone)]
pub enum Codec {
    /// Learned transforms.
    Neural(Box<NeuralCodec>),
    /// Trellis-coded quantisation, no network.
    Trellis(Box<TrellisCodec>),
}

impl Codec {
    /// Reads a codec file of any family.
    ///
    /// # Errors
    /// [`Error::Family`] where this version does not know the family; else as that family's `from_bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = CodecFile::parse(bytes)?;
        match file.family.as_str() {
            neural::FAMILY => Ok(Self::Neural(Box::new(NeuralCodec::from_file(file)?))),
            trellis::FAMILY => Ok(Self::Trellis(Box::new(TrellisCodec::from_file(file)?))),
            _ => Err(Error::Family {
                found: file.family,
                expected: "neural or trellis",
            }),
        }
    }

    /// Name of its family, as in its file.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Neural(_) => neural::FAMILY,
            Self::Trellis(_) => trellis::FAMILY,
        }
    }

    /// The codec file: the same bytes for the same codec.
    ///
    /// # Errors
    /// As the family's `to_bytes`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Neural(codec) => codec.to_bytes(),
            Self::Trellis(codec) => codec.to_bytes(),
        }
    }
}
