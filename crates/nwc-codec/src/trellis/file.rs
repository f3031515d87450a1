//! A trellis codec as a file: `cdf_tables` U8 `[n]`, the table set; `reconstruction` I8 `[n_buckets, 2, 4]`,
//! offsets towards zero in 1/128 step.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nwc_entropy::TableSet;
use safetensors::Dtype;
use serde::Serialize;
use serde_json::Value;

use super::reconstruction::N_RANKS;
use super::{Reconstruction, TrellisCodec, TrellisConfig};
use crate::file::{self, CONFIG_KEY, CodecFile, FileTensor};
use crate::{Error, Result};

/// Name of this family in a codec file.
pub(crate) const FAMILY: &str = "trellis";

const TABLES: &str = "cdf_tables";
const RECONSTRUCTION: &str = "reconstruction";

#[derive(Serialize)]
struct StoredConfig<'a> {
    family: &'static str,
    #[serde(flatten)]
    config: &'a TrellisConfig,
}

/// # Codec files
impl TrellisCodec {
    /// Reads a codec file of this family.
    ///
    /// # Errors
    /// Every error of a codec file: [`Error::NotSafetensors`], [`Error::MetadataMissing`],
    /// [`Error::Metadata`], [`Error::Version`], [`Error::Family`], [`Error::ParameterMissing`],
    /// [`Error::ParameterUnknown`], [`Error::ParameterType`], [`Error::ParameterShape`],
    /// [`Error::Entropy`] for the tables, and [`Error::Trellis`] with those of [`TrellisCodec::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_file(CodecFile::parse(bytes)?)
    }

    pub(crate) fn from_file(file: CodecFile<'_>) -> Result<Self> {
        file.expect_family(FAMILY)?;
        let metadata = |source| Error::Metadata {
            key: CONFIG_KEY,
            source,
        };
        let mut config = file.config;
        check_no_zero_in_odd_class(&mut config)?;
        let config: TrellisConfig = serde_json::from_value(config).map_err(metadata)?;
        config.validate()?;
        let mut names = file.tensors.names();
        names.sort_unstable();
        if let Some(name) = names
            .into_iter()
            .find(|name| ![TABLES, RECONSTRUCTION].contains(name))
        {
            return Err(Error::ParameterUnknown { name: name.into() });
        }
        let tensor = |name: &str, dtype: Dtype, expected| {
            let missing = |_| Error::ParameterMissing { name: name.into() };
            let tensor = file.tensors.tensor(name).map_err(missing)?;
            if tensor.dtype() == dtype {
                return Ok(tensor);
            }
            Err(Error::ParameterType {
                name: name.into(),
                found: tensor.dtype().to_string(),
                expected,
            })
        };
        let tables = TableSet::from_bytes(tensor(TABLES, Dtype::U8, "U8")?.data())?;
        let offsets = tensor(RECONSTRUCTION, Dtype::I8, "I8")?;
        let n_buckets = usize::from(config.n_buckets);
        let expected = shape_of_offsets(n_buckets);
        if offsets.shape() != expected {
            return Err(Error::ParameterShape {
                name: RECONSTRUCTION.into(),
                found: offsets.shape().to_vec(),
                expected,
            });
        }
        let offsets = offsets.data().iter().map(|&byte| byte as i8).collect();
        let reconstruction = Reconstruction::from_offsets(offsets, n_buckets)?;
        Ok(Self::new(config, tables, reconstruction)?)
    }

    /// The codec file: the same bytes for the same codec.
    ///
    /// # Errors
    /// [`Error::Metadata`] where the configuration cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let stored = StoredConfig {
            family: FAMILY,
            config: self.config(),
        };
        let config_json = serde_json::to_string(&stored).map_err(|source| Error::Metadata {
            key: CONFIG_KEY,
            source,
        })?;
        let tables = self.tables().to_bytes();
        let offsets = self.reconstruction().offsets();
        let tables = FileTensor {
            dtype: Dtype::U8,
            shape: vec![tables.len()],
            bytes: Cow::Owned(tables),
        };
        let offsets = FileTensor {
            dtype: Dtype::I8,
            shape: shape_of_offsets(self.reconstruction().n_buckets()),
            bytes: Cow::Owned(offsets.iter().map(|&offset| offset as u8).collect()),
        };
        let tensors = BTreeMap::from([(TABLES.into(), tables), (RECONSTRUCTION.into(), offsets)]);
        file::write(&config_json, "", &tensors)
    }
}

/// Takes a field out of `config` that early files hold: the bucket below which the odd class has a zero.
///
/// The one value allowed lies below all buckets: nowhere. The option lost at every rate and was dropped.
fn check_no_zero_in_odd_class(config: &mut Value) -> Result<()> {
    const FIELD: &str = "zero_below_bucket";
    const NONE: i64 = -121;
    match config
        .as_object_mut()
        .and_then(|fields| fields.remove(FIELD))
    {
        Some(found) if found.as_i64() != Some(NONE) => Err(super::Error::Config {
            field: FIELD,
            found: found.to_string(),
            allowed: format!("{NONE}, or no such field"),
        }
        .into()),
        _ => Ok(()),
    }
}

fn shape_of_offsets(n_buckets: usize) -> Vec<usize> {
    vec![n_buckets, 2, N_RANKS]
}
