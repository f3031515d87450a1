//! A neural codec as a file: one F32 tensor a parameter, and the tables as bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nwc_chunk::ndarray::{ArrayD, IxDyn};
use nwc_entropy::TableSet;
use safetensors::Dtype;
use serde::Serialize;

use super::codec::NeuralCodec;
use super::parameters::{Parameters, parameter_shapes};
use crate::file::{self, CONFIG_KEY, CodecFile, FileTensor, NEURAL_FAMILY};
use crate::{CodecConfig, Error, Result};

/// Name of the tensor that holds the probability tables, U8.
const TABLES: &str = "cdf_tables";

#[derive(Serialize)]
struct StoredConfig<'a> {
    family: &'static str,
    #[serde(flatten)]
    config: &'a CodecConfig,
}

/// # Codec files
impl NeuralCodec {
    /// Reads a codec file of this family.
    ///
    /// # Errors
    /// Every error of a codec file: [`Error::NotSafetensors`], [`Error::MetadataMissing`], [`Error::Metadata`],
    /// [`Error::Version`], [`Error::Family`], [`Error::ParameterType`], [`Error::Entropy`] for the tables, and
    /// those of [`NeuralCodec::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_file(CodecFile::parse(bytes)?)
    }

    pub(crate) fn from_file(file: CodecFile<'_>) -> Result<Self> {
        file.expect_family(NEURAL_FAMILY)?;
        let config: CodecConfig =
            serde_json::from_value(file.config).map_err(|source| Error::Metadata {
                key: CONFIG_KEY,
                source,
            })?;
        let shapes = parameter_shapes(&config)?;
        if let Some(name) = file
            .tensors
            .names()
            .into_iter()
            .filter(|name| *name != TABLES && !shapes.iter().any(|(known, _)| known == name))
            .min()
        {
            return Err(Error::ParameterUnknown { name: name.into() });
        }
        let tensor = |name: &str, expected_type: Dtype, expected| {
            let tensor = file
                .tensors
                .tensor(name)
                .map_err(|_| Error::ParameterMissing { name: name.into() })?;
            if tensor.dtype() != expected_type {
                return Err(Error::ParameterType {
                    name: name.into(),
                    found: tensor.dtype().to_string(),
                    expected,
                });
            }
            Ok(tensor)
        };
        let mut parameters = Parameters::new();
        for (name, expected) in shapes {
            let tensor = tensor(&name, Dtype::F32, "F32")?;
            // The shape is compared before memory is taken; the bytes are there, the parser has checked it.
            let wrong_shape = || Error::ParameterShape {
                name: name.clone(),
                found: tensor.shape().to_vec(),
                expected: expected.clone(),
            };
            if tensor.shape() != expected {
                return Err(wrong_shape());
            }
            let (elements, _) = tensor.data().as_chunks::<4>();
            let values = elements
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            let values =
                ArrayD::from_shape_vec(IxDyn(&expected), values).map_err(|_| wrong_shape())?;
            parameters.insert(name, values);
        }
        let tables = TableSet::from_bytes(tensor(TABLES, Dtype::U8, "U8")?.data())?;
        Self::new(config, parameters, tables, file.training_json)
    }

    /// The codec file: the same bytes for the same codec.
    ///
    /// # Errors
    /// [`Error::Metadata`] where the configuration cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let config_json = serde_json::to_string(&StoredConfig {
            family: NEURAL_FAMILY,
            config: self.config(),
        })
        .map_err(|source| Error::Metadata {
            key: CONFIG_KEY,
            source,
        })?;
        let mut tensors = BTreeMap::new();
        for (name, values) in self.parameters() {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            tensors.insert(
                name.clone(),
                FileTensor {
                    dtype: Dtype::F32,
                    shape: values.shape().to_vec(),
                    bytes: Cow::Owned(bytes),
                },
            );
        }
        let tables = self.tables().to_bytes();
        tensors.insert(
            TABLES.into(),
            FileTensor {
                dtype: Dtype::U8,
                shape: vec![tables.len()],
                bytes: Cow::Owned(tables),
            },
        );
        file::write(&config_json, self.training_json(), &tensors)
    }
}
