//! The options of the generic transformer, read from a Hugging Face folder's `config.json`.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

mod fields;
mod rotary;

use fields::Fields;
pub use rotary::{RopeScaling, RotaryConfig};

/// The families of checkpoints that this crate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 1 to 3 and SmolLM 1 and 2.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen 2 and 2.5: biases on q, k and v.
    Qwen2,
    /// Qwen 3: norms on q and k.
    Qwen3,
    /// GPT-2: learned positions, LayerNorm, transposed weights.
    Gpt2,
    /// Mixtral: a sparse mixture of experts in place of the feed-forward layer.
    Mixtral,
    /// BERT: an encoder with the norms after each half of a block.
    Bert,
}

impl Architecture {
    /// Every supported architecture.
    pub const ALL: [Self; 7] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gpt2,
        Self::Mixtral,
        Self::Bert,
    ];

    /// The `model_type` in `config.json`.
    #[must_use]
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gpt2 => "gpt2",
            Self::Mixtral => "mixtral",
            Self::Bert => "bert",
        }
    }

    fn from_model_type(found: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.model_type() == found)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::model_type).join(", ");
                Error::UnknownArchitecture {
                    found: found.to_owned(),
                    known,
                }
            })
    }
}

/// The function between the two halves of a feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// x · Φ(x), exact.
    GeluErf,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// The kind of feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// down(act(gate x) · up x).
    Gated,
    /// down(act(up x)).
    Plain,
    /// Several gated feed-forward layers; a router picks some of them for each token.
    Experts {
        /// Number of experts.
        n_experts: usize,
        /// Number of experts that each token passes through.
        n_selected: usize,
    },
}

/// Which linears of a block add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    /// On q, k and v.
    pub query_key_value: bool,
    /// On the attention's output.
    pub attention_output: bool,
    /// On all linears of the feed-forward layer.
    pub feed_forward: bool,
}

/// The architecture of a model, as far as running it depends on it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family; it determines the tensors' names.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of transformer blocks.
    pub n_blocks: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width inside the feed-forward layer (of one expert).
    pub feed_forward_size: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Added to the variance by every norm.
    pub norm_eps: f64,
    /// Between the halves of the feed-forward layer.
    pub activation: Activation,
    /// Dense or a mixture of experts.
    pub feed_forward: FeedForwardKind,
    /// Rotary positions; `None` if positions are learned.
    pub rotary: Option<RotaryConfig>,
    /// RMS norms on each head's q and k (Qwen 3).
    pub query_key_norms: bool,
    /// Number of positions that a token attends to in each block; `None` for all before it.
    pub attention_windows: Vec<Option<usize>>,
    /// Which linears have biases.
    pub biases: Biases,
    /// The head is the embedding's matrix.
    pub tied_head: bool,
    /// The token that a generated sequence starts with.
    pub start_token_id: Option<u32>,
}

/// The widths and counts are capped, so that a product of two of them fits in 64 bits.
const MAX_EXTENT: u64 = 1 << 28;
/// Ten times the deepest published model.
const MAX_BLOCKS: usize = 4096;

impl ModelConfig {
    /// Reads the text of `config.json`.
    ///
    /// # Errors
    /// [`Error::ConfigJson`], [`Error::UnknownArchitecture`] (naming the known ones), and [`Error::ConfigField`] where a
    /// field is missing or has an unsupported value.
    pub fn from_json(json: &str) -> Result<Self> {
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|source| Error::ConfigJson { source })?;
        let fields = Fields::new(&object);
        let model_type = match object.get("model_type").and_then(Value::as_str) {
            Some(model_type) => model_type.to_owned(),
            None => fields
                .first_architecture()
                .unwrap_or_else(|| "absent".to_owned()),
        };
        let architecture = Architecture::from_model_type(&model_type)?;
        let config = match architecture {
            Architecture::Gpt2 => gpt2(&fields)?,
            Architecture::Bert => bert(&fields)?,
            _ => rotary_decoder(architecture, &fields)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// Whether a token attends only to those before it. False for encoders.
    #[must_use]
    pub fn is_causal(&self) -> bool {
        self.architecture != Architecture::Bert
    }

    fn validate(&self) -> Result<()> {
        let fail = |field: &str, found: String, allowed: &str| {
            Err(Error::ConfigField {
                field: field.to_owned(),
                found,
                allowed: allowed.to_owned(),
            })
        };
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return fail(
                "num_key_value_heads",
                self.n_kv_heads.to_string(),
                "a divisor of num_attention_heads",
            );
        }
        if self.rotary.is_some() && !self.head_dim.is_multiple_of(2) {
            return fail("head_dim", self.head_dim.to_string(), "an even number");
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return fail("norm eps", self.norm_eps.to_string(), "a positive number");
        }
        if let FeedForwardKind::Experts {
            n_experts,
            n_selected,
        } = self.feed_forward
            && n_selected > n_experts
        {
            return fail(
                "num_experts_per_tok",
                n_selected.to_string(),
                "at most num_local_experts",
            );
        }
        Ok(())
    }
}

