//! What the tests of several modules share: the fixture models and their expected outputs.

use std::path::PathBuf;

use serde_json::Value;

use crate::config::ModelConfig;
use crate::weights::{MemoryWeights, WeightTensor};

/// A tiny random model, and what `transformers` gives for `tokens`.
pub(crate) struct Fixture {
    pub(crate) config: ModelConfig,
    pub(crate) weights: MemoryWeights,
    pub(crate) tokens: Vec<u32>,
    pub(crate) output: WeightTensor,
}

/// Reads `fixtures/lm/{name}.json` and `.safetensors`.
pub(crate) fn fixture(name: &str) -> Fixture {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/lm");
    let described = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let described: Value = serde_json::from_str(&described).unwrap();
    let shard = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
    let mut weights = MemoryWeights::default();
    for (name, tensor) in safetensors::SafeTensors::deserialize(&shard)
        .unwrap()
        .iter()
    {
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
        let values = tensor.data().as_chunks().0.iter();
        let tensor = WeightTensor {
            shape: tensor.shape().to_vec(),
            data: values.map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        };
        weights.tensors.insert(name.to_owned(), tensor);
    }
    let output = weights.tensors.remove("fixture.output").unwrap();
    let tokens = described["tokens"].as_array().unwrap();
    Fixture {
        config: ModelConfig::from_json(&described["config"].to_string()).unwrap(),
        weights,
        tokens: tokens
            .iter()
            .map(|id| id.as_u64().unwrap() as u32)
            .collect(),
        output,
    }
}
