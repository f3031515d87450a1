//! What the tests of several modules share: the fixture models and their expected outputs.

use std::path::PathBuf;

use serde_json::Value;

use crate::config::ModelConfig;
use crate::weights::{HfFolder, MemoryWeights, WeightSource, WeightTensor};

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
    let source = HfFolder::new(vec![shard]).unwrap();
    let mut weights = MemoryWeights::default();
    for name in source.names() {
        let tensor = source.tensor(&name).unwrap();
        weights.tensors.insert(name, tensor);
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