/// Llama, and the families that differ from it by an option.
fn rotary_decoder(architecture: Architecture, fields: &Fields<'_>) -> Result<ModelConfig> {
    let hidden_size = fields.extent("hidden_size")?;
    let n_heads = fields.extent("num_attention_heads")?;
    let n_blocks = fields.block_count("num_hidden_layers")?;
    let head_dim = match fields.optional_extent("head_dim")? {
        Some(head_dim) => head_dim,
        None if architecture == Architecture::Qwen3 => 128,
        None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
        None => {
            return Err(Error::ConfigField {
                field: "num_attention_heads".into(),
                found: n_heads.to_string(),
                allowed: format!("a divisor of hidden_size {hidden_size}, or a head_dim"),
            });
        }
    };
    let attention_bias = fields.flag("attention_bias", false)?;
    let feed_forward_bias = fields.flag("mlp_bias", false)?;
    let biases = Biases {
        query_key_value: attention_bias || architecture == Architecture::Qwen2,
        attention_output: attention_bias,
        feed_forward: feed_forward_bias && architecture == Architecture::Llama,
    };
    let feed_forward = if architecture == Architecture::Mixtral {
        FeedForwardKind::Experts {
            n_experts: fields.extent("num_local_experts")?,
            n_selected: fields.extent("num_experts_per_tok")?,
        }
    } else {
        FeedForwardKind::Gated
    };
    Ok(ModelConfig {
        architecture,
        hidden_size,
        n_blocks,
        n_heads,
        n_kv_heads: fields
            .optional_extent("num_key_value_heads")?
            .unwrap_or(n_heads),
        head_dim,
        feed_forward_size: fields.extent("intermediate_size")?,
        vocab_size: fields.extent("vocab_size")?,
        max_positions: fields
            .optional_extent("max_position_embeddings")?
            .unwrap_or(2048),
        norm_eps: fields.number("rms_norm_eps", 1e-6)?,
        activation: fields.activation("hidden_act", Activation::Silu)?,
        feed_forward,
        rotary: Some(RotaryConfig::from_fields(fields)?),
        query_key_norms: architecture == Architecture::Qwen3,
        attention_windows: attention_windows(architecture, fields, n_blocks)?,
        biases,
        tied_head: fields.flag("tie_word_embeddings", false)?,
        start_token_id: fields.token("bos_token_id"),
    })
}

/// The sliding window of each block: all of Mistral's, and those of Qwen's that the configuration lists.
fn attention_windows(
    architecture: Architecture,
    fields: &Fields<'_>,
    n_blocks: usize,
) -> Result<Vec<Option<usize>>> {
    let window = fields.optional_extent("sliding_window")?;
    let n_full = match architecture {
        Architecture::Mistral | Architecture::Mixtral => 0,
        Architecture::Qwen2 | Architecture::Qwen3
            if fields.flag("use_sliding_window", false)? =>
        {
            fields
                .optional_count("max_window_layers")?
                .unwrap_or(n_blocks)
        }
        _ => n_blocks,
    };
    let from_list = fields.strings("layer_types");
    Ok((0..n_blocks)
        .map(
            |block_idx| match from_list.as_ref().and_then(|list| list.get(block_idx)) {
                Some(kind) if kind == "full_attention" => None,
                Some(_) => window,
                None if block_idx >= n_full => window,
                None => None,
            },
        )
        .collect())
}

fn gpt2(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.require_flag("scale_attn_by_inverse_layer_idx", false)?;
    fields.require_flag("scale_attn_weights", true)?;
    let hidden_size = fields.extent("n_embd")?;
    let n_heads = fields.extent("n_head")?;
    let n_blocks = fields.block_count("n_layer")?;
    Ok(ModelConfig {
        architecture: Architecture::Gpt2,
        hidden_size,
        n_blocks,
        n_heads,
        n_kv_heads: n_heads,
        head_dim: fields.exact_quotient("n_head", hidden_size, n_heads)?,
        feed_forward_size: fields
            .optional_extent("n_inner")?
            .unwrap_or(4 * hidden_size),
        vocab_size: fields.extent("vocab_size")?,
        max_positions: fields.extent("n_positions")?,
        norm_eps: fields.number("layer_norm_epsilon", 1e-5)?,
        activation: fields.activation("activation_function", Activation::GeluTanh)?,
        feed_forward: FeedForwardKind::Plain,
        rotary: None,
        query_key_norms: false,
        attention_windows: vec![None; n_blocks],
        biases: Biases {
            query_key_value: true,
            attention_output: true,
            feed_forward: true,
        },
        tied_head: fields.flag("tie_word_embeddings", true)?,
        start_token_id: fields.token("bos_token_id"),
    })
}

fn bert(fields: &Fields<'_>) -> Result<ModelConfig> {
    fields.require_text("position_embedding_type", "absolute")?;
    fields.require_flag("is_decoder", false)?;
    let hidden_size = fields.extent("hidden_size")?;
    let n_heads = fields.extent("num_attention_heads")?;
    let n_blocks = fields.block_count("num_hidden_layers")?;
    Ok(ModelConfig {
        architecture: Architecture::Bert,
        hidden_size,
        n_blocks,
        n_heads,
        n_kv_heads: n_heads,
        head_dim: fields.exact_quotient("num_attention_heads", hidden_size, n_heads)?,
        feed_forward_size: fields.extent("intermediate_size")?,
        vocab_size: fields.extent("vocab_size")?,
        max_positions: fields.extent("max_position_embeddings")?,
        norm_eps: fields.number("layer_norm_eps", 1e-12)?,
        activation: fields.activation("hidden_act", Activation::GeluErf)?,
        feed_forward: FeedForwardKind::Plain,
        rotary: None,
        query_key_norms: false,
        attention_windows: vec![None; n_blocks],
        biases: Biases {
            query_key_value: true,
            attention_output: true,
            feed_forward: true,
        },
        tied_head: fields.flag("tie_word_embeddings", true)?,
        start_token_id: None,
    })
}

#[cfg(test)]
mod tests;
