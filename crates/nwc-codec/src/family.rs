//! A codec of any family.

#[cfg(feature = "neural")]
use crate::NeuralCodec;
use crate::file::{CodecFile, NEURAL_FAMILY};
use crate::trellis::{self, TrellisCodec};
use crate::{Error, Result};

/// A codec whose family is known only when its file is read.
#[derive(Debug, Clone)]
pub enum Codec {
    /// Learned transforms.
    #[cfg(feature = "neural")]
    Neural(Box<NeuralCodec>),
    /// Trellis-coded quantisation, no network.
    Trellis(Box<TrellisCodec>),
}

impl Codec {
    /// Reads a codec file of any family.
    ///
    /// # Errors
    /// [`Error::Family`] where this version does not know the family; [`Error::FeatureMissing`] where this build leaves
    /// it out; else as that family's `from_bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = CodecFile::parse(bytes)?;
        match file.family.as_str() {
            #[cfg(feature = "neural")]
            NEURAL_FAMILY => Ok(Self::Neural(Box::new(NeuralCodec::from_file(file)?))),
            #[cfg(not(feature = "neural"))]
            NEURAL_FAMILY => Err(Error::FeatureMissing {
                family: NEURAL_FAMILY,
                feature: "neural",
            }),
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
            #[cfg(feature = "neural")]
            Self::Neural(_) => NEURAL_FAMILY,
            Self::Trellis(_) => trellis::FAMILY,
        }
    }

    /// The codec file: the same bytes for the same codec.
    ///
    /// # Errors
    /// As the family's `to_bytes`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        match self {
            #[cfg(feature = "neural")]
            Self::Neural(codec) => codec.to_bytes(),
            Self::Trellis(codec) => codec.to_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::file;

    #[test]
    fn other_families_are_named() {
        let read = |config: &str| {
            let bytes = file::write(config, "", &BTreeMap::new()).unwrap();
            Codec::from_bytes(&bytes).unwrap_err()
        };
        assert_eq!(
            read(r#"{"family":"wavelet"}"#).to_string(),
            "codec is of family wavelet, expected: neural or trellis"
        );
        let neural = read(r#"{"family":"neural"}"#);
        match cfg!(feature = "neural") {
            true => assert!(matches!(neural, Error::Metadata { .. }), "{neural}"),
            false => assert!(matches!(neural, Error::FeatureMissing { .. }), "{neural}"),
        }
    }
}
