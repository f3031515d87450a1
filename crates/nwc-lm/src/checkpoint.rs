//! Checkpoint folders, plain or compressed, as sources of weights.

use std::fs;
use std::path::{Path, PathBuf};

use nwc::Checkpoint;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::{LanguageModel, ModelOptions};
use crate::text::TextTokenizer;
use crate::weights::{WeightSource, WeightTensor};

/// A checkpoint folder with its configuration and tokenizer; compressed tensors are decoded when the model asks for them.
#[derive(Debug)]
pub struct CheckpointWeights {
    checkpoint: Checkpoint,
}

impl CheckpointWeights {
    /// Opens the folder `dir`; no weight is read yet.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it holds no checkpoint or a damaged one.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self {
            checkpoint: Checkpoint::open(dir)?,
        })
    }

    /// The model that the folder's config.json describes, with the folder's weights; none is read yet.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] where config.json is missing or describes no model that this crate runs; as
    /// [`LanguageModel::open`].
    pub fn model(&self, options: ModelOptions) -> Result<LanguageModel<'_>> {
        let (path, json) = self.read("config.json")?;
        let config = ModelConfig::from_json(&String::from_utf8_lossy(&json));
        let config = config.map_err(|source| in_file(path, source))?;
        LanguageModel::open(config, self, options)
    }

    /// The tokenizer that lies beside the weights.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] where tokenizer.json is missing or unusable.
    pub fn tokenizer(&self) -> Result<TextTokenizer> {
        let (path, json) = self.read("tokenizer.json")?;
        TextTokenizer::from_json(&json).map_err(|source| in_file(path, source))
    }

    /// The shape of tensor `name`, without reading it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.checkpoint.info(name)?.shape)
    }

    fn read(&self, name: &str) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.checkpoint.dir().join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok((path, bytes)),
            Err(source) => Err(Error::Io { path, source }),
        }
    }
}

fn in_file(path: PathBuf, source: Error) -> Error {
    let source = Box::new(source);
    Error::File { path, source }
}

impl WeightSource for CheckpointWeights {
    fn names(&self) -> Vec<String> {
        self.checkpoint.names().map(String::from).collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.checkpoint.info(name).is_ok()
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor> {
        let read = || {
            Ok(WeightTensor {
                shape: self.checkpoint.info(name)?.shape,
                data: self.checkpoint.tensor(name)?,
            })
        };
        read().map_err(|source: nwc::Error| Error::WeightSource {
            name: name.into(),
            source: Box::new(source),
        })
    }
}
