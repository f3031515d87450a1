//! One transformer block.

use tch::Tensor;

use super::attention::{Attention, KvCache};
use super::feed_forward::FeedForward;
use super::linear::{Linear, Tap};
use super::norm::Norm;
use super::sequence::Sequence;
use crate::config::{Architecture, ModelConfig};
use crate::error::{Error, Result};
use crate::names::NameTable;
use crate::tensors::{Loader, all_finite, without_grad};

/// One block: attention and feed-forward layer with their norms.
#[derive(Debug)]
pub struct Block {
    name: String,
    pub(crate) attention_norm: Norm,
    pub(crate) attention: Attention,
    pub(crate) feed_forward_norm: Norm,
    pub(crate) feed_forward: FeedForward,
    /// BERT normalises after each addition instead of before each layer.
    norms_after: bool,
}

impl Block {
    pub(crate) fn load(
        loader: &Loader<'_>,
        config: &ModelConfig,
        prefix: &str,
        block_idx: usize,
    ) -> Result<Self> {
        let names = NameTable::of(config.architecture);
        let name = names.block_prefix(prefix, block_idx);
        let norm = |part: &str| load_norm(loader, config, &format!("{name}.{part}"));
        Ok(Self {
            attention_norm: norm(names.attention_norm)?,
            attention: Attention::load(loader, config, names, &name, block_idx)?,
            feed_forward_norm: norm(names.feed_forward_norm)?,
            feed_forward: FeedForward::load(loader, config, names, &name, block_idx)?,
            norms_after: config.architecture == Architecture::Bert,
            name,
        })
    }

    /// The prefix of the names of the block's tensors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The block's linears in order of execution.
    #[must_use]
    pub fn linears(&self) -> Vec<&Linear> {
        let mut linears: Vec<&Linear> = self.attention.query_key_value.iter().collect();
        linears.push(&self.attention.output);
        linears.extend(self.feed_forward.linears());
        linears
    }

    /// The block's linears in order of execution, mutable.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut linears: Vec<&mut Linear> = self.attention.query_key_value.iter_mut().collect();
        linears.push(&mut self.attention.output);
        linears.extend(self.feed_forward.linears_mut());
        linears
    }

    /// Number of linears, the first of [`Block::linears`], that produce queries, keys and values: 3, or 1 if one matrix
    /// produces all three.
    #[must_use]
    pub fn n_query_key_value(&self) -> usize {
        self.attention.query_key_value.len()
    }

    /// The block's norms.
    #[must_use]
    pub fn norms(&self) -> Vec<&Norm> {
        let mut norms = vec![&self.attention_norm, &self.feed_forward_norm];
        if let Some((query_norm, key_norm)) = &self.attention.query_key_norms {
            norms.extend([query_norm, key_norm]);
        }
        norms
    }

    /// Maps hidden states `[B, T, hidden]` to hidden states of the same shape.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if the output contains NaN or infinity; errors of `tap`; [`Error::Torch`].
    pub fn forward(
        &self,
        hidden: &Tensor,
        sequence: &Sequence,
        tap: &mut dyn Tap,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        let output = if self.norms_after {
            let attended = self.attention.forward(hidden, sequence, tap, cache)?;
            let middle = self.attention_norm.forward(&hidden.f_add(&attended)?)?;
            let fed = self.feed_forward.forward(&middle, tap)?;
            self.feed_forward_norm.forward(&middle.f_add(&fed)?)?
        } else {
            let normed = self.attention_norm.forward(hidden)?;
            let middle = hidden.f_add(&self.attention.forward(&normed, sequence, tap, cache)?)?;
            let normed = self.feed_forward_norm.forward(&middle)?;
            middle.f_add(&self.feed_forward.forward(&normed, tap)?)?
        };
        if without_grad(|| all_finite(&output))? {
            Ok(output)
        } else {
            Err(Error::NonFinite {
                block: self.name.clone(),
            })
        }
    }
}

/// The kind of norm that the architecture uses on the residual stream.
pub(crate) fn load_norm(loader: &Loader<'_>, config: &ModelConfig, name: &str) -> Result<Norm> {
    match config.architecture {
        Architecture::Gpt2 | Architecture::Bert => {
            Norm::load_layer(loader, name, config.hidden_size, config.norm_eps)
        }
        _ => Norm::load_rms(loader, name, config.hidden_size, config.norm_eps),
    }
}
