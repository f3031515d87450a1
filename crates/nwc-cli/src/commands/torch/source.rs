//! Checkpoint folders, plain or compressed, as sources of weights for the language model.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use nwc::Checkpoint;
use nwc_lm::{
    Device, LanguageModel, ModelConfig, ModelOptions, TextTokenizer, WeightSource, WeightTensor,
};

/// A checkpoint opened for running; compressed tensors are decoded when the model asks for them.
pub(crate) struct Weights {
    checkpoint: Checkpoint,
}

impl Weights {
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            checkpoint: Checkpoint::open(dir)?,
        })
    }

    /// The model of this checkpoint; nothing is read yet but its configuration.
    pub(crate) fn model(&self, options: ModelOptions) -> anyhow::Result<LanguageModel<'_>> {
        let path = self.checkpoint.dir().join("config.json");
        let json =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = ModelConfig::from_json(&json).with_context(|| path.display().to_string())?;
        Ok(LanguageModel::open(config, self, options)?)
    }

    /// The shape of tensor `name`, without reading it.
    pub(crate) fn shape(&self, name: &str) -> nwc::Result<Vec<usize>> {
        Ok(self.checkpoint.info(name)?.shape)
    }

    /// The tokenizer that lies beside the weights.
    pub(crate) fn tokenizer(&self) -> anyhow::Result<TextTokenizer> {
        let path = self.checkpoint.dir().join("tokenizer.json");
        let json = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        TextTokenizer::from_json(&json).with_context(|| path.display().to_string())
    }
}

impl WeightSource for Weights {
    fn names(&self) -> Vec<String> {
        self.checkpoint.names().map(String::from).collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.checkpoint.info(name).is_ok()
    }

    fn tensor(&self, name: &str) -> nwc_lm::Result<WeightTensor> {
        let read = || {
            Ok(WeightTensor {
                shape: self.checkpoint.info(name)?.shape,
                data: self.checkpoint.tensor(name)?,
            })
        };
        read().map_err(|source: nwc::Error| nwc_lm::Error::WeightSource {
            name: name.into(),
            message: crate::outcome::chain(&source),
        })
    }
}

/// `cpu`, `cuda`, `cuda:N` or `auto`.
pub(crate) fn device(name: &str) -> anyhow::Result<Device> {
    let idx = name.strip_prefix("cuda:").map(str::parse);
    Ok(match (name, idx) {
        ("cpu", _) => Device::Cpu,
        ("cuda", _) => Device::Cuda(0),
        ("auto", _) => Device::best(),
        (_, Some(Ok(idx))) => Device::Cuda(idx),
        _ => bail!("--device is {name}, allowed: cpu, cuda, cuda:N, auto"),
    })
}

/// Reads text files one after the other.
pub(crate) fn read_text(paths: &[std::path::PathBuf]) -> anyhow::Result<String> {
    let mut text = String::new();
    for path in paths {
        text +=
            &fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(text)
}
