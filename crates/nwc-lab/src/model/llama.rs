//! GGUF's Llama layout as Hugging Face has it: tensor names, row order, `config.json`.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use nwc_format::DType;
use serde_json::{Value as Json, json};

use super::dequantize::StorageType;
use super::gguf::Gguf;
use super::permute::{Permutation, split_rotary_halves};
use crate::shard;

/// The figures of a Llama model.
#[derive(Debug)]
pub(crate) struct Llama {
    n_layers: usize,
    width: usize,
    feed_forward: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    context_len: usize,
    rope_theta: f64,
    norm_eps: f64,
    vocab_size: usize,
    tied: bool,
}

/// How the channels are ordered.
#[derive(Debug)]
pub(crate) struct ChannelOrder {
    /// Of the residual stream: one order for the whole model.
    residual: Permutation,
    /// Of the feed-forward's inner channels: one order per layer.
    feed_forward: Vec<Permutation>,
}

impl ChannelOrder {
    /// The order as it is for `None`, else random orders that depend on the seed alone.
    pub(crate) fn new(llama: &Llama, seed: Option<u64>) -> Self {
        let order = |len, stream: usize| match seed {
            None => Permutation::identity(len),
            Some(seed) => Permutation::seeded(len, seed.wrapping_add(stream as u64)),
        };
        Self {
            residual: order(llama.width, 0),
            feed_forward: (0..llama.n_layers)
                .map(|idx| order(llama.feed_forward, idx + 1))
                .collect(),
        }
    }
}

impl Llama {
    /// Reads the figures from a file's metadata.
    ///
    /// # Errors
    /// Where one is absent or the file is of another architecture.
    pub(crate) fn from_gguf(gguf: &Gguf<'_>) -> Result<Self> {
        let architecture = gguf.text("general.architecture")?;
        ensure!(
            architecture == "llama",
            "architecture '{architecture}', expected 'llama'"
        );
        let count = |key: &str| gguf.count(&format!("llama.{key}"));
        let (width, n_heads) = (count("embedding_length")?, count("attention.head_count")?);
        let head_dim = count("rope.dimension_count")?;
        ensure!(
            head_dim % 2 == 0 && head_dim * n_heads == width,
            "{n_heads} heads of {head_dim} in {width}"
        );
        Ok(Self {
            n_layers: count("block_count")?,
            width,
            feed_forward: count("feed_forward_length")?,
            n_heads,
            n_kv_heads: count("attention.head_count_kv")?,
            head_dim,
            context_len: count("context_length")?,
            rope_theta: gguf.float("llama.rope.freq_base")?,
            norm_eps: gguf.float("llama.attention.layer_norm_rms_epsilon")?,
            vocab_size: count("vocab_size")?,
            tied: !gguf.tensors.contains_key("output.weight"),
        })
    }

