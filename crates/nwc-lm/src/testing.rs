//! What the tests of several modules share: the fixture models and their expected outputs.

use std::path::PathBuf;

use serde_json::Value;

use crate::checkpoint::CheckpointWeights;
use crate::config::ModelConfig;
use crate::weights::{MemoryWeights, WeightTensor};

/// A tiny random model, and what `transformers` gives for `tokens`.
pub(crate) struct Fixture {
    pub(crate) config: ModelConfig,
    pub(crate) weights: MemoryWeights,
    pub(crate) tokens: Vec<u32>,
    pub(crate) output: WeightTensor,
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/lm")
}

fn description(name: &str) -> Value {
    let text = std::fs::read_to_string(fixtures().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A folder with the checkpoint `fixtures/lm/{name}.safetensors` and its configuration.
pub(crate) fn folder(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let shard = dir.path().join("model.safetensors");
    std::fs::copy(fixtures().join(format!("{name}.safetensors")), shard).unwrap();
    let config = description(name)["config"].to_string();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    dir
}

/// Reads `fixtures/lm/{name}.json` and `.safetensors`.
pub(crate) fn fixture(name: &str) -> Fixture {
    let described = description(name);
    let checkpoint = CheckpointWeights::open(folder(name).path()).unwrap();
    let mut weights = MemoryWeights::read(&checkpoint).unwrap();
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
