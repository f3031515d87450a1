//! The generic transformer, run block by block.

use std::cell::RefCell;
use std::rc::Rc;

use tch::Tensor;

use crate::config::ModelConfig;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::names::NameTable;
use crate::tensors::{Loader, token_tensor, without_grad};
use crate::weights::WeightSource;

mod attention;
mod block;
mod ends;
mod feed_forward;
mod linear;
mod norm;
mod sequence;

pub use attention::KvCache;
pub use block::Block;
pub use ends::{Embedding, Head};
pub use linear::{Linear, LinearInfo, LinearWeight, NoTap, Tap};
pub use norm::Norm;
pub use sequence::Sequence;

/// The part of the model that stays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// Everything that has been read. Fastest, and needs four bytes per parameter.
    #[default]
    Whole,
    /// Only the part that is running: each is read when its turn comes and dropped afterwards.
    PerBlock,
}

/// How a model is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelOptions {
    /// The device to run on.
    pub device: Device,
    /// The part of the model that stays in memory.
    pub residency: Residency,
}

/// A language model over a source of weights. It computes in f32.
pub struct LanguageModel<'s> {
    config: ModelConfig,
    source: &'s dyn WeightSource,
    device: tch::Device,
    residency: Residency,
    prefix: &'static str,
    kept: RefCell<Kept>,
}

/// The parts read so far, if the whole model stays in memory.
#[derive(Default)]
struct Kept {
    embedding: Option<Rc<Embedding>>,
    blocks: Vec<Option<Rc<Block>>>,
    head: Option<Rc<Head>>,
}

impl std::fmt::Debug for LanguageModel<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageModel")
            .field("config", &self.config)
            .field("device", &self.device)
            .field("residency", &self.residency)
            .finish_non_exhaustive()
    }
}