    /// `config.json`.
    pub(crate) fn config(&self, gguf: &Gguf<'_>) -> Result<Json> {
        Ok(json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": gguf.count("tokenizer.ggml.bos_token_id")?,
            "eos_token_id": gguf.count("tokenizer.ggml.eos_token_id")?,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.width,
            "initializer_range": 1.0 / (self.width as f64).sqrt(),
            "intermediate_size": self.feed_forward,
            "max_position_embeddings": self.context_len,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_kv_heads,
            "pad_token_id": gguf.count("tokenizer.ggml.padding_token_id")?,
            "rms_norm_eps": self.norm_eps,
            "rope_scaling": null,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float32",
            "use_cache": true,
            "vocab_size": self.vocab_size,
        }))
    }

    /// `generation_config.json`.
    pub(crate) fn generation_config(&self, gguf: &Gguf<'_>) -> Result<Json> {
        Ok(json!({
            "bos_token_id": gguf.count("tokenizer.ggml.bos_token_id")?,
            "eos_token_id": gguf.count("tokenizer.ggml.eos_token_id")?,
            "pad_token_id": gguf.count("tokenizer.ggml.padding_token_id")?,
        }))
    }

    /// What the tensor that GGUF calls `name` is in a Hugging Face folder.
    ///
    /// # Errors
    /// Where a model of these figures has no such tensor.
    pub(crate) fn counterpart(&self, name: &str) -> Result<Counterpart> {
        let place = self.place(name)?;
        let is_rotary = matches!(place.moved, Move::RotaryInput);
        Ok(Counterpart {
            name: place.name,
            shape: place.shape,
            rotary_head_dim: is_rotary.then_some(self.head_dim),
        })
    }

    /// Hugging Face's name, shape and reorder of the tensor that GGUF calls `name`.
    fn place(&self, name: &str) -> Result<Place> {
        let (width, kv_width) = (self.width, self.n_kv_heads * self.head_dim);
        let whole = match name {
            "token_embd.weight" => Some((
                "model.embed_tokens.weight",
                vec![self.vocab_size, width],
                Move::Input,
            )),
            "output_norm.weight" => Some(("model.norm.weight", vec![width], Move::Norm)),
            "output.weight" => Some(("lm_head.weight", vec![self.vocab_size, width], Move::Input)),
            _ => None,
        };
        if let Some((name, shape, moved)) = whole {
            return Ok(Place {
                name: name.into(),
                shape,
                moved,
                layer_idx: 0,
            });
        }
        let in_layer = name
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'));
        let (layer, part) = in_layer.with_context(|| format!("unknown tensor '{name}'"))?;
        let layer_idx: usize = layer.parse().with_context(|| format!("tensor '{name}'"))?;
        ensure!(
            layer_idx < self.n_layers,
            "tensor '{name}' in a model of {} layers",
            self.n_layers
        );
        let (part, shape, moved) = match part {
            "attn_norm.weight" => ("input_layernorm", vec![width], Move::Norm),
            "ffn_norm.weight" => ("post_attention_layernorm", vec![width], Move::Norm),
            "attn_q.weight" => ("self_attn.q_proj", vec![width, width], Move::RotaryInput),
            "attn_k.weight" => ("self_attn.k_proj", vec![kv_width, width], Move::RotaryInput),
            "attn_v.weight" => ("self_attn.v_proj", vec![kv_width, width], Move::Input),
            "attn_output.weight" => ("self_attn.o_proj", vec![width, width], Move::Output),
            "ffn_gate.weight" => ("mlp.gate_proj", vec![self.feed_forward, width], Move::Up),
            "ffn_up.weight" => ("mlp.up_proj", vec![self.feed_forward, width], Move::Up),
            "ffn_down.weight" => ("mlp.down_proj", vec![width, self.feed_forward], Move::Down),
            _ => bail!("unknown tensor '{name}'"),
        };
        Ok(Place {
            name: format!("model.layers.{layer_idx}.{part}.weight"),
            shape,
            moved,
            layer_idx,
        })
    }
}

/// A tensor of GGUF as a Hugging Face folder has it.
#[derive(Debug)]
pub(crate) struct Counterpart {
    pub(crate) name: String,
    /// Row-major shape, the same in both.
    pub(crate) shape: Vec<usize>,
    /// Rows of a head, for a tensor whose rows GGUF keeps in rotary order.
    pub(crate) rotary_head_dim: Option<usize>,
}

#[derive(Debug)]
struct Place {
    name: String,
    shape: Vec<usize>,
    moved: Move,
    layer_idx: usize,
}

/// Which axes of a tensor run along which channels.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// A vector over the residual channels.
    Norm,
    /// Columns read the residual channels.
    Input,
    /// The same, with rows in rotary order.
    RotaryInput,
    /// Rows write the residual channels.
    Output,
    /// Residual channels to feed-forward channels.
    Up,
    /// Feed-forward channels to residual channels.
    Down,
}

/// One tensor of the folder to be written, computed when it is asked for: one is in memory at a time.
#[derive(Debug)]
pub(crate) struct LazyTensor<'a> {
    stored: StorageType,
    bytes: &'a [u8],
    place: Place,
    order: &'a ChannelOrder,
    head_dim: usize,
}

/// Every tensor of the file under its Hugging Face name.
///
/// # Errors
/// Where a tensor is unknown, of another shape than the metadata says, or does not lie in the file.
pub(crate) fn tensors<'a>(
    gguf: &'a Gguf<'_>,
    llama: &Llama,
    order: &'a ChannelOrder,
) -> Result<Vec<(String, LazyTensor<'a>)>> {
    let mut out = Vec::new();
    for (name, info) in &gguf.tensors {
        let place = llama.place(name)?;
        let found = &info.shape;
        ensure!(
            *found == place.shape,
            "tensor '{name}' is {found:?}, expected {:?}",
            place.shape
        );
        let stored =
            StorageType::from_id(info.type_id).with_context(|| format!("tensor '{name}'"))?;
        let n_bytes = stored.n_bytes(place.shape.iter().product());
        let bytes = gguf.bytes_from(info).get(..n_bytes);
        let bytes = bytes.with_context(|| format!("tensor '{name}' ends after the file"))?;
        let head_dim = llama.head_dim;
        out.push((
            place.name.clone(),
            LazyTensor {
                stored,
                bytes,
                place,
                order,
                head_dim,
            },
        ));
    }
    let n_expected = llama.n_layers * 9 + if llama.tied { 2 } else { 3 };
    ensure!(
        out.len() == n_expected,
        "{} tensors, expected {n_expected}",
        out.len()
    );
    Ok(out)
}

