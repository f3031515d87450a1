//! A training run as bytes, from which it goes on as if it had not been interrupted.
//!
//! A safetensors file: `parameter/NAME`, `first_moment/NAME`, `second_moment/NAME`, `medians` once they are fixed, all F32, and
//! one metadata entry with the configuration, the step, the data's fingerprint and the learning curve. The
//! random numbers of a step depend on the seed and the step alone, so the step is their position.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::curve::CurvePoint;
use crate::{Error, Result, TrainConfig};

/// Version of the layout.
const VERSION: u32 = 1;
/// The metadata entry.
const KEY: &str = "nwc_training_checkpoint";

/// What a checkpoint says beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointHeader {
    pub(crate) version: u32,
    pub(crate) config: TrainConfig,
    /// Steps done.
    pub(crate) step: usize,
    pub(crate) data_fingerprint: u64,
    pub(crate) curve: Vec<CurvePoint>,
}

impl CheckpointHeader {
    pub(crate) fn new(
        config: &TrainConfig,
        step: usize,
        data_fingerprint: u64,
        curve: &[CurvePoint],
    ) -> Self {
        Self {
            version: VERSION,
            config: config.clone(),
            step,
            data_fingerprint,
            curve: curve.to_vec(),
        }
    }
}

/// Shape and values of a stored tensor.
pub(crate) type StoredTensor = (Vec<usize>, Vec<f32>);

/// The bytes of a checkpoint.
pub(crate) fn write(
    header: &CheckpointHeader,
    tensors: &BTreeMap<String, StoredTensor>,
) -> Result<Vec<u8>> {
    let json = serde_json::to_string(header)
        .map_err(|source| Error::checkpoint(format!("header: {source}")))?;
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (
                name,
                shape,
                values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            )
        })
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, bytes) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes)
            .map_err(|source| Error::checkpoint(format!("tensor {name}: {source}")))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), json)])))
        .map_err(|source| Error::checkpoint(format!("cannot be written: {source}")))
}

/// Reads what [`write()`] wrote.
pub(crate) fn read(bytes: &[u8]) -> Result<(CheckpointHeader, BTreeMap<String, StoredTensor>)> {
    let refused = |source| Error::checkpoint(format!("is not a safetensors file: {source}"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(refused)?;
    let json = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(KEY));
    let json = json.ok_or_else(|| Error::checkpoint(format!("has no metadata entry {KEY}")))?;
    let header: CheckpointHeader = serde_json::from_str(json)
        .map_err(|source| Error::checkpoint(format!("header: {source}")))?;
    if header.version != VERSION {
        let what = format!(
            "has version {}, this program reads {VERSION}",
            header.version
        );
        return Err(Error::checkpoint(what));
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(bytes).map_err(refused)?.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(Error::checkpoint(format!(
                "tensor {name} is {}, expected F32",
                view.dtype()
            )));
        }
        let values: Vec<f32> = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect();
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::checkpoint(format!("tensor {name} holds {value}")));
        }
        tensors.insert(name.to_string(), (view.shape().to_vec(), values));
    }
    Ok((header, tensors))
}
