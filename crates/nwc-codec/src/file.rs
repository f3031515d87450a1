//! The frame of a codec file: safetensors whose metadata say version and family of the codec.
//!
//! | metadata entry | holds |
//! |---|---|
//! | `nwc_codec_version` | version of this layout, `"1"` |
//! | `nwc_codec` | the family's configuration as a JSON object, with the entry `family` |
//! | `nwc_training` | figures of the training as JSON; absent where nothing is known |
//!
//! Written files are canonical: the header's keys are sorted, tensors lie in the order of their names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Version of codec files that this crate writes and reads.
const CODEC_FILE_VERSION: &str = "1";

pub(crate) const VERSION_KEY: &str = "nwc_codec_version";
pub(crate) const CONFIG_KEY: &str = "nwc_codec";
pub(crate) const TRAINING_KEY: &str = "nwc_training";
const FAMILY_KEY: &str = "family";

/// The family of learned codecs; known by name in a build without them, too.
pub(crate) const NEURAL_FAMILY: &str = "neural";

/// A codec file taken apart; its tensors are still in the caller's bytes.
#[derive(Debug)]
pub(crate) struct CodecFile<'a> {
    /// Family of the codec.
    pub(crate) family: String,
    /// The configuration without its entry `family`.
    pub(crate) config: Value,
    /// Figures of the training; empty where nothing is known.
    #[cfg_attr(
        not(feature = "neural"),
        expect(dead_code, reason = "only learned codecs are trained")
    )]
    pub(crate) training_json: String,
    /// The tensors.
    pub(crate) tensors: SafeTensors<'a>,
}

/// A tensor to be written.
#[derive(Debug)]
pub(crate) struct FileTensor<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Little-endian elements.
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl<'a> CodecFile<'a> {
    /// Takes a codec file apart.
    ///
    /// # Errors
    /// [`Error::NotSafetensors`], [`Error::MetadataMissing`], [`Error::Version`], [`Error::Metadata`].
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let not_safetensors = |source| Error::NotSafetensors {
            n_bytes: bytes.len(),
            source,
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let entry = |key| {
            header
                .metadata()
                .as_ref()
                .and_then(|entries| entries.get(key))
        };
        let version = entry(VERSION_KEY).ok_or(Error::MetadataMissing { key: VERSION_KEY })?;
        if version != CODEC_FILE_VERSION {
            return Err(Error::Version {
                found: version.clone(),
                supported: CODEC_FILE_VERSION,
            });
        }
        let config = entry(CONFIG_KEY).ok_or(Error::MetadataMissing { key: CONFIG_KEY })?;
        let mut config: Map<String, Value> =
            serde_json::from_str(config).map_err(|source| Error::Metadata {
                key: CONFIG_KEY,
                source,
            })?;
        let Some(Value::String(family)) = config.remove(FAMILY_KEY) else {
            return Err(Error::MetadataMissing { key: FAMILY_KEY });
        };
        Ok(Self {
            family,
            config: Value::Object(config),
            training_json: entry(TRAINING_KEY).cloned().unwrap_or_default(),
            tensors: SafeTensors::deserialize(bytes).map_err(not_safetensors)?,
        })
    }

    /// Refuses a file of another family than `expected`.
    ///
    /// # Errors
    /// [`Error::Family`].
    pub(crate) fn expect_family(&self, expected: &'static str) -> Result<()> {
        if self.family == expected {
            return Ok(());
        }
        Err(Error::Family {
            found: self.family.clone(),
            expected,
        })
    }
}

/// The bytes of a codec file; the same for the same arguments.
///
/// `config_json` is a JSON object with the entry `family`; `training_json` is left out where empty.
///
/// # Errors
/// [`Error::Metadata`] where the header cannot be written as JSON.
pub(crate) fn write(
    config_json: &str,
    training_json: &str,
    tensors: &BTreeMap<String, FileTensor<'_>>,
) -> Result<Vec<u8>> {
    // The safetensors crate writes metadata in the order of a hash map, which differs from run to run.
    let mut metadata =
        BTreeMap::from([(VERSION_KEY, CODEC_FILE_VERSION), (CONFIG_KEY, config_json)]);
    if !training_json.is_empty() {
        metadata.insert(TRAINING_KEY, training_json);
    }
    let json_error = |source| Error::Metadata {
        key: CONFIG_KEY,
        source,
    };
    let metadata = serde_json::to_string(&metadata).map_err(json_error)?;
    let mut header = format!("{{\"__metadata__\":{metadata}");
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.bytes.len();
        header += &format!(
            ",{}:{{\"dtype\":\"{}\",\"shape\":{:?},\"data_offsets\":[{start},{end}]}}",
            serde_json::to_string(name).map_err(json_error)?,
            tensor.dtype,
            tensor.shape,
        );
    }
    header.push('}');
    // Tensors of four-byte elements stay aligned; the format pads with spaces.
    let padded = header.len().next_multiple_of(8);
    let mut bytes = Vec::with_capacity(8 + padded + end);
    bytes.extend_from_slice(&(padded as u64).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(8 + padded, b' ');
    for tensor in tensors.values() {
        bytes.extend_from_slice(&tensor.bytes);
    }
    Ok(bytes)
}