impl LazyTensor<'_> {
    fn values(&self) -> Vec<f32> {
        let values = self.stored.values(self.bytes);
        let residual = &self.order.residual;
        let feed_forward = &self.order.feed_forward[self.place.layer_idx];
        let n_cols = *self.place.shape.last().unwrap_or(&1);
        match self.place.moved {
            Move::Norm => residual.rows(&values, 1),
            Move::Input => residual.cols(&values),
            Move::RotaryInput => {
                residual.cols(&split_rotary_halves(&values, self.head_dim, n_cols))
            }
            Move::Output => residual.rows(&values, n_cols),
            Move::Up => feed_forward.rows(&residual.cols(&values), n_cols),
            Move::Down => residual.rows(&feed_forward.cols(&values), n_cols),
        }
    }
}

/// Writes every tensor, by name, to one safetensors file.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn write(mut tensors: Vec<(String, LazyTensor<'_>)>, path: &Path) -> Result<()> {
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let spec = |(name, tensor): &(String, LazyTensor<'_>)| {
        (name.clone(), DType::F32, tensor.place.shape.clone())
    };
    let specs: Vec<shard::Spec> = tensors.iter().map(spec).collect();
    shard::write(path, &specs, |idx| {
        let values = tensors[idx].1.values();
        Ok(values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect())
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A model of two layers.
    pub(crate) fn llama() -> Llama {
        Llama {
            n_layers: 2,
            width: 8,
            feed_forward: 12,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 4,
            context_len: 16,
            rope_theta: 1e5,
            norm_eps: 1e-5,
            vocab_size: 10,
            tied: true,
        }
    }

    #[test]
    fn tensors_get_their_names_and_shapes() {
        let check = |name: &str, expected: &str, shape: &[usize]| {
            let place = llama().place(name).unwrap();
            assert_eq!(
                (place.name.as_str(), place.shape.as_slice()),
                (expected, shape)
            );
        };
        check("token_embd.weight", "model.embed_tokens.weight", &[10, 8]);
        check(
            "blk.1.attn_k.weight",
            "model.layers.1.self_attn.k_proj.weight",
            &[4, 8],
        );
        check(
            "blk.0.ffn_down.weight",
            "model.layers.0.mlp.down_proj.weight",
            &[8, 12],
        );
    }

    #[test]
    fn unknown_tensors_are_errors() {
        for name in [
            "blk.2.attn_k.weight",
            "blk.x.attn_k.weight",
            "blk.0.attn_q.bias",
            "rope",
        ] {
            assert!(llama().place(name).unwrap_err().to_string().contains(name));
        }
    }

    #[test]
    fn reordered_channels_compute_the_same() {
        // A feed-forward without its nonlinearity: down · up · x, and the norm's weight on x.
        let order = ChannelOrder::new(&llama(), Some(5));
        let made = |name: &str, n_values: usize, order: &ChannelOrder| {
            let bytes: Vec<u8> = (0..n_values)
                .flat_map(|idx| ((idx % 7) as f32).to_le_bytes())
                .collect();
            let place = llama().place(name).unwrap();
            LazyTensor {
                stored: StorageType::F32,
                bytes: &bytes,
                place,
                order,
                head_dim: 4,
            }
            .values()
        };
        let multiply = |matrix: &[f32], x: &[f32]| -> Vec<f32> {
            matrix
                .chunks_exact(x.len())
                .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
                .collect()
        };
        let model = |order: &ChannelOrder| {
            let x = made("blk.0.ffn_norm.weight", 8, order);
            let inner = multiply(&made("blk.0.ffn_up.weight", 96, order), &x);
            let outer = multiply(&made("blk.0.ffn_down.weight", 96, order), &inner);
            multiply(&made("token_embd.weight", 80, order), &outer)
        };
        assert_eq!(model(&order), model(&ChannelOrder::new(&llama(), None)));
    }
}
