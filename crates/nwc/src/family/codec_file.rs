//! A codec with the bytes that go into the output.

use std::path::Path;

use nwc_codec::Codec;
use nwc_format::Digest;

use crate::{Error, Result};

/// A codec with the bytes that go into the file.
#[derive(Debug, Clone)]
pub(crate) struct CodecFile {
    /// Its id in the container: family and digest.
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) codec: Codec,
}

impl CodecFile {
    /// Parses the codec file that errors call `name`.
    pub(crate) fn parse(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let codec = Codec::from_bytes(&bytes).map_err(|source| Error::Codec {
            name: name.into(),
            source,
        })?;
        Ok(Self {
            id: id_of(codec.family(), &bytes),
            bytes,
            codec,
        })
    }

    /// Reads a codec file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        Self::parse(&path.display().to_string(), bytes)
    }
}

/// The id of a codec file; as long for every file of a family.
fn id_of(family: &str, bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).to_string();
    format!("{family}-{}", digest.get(..12).unwrap_or(&digest))
}
