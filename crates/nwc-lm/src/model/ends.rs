//! The two ends of a model: tokens to hidden states, and hidden states to logits.

use tch::Tensor;

use super::block::load_norm;
use super::linear::{Linear, LinearInfo, Tap};
use super::norm::Norm;
use super::sequence::Sequence;
use crate::config::{Activation, Architecture, ModelConfig};
use crate::error::{Error, Result};
use crate::names::NameTable;
use crate::tensors::{Loader, all_finite};

/// The embedding: maps tokens to hidden states.
#[derive(Debug)]
pub struct Embedding {
    tokens: Tensor,
    /// Learned positions, `[max_positions, hidden]`.
    positions: Option<Tensor>,
    /// BERT's embedding of the first segment, `[hidden]`.
    segment: Option<Tensor>,
    norm: Option<Norm>,
}

impl Embedding {
    pub(crate) fn load(loader: &Loader<'_>, config: &ModelConfig, prefix: &str) -> Result<Self> {
        let names = NameTable::of(config.architecture);
        let full = |name: &str| format!("{prefix}{name}");
        let width = config.hidden_size;
        let tokens = loader.load(&full(names.embedding), &[config.vocab_size, width])?;
        let positions = names
            .positions
            .map(|name| loader.load(&full(name), &[config.max_positions, width]))
            .transpose()?;
        let segment = match names.segments {
            None => None,
            Some(name) => {
                let table = loader.source.tensor(&full(name))?;
                let n_segments = table.shape.first().copied().unwrap_or(0).max(1);
                Some(
                    loader
                        .load(&full(name), &[n_segments, width])?
                        .f_select(0, 0)?,
                )
            }
        };
        let norm = names
            .embedding_norm
            .map(|name| load_norm(loader, config, &full(name)))
            .transpose()?;
        Ok(Self {
            tokens,
            positions,
            segment,
            norm,
        })
    }

    /// Maps token identifiers `[B, T]` to hidden states `[B, T, hidden]`.
    ///
    /// # Errors
    /// [`Error::NonFinite`], [`Error::Torch`].
    pub fn forward(&self, tokens: &Tensor, sequence: &Sequence) -> Result<Tensor> {
        let mut hidden = Tensor::f_embedding(&self.tokens, tokens, -1, false, false)?;
        if let Some(positions) = &self.positions {
            let (start, n_tokens) = (sequence.start as i64, sequence.n_tokens as i64);
            hidden = hidden.f_add(&positions.f_narrow(0, start, n_tokens)?)?;
        }
        if let Some(segment) = &self.segment {
            hidden = hidden.f_add(segment)?;
        }
        if let Some(norm) = &self.norm {
            hidden = norm.forward(&hidden)?;
        }
        if all_finite(&hidden)? {
            Ok(hidden)
        } else {
            Err(Error::NonFinite {
                block: "embedding".to_owned(),
            })
        }
    }
}

/// The head: maps hidden states to logits.
#[derive(Debug)]
pub struct Head {
    final_norm: Option<Norm>,
    /// The first part of BERT's masked-token head.
    transform: Option<(Linear, Activation, Norm)>,
    pub(crate) linear: Option<Linear>,
}

impl Head {
    pub(crate) fn load(loader: &Loader<'_>, config: &ModelConfig, prefix: &str) -> Result<Self> {
        let names = NameTable::of(config.architecture);
        let final_norm = names
            .final_norm
            .map(|name| load_norm(loader, config, &format!("{prefix}{name}")))
            .transpose()?;
        let (width, vocab_size) = (config.hidden_size, config.vocab_size);
        let info = |weight_name: String, n_out: usize| LinearInfo {
            input_key: weight_name.clone(),
            weight_name,
            block_idx: None,
            expert_idx: None,
            n_in: width,
            n_out,
            transposed: false,
        };
        let transform_name = "cls.predictions.transform";
        let is_bert = config.architecture == Architecture::Bert;
        if is_bert
            && !loader
                .source
                .contains(&format!("{transform_name}.dense.weight"))
        {
            return Ok(Self {
                final_norm,
                transform: None,
                linear: None,
            });
        }
        let (transform, bias) = if is_bert {
            let dense = info(format!("{transform_name}.dense.weight"), width);
            let dense = Linear::load(loader, dense, Some(&format!("{transform_name}.dense.bias")))?;
            let norm = load_norm(loader, config, &format!("{transform_name}.LayerNorm"))?;
            (
                Some((dense, config.activation, norm)),
                Some("cls.predictions.bias"),
            )
        } else {
            (None, None)
        };
        let weight_name = if config.tied_head {
            format!("{prefix}{}", names.embedding)
        } else {
            names.head.to_owned()
        };
        let linear = Linear::load(loader, info(weight_name, vocab_size), bias)?;
        Ok(Self {
            final_norm,
            transform,
            linear: Some(linear),
        })
    }

    /// Whether the model has logits; if not, [`Head::forward`] returns the final hidden states.
    #[must_use]
    pub fn has_logits(&self) -> bool {
        self.linear.is_some()
    }

    /// The head's linears in order of execution; the last one produces the logits.
    #[must_use]
    pub fn linears(&self) -> Vec<&Linear> {
        self.transform
            .iter()
            .map(|(dense, ..)| dense)
            .chain(&self.linear)
            .collect()
    }

    /// The input of the last linear: the hidden states of the last block, normalised (and transformed in BERT).
    ///
    /// # Errors
    /// Errors of `tap`; [`Error::Torch`].
    pub fn features(&self, hidden: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let mut hidden = match &self.final_norm {
            Some(norm) => norm.forward(hidden)?,
            None => hidden.shallow_clone(),
        };
        if let Some((dense, activation, norm)) = &self.transform {
            hidden = norm.forward(&activation.apply(&dense.forward(&hidden, tap)?)?)?;
        }
        Ok(hidden)
    }

    /// Maps hidden states `[.., hidden]` of the last block to logits `[.., vocab]`.
    ///
    /// # Errors
    /// Errors of `tap`; [`Error::Torch`].
    pub fn forward(&self, hidden: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let features = self.features(hidden, tap)?;
        match &self.linear {
            Some(linear) => linear.forward(&features, tap),
            None => Ok(features),
        }
    }
}