impl<'s> LanguageModel<'s> {
    /// A model of the architecture `config` with the weights of `source`; no weight is read yet.
    ///
    /// # Errors
    /// [`Error::NoDevice`]; [`Error::MissingTensor`] if the source has no embedding.
    pub fn open(
        config: ModelConfig,
        source: &'s dyn WeightSource,
        options: ModelOptions,
    ) -> Result<Self> {
        let names = NameTable::of(config.architecture);
        let prefix = names.prefix(source);
        let embedding = format!("{prefix}{}", names.embedding);
        if !source.contains(&embedding) {
            return Err(Error::MissingTensor { name: embedding });
        }
        let device = options.device.to_tch()?;
        let residency = options.residency;
        Ok(Self {
            config,
            source,
            device,
            residency,
            prefix,
            kept: RefCell::default(),
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The number of blocks.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        self.config.n_blocks
    }

    fn loader(&self) -> Loader<'_> {
        Loader {
            source: self.source,
            device: self.device,
        }
    }

    /// The embedding's weights.
    ///
    /// # Errors
    /// Errors of reading them.
    pub fn embedding(&self) -> Result<Rc<Embedding>> {
        if let Some(embedding) = &self.kept.borrow().embedding {
            return Ok(Rc::clone(embedding));
        }
        let embedding = Rc::new(Embedding::load(&self.loader(), &self.config, self.prefix)?);
        if self.residency == Residency::Whole {
            self.kept.borrow_mut().embedding = Some(Rc::clone(&embedding));
        }
        Ok(embedding)
    }

    /// The weights of block `block_idx`.
    ///
    /// # Errors
    /// [`Error::BlockIndex`]; errors of reading them.
    pub fn block(&self, block_idx: usize) -> Result<Rc<Block>> {
        let n_blocks = self.n_blocks();
        if block_idx >= n_blocks {
            return Err(Error::BlockIndex {
                block_idx,
                n_blocks,
            });
        }
        if let Some(Some(block)) = self.kept.borrow().blocks.get(block_idx) {
            return Ok(Rc::clone(block));
        }
        let block = Rc::new(self.fresh_block(block_idx)?);
        if self.residency == Residency::Whole {
            let blocks = &mut self.kept.borrow_mut().blocks;
            blocks.resize_with(n_blocks, || None);
            blocks[block_idx] = Some(Rc::clone(&block));
        }
        Ok(block)
    }

    /// A copy of block `block_idx` that the caller may change.
    ///
    /// # Errors
    /// Errors of reading the weights.
    pub fn fresh_block(&self, block_idx: usize) -> Result<Block> {
        Block::load(&self.loader(), &self.config, self.prefix, block_idx)
    }

    /// The head's weights.
    ///
    /// # Errors
    /// Errors of reading them.
    pub fn head(&self) -> Result<Rc<Head>> {
        if let Some(head) = &self.kept.borrow().head {
            return Ok(Rc::clone(head));
        }
        let head = Rc::new(Head::load(&self.loader(), &self.config, self.prefix)?);
        if self.residency == Residency::Whole {
            self.kept.borrow_mut().head = Some(Rc::clone(&head));
        }
        Ok(head)
    }

    /// Rotations and masks for positions `start..start + n_tokens`.
    ///
    /// # Errors
    /// [`Error::WindowLength`] if they exceed the model's positions.
    pub fn sequence(&self, start: usize, n_tokens: usize) -> Result<Sequence> {
        let (window, max) = (start.saturating_add(n_tokens), self.config.max_positions);
        if n_tokens == 0 || window > max {
            return Err(Error::WindowLength {
                window,
                min: 1,
                max,
            });
        }
        Sequence::new(&self.config, start, n_tokens, self.device)
    }

    /// Embeds windows of equal length: hidden states `[n_windows, window, hidden]`.
    ///
    /// # Errors
    /// [`Error::TokenizerMismatch`] if a token has no row in the embedding; [`Error::NonFinite`].
    pub fn embed(&self, windows: &[&[u32]], sequence: &Sequence) -> Result<Tensor> {
        self.embed_with(&*self.embedding()?, windows, sequence)
    }

    /// [`Self::embed`] with weights that the caller keeps for many calls.
    pub(crate) fn embed_with(
        &self,
        embedding: &Embedding,
        windows: &[&[u32]],
        sequence: &Sequence,
    ) -> Result<Tensor> {
        let vocab_size = self.config.vocab_size;
        let unknown = windows
            .iter()
            .flat_map(|window| window.iter())
            .find(|&&id| id as usize >= vocab_size);
        if let Some(&token_id) = unknown {
            return Err(Error::TokenizerMismatch {
                token_id,
                vocab_size,
            });
        }
        if let Some(odd) = windows
            .iter()
            .find(|window| window.len() != sequence.n_tokens)
        {
            let n_tokens = sequence.n_tokens;
            return Err(Error::WindowLength {
                window: odd.len(),
                min: n_tokens,
                max: n_tokens,
            });
        }
        let tokens = token_tensor(windows, self.device)?;
        without_grad(|| embedding.forward(&tokens, sequence))
    }

    /// Runs one window through the whole model and returns logits `[T, vocab]`, or hidden states if the model has no head.
    ///
    /// # Errors
    /// Errors of reading the weights or running the blocks.
    pub fn logits(&self, tokens: &[u32]) -> Result<Tensor> {
        let sequence = self.sequence(0, tokens.len())?;
        let mut hidden = self.embed(&[tokens], &sequence)?;
        without_grad(|| {
            for block_idx in 0..self.n_blocks() {
                hidden = self
                    .block(block_idx)?
                    .forward(&hidden, &sequence, &mut NoTap, None)?;
            }
            Ok(self
                .head()?
                .forward(&hidden, &mut NoTap)?
                .f_squeeze_dim(0)?)
        })
    }

    /// Every linear of the model in order of execution. Reads the first block and the head.
    ///
    /// # Errors
    /// Errors of reading the weights.
    pub fn linears(&self) -> Result<Vec<LinearInfo>> {
        let names = NameTable::of(self.config.architecture);
        let first = self.block(0)?;
        let mut linears = Vec::new();
        for block_idx in 0..self.n_blocks() {
            // All blocks are built alike: only the index in the names differs.
            let block_name = names.block_prefix(self.prefix, block_idx);
            let renamed = |name: &str| match name.strip_prefix(first.name()) {
                Some(rest) => format!("{block_name}{rest}"),
                None => name.to_owned(),
            };
            linears.extend(first.linears().into_iter().map(|linear| LinearInfo {
                weight_name: renamed(&linear.info.weight_name),
                input_key: renamed(&linear.info.input_key),
                block_idx: Some(block_idx),
                ..linear.info.clone()
            }));
        }
        linears.extend(
            self.head()?
                .linears()
                .into_iter()
                .map(|linear| linear.info.clone()),
        );
        Ok(linears)
    }
}

#[cfg(test)]
mod tests;
