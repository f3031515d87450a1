//! What the tests share: the tiny models of `fixtures/lm`, text for them, and rounding as a codec.

use std::path::PathBuf;

use ndarray::Array2;
use nwc_lm::{CheckpointWeights, LanguageModel, MemoryWeights, ModelConfig, generate};
use serde_json::Value;

use crate::blocks::QuantizedLinear;

/// A tiny random model.
pub(crate) struct Fixture {
    pub(crate) config: ModelConfig,
    pub(crate) weights: MemoryWeights,
    /// The configuration's JSON.
    pub(crate) config_json: String,
    /// The bytes of its safetensors file.
    pub(crate) shard: Vec<u8>,
}

/// Reads `fixtures/lm/{name}.json` and `.safetensors`.
pub(crate) fn fixture(name: &str) -> Fixture {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/lm");
    let described = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let described: Value = serde_json::from_str(&described).unwrap();
    let config_json = described["config"].to_string();
    let shard = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model.safetensors"), &shard).unwrap();
    let checkpoint = CheckpointWeights::open(dir.path()).unwrap();
    Fixture {
        config: ModelConfig::from_json(&config_json).unwrap(),
        weights: MemoryWeights::read(&checkpoint).unwrap(),
        config_json,
        shard,
    }
}

/// Rounds each row to steps of half its root mean square.
pub(crate) fn round(weights: &Array2<f32>) -> QuantizedLinear {
    let rms =
        |row: ndarray::ArrayView1<'_, f32>| (row.dot(&row) / row.len() as f32).sqrt().max(1e-6);
    let row_scales: Vec<f32> = weights.rows().into_iter().map(rms).collect();
    let mut normalized = weights.clone();
    for (mut row, scale) in normalized.rows_mut().into_iter().zip(&row_scales) {
        row.mapv_inplace(|weight| (weight / scale * 2.0).round() / 2.0);
    }
    QuantizedLinear {
        normalized,
        row_scales,
    }
}

/// 24 windows of 16 tokens that the model writes itself.
pub(crate) fn text(model: &LanguageModel<'_>) -> Vec<u32> {
    generate(model, 24, 16, 3, &mut |_, _| ()).unwrap().concat()
}
