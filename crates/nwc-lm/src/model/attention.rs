//! Multi-head attention with grouped key and value heads.

use tch::Tensor;

use super::linear::{Linear, LinearInfo, Tap};
use super::norm::Norm;
use super::sequence::Sequence;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::names::NameTable;
use crate::tensors::Loader;

/// Keys and values of the positions seen so far. Only for runs without gradients.
#[derive(Debug, Default)]
pub struct KvCache {
    /// `[B, kv_heads, capacity, head_dim]` each.
    buffers: Option<(Tensor, Tensor)>,
    n_positions: i64,
}

impl KvCache {
    /// Adds new positions and returns all of them.
    fn extend(&mut self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let added = keys.size4()?.2;
        let start = self.n_positions;
        self.n_positions += added;
        let append = |buffer: Option<&Tensor>, new: &Tensor| -> Result<Tensor> {
            let (n_windows, n_heads, _, head_dim) = new.size4()?;
            let fits = |buffer: &&Tensor| buffer.size().get(2).is_some_and(|&c| c >= start + added);
            let buffer = match buffer.filter(fits) {
                Some(buffer) => buffer.shallow_clone(),
                None => {
                    // Doubling: each position is copied twice on average, however long the sequence gets.
                    let capacity = 2 * (start + added);
                    let shape = [n_windows, n_heads, capacity, head_dim];
                    let grown = Tensor::f_zeros(shape, (new.f_kind()?, new.device()))?;
                    if let Some(old) = buffer {
                        grown
                            .f_narrow(2, 0, start)?
                            .f_copy_(&old.f_narrow(2, 0, start)?)?;
                    }
                    grown
                }
            };
            buffer.f_narrow(2, start, added)?.f_copy_(new)?;
            Ok(buffer)
        };
        let (old_keys, old_values) = self
            .buffers
            .as_ref()
            .map_or((None, None), |(keys, values)| (Some(keys), Some(values)));
        let (keys, values) = (append(old_keys, keys)?, append(old_values, values)?);
        let seen = (
            keys.f_narrow(2, 0, self.n_positions)?,
            values.f_narrow(2, 0, self.n_positions)?,
        );
        self.buffers = Some((keys, values));
        Ok(seen)
    }
}

#[derive(Debug)]
pub(crate) struct Attention {
    /// q, k and v, or one matrix with the three stacked.
    pub(crate) query_key_value: Vec<Linear>,
    pub(crate) output: Linear,
    pub(crate) query_key_norms: Option<(Norm, Norm)>,
    n_heads: i64,
    n_kv_heads: i64,
    head_dim: i64,
    window: Option<usize>,
}

impl Attention {
    pub(crate) fn load(
        loader: &Loader<'_>,
        config: &ModelConfig,
        names: &NameTable,
        block_prefix: &str,
        block_idx: usize,
    ) -> Result<Self> {
        let query_width = config.n_heads * config.head_dim;
        let kv_width = config.n_kv_heads * config.head_dim;
        let widths: &[usize] = match names.query_key_value.len() {
            1 => &[query_width + 2 * kv_width],
            _ => &[query_width, kv_width, kv_width],
        };
        let first = names.query_key_value.first().copied().unwrap_or_default();
        let linear = |name: &str, input: &str, n_in: usize, n_out: usize, has_bias: bool| {
            let info = LinearInfo {
                weight_name: format!("{block_prefix}.{name}.weight"),
                input_key: format!("{block_prefix}.{input}.weight"),
                block_idx: Some(block_idx),
                expert_idx: None,
                n_in,
                n_out,
                transposed: names.transposed,
            };
            let bias = has_bias.then(|| format!("{block_prefix}.{name}.bias"));
            Linear::load(loader, info, bias.as_deref())
        };
        let query_key_value = names
            .query_key_value
            .iter()
            .zip(widths)
            .map(|(name, &width)| {
                linear(
                    name,
                    first,
                    config.hidden_size,
                    width,
                    config.biases.query_key_value,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let name = names.attention_output;
        let has_bias = config.biases.attention_output;
        let output = linear(name, name, query_width, config.hidden_size, has_bias)?;
        let head_norm = |name: &str| {
            let name = format!("{block_prefix}.{name}");
            Norm::load_rms(loader, &name, config.head_dim, config.norm_eps)
        };
        let query_key_norms = if config.query_key_norms {
            Some((head_norm(names.query_norm)?, head_norm(names.key_norm)?))
        } else {
            None
        };
        Ok(Self {
            query_key_value,
            output,
            query_key_norms,
            n_heads: config.n_heads as i64,
            n_kv_heads: config.n_kv_heads as i64,
            head_dim: config.head_dim as i64,
            window: config.attention_windows.get(block_idx).copied().flatten(),
        })
    }

    /// Maps `[B, T, hidden]` to `[B, T, hidden]`.
    pub(crate) fn forward(
        &self,
        hidden: &Tensor,
        sequence: &Sequence,
        tap: &mut dyn Tap,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        let (n_windows, n_tokens, _) = hidden.size3()?;
        let mut projected = Vec::with_capacity(3);
        for linear in &self.query_key_value {
            projected.push(linear.forward(hidden, tap)?);
        }
        // One tensor or three: side by side they are q, k, v either way.
        let (query_width, kv_width) = (
            self.n_heads * self.head_dim,
            self.n_kv_heads * self.head_dim,
        );
        if let [fused] = projected.as_slice() {
            projected = fused.f_split_with_sizes([query_width, kv_width, kv_width], -1)?;
        }
        let [query, keys, values] = projected.as_slice() else {
            return Err(Error::Argument {
                option: "projections of attention",
                found: projected.len().to_string(),
                allowed: "1 or 3".to_owned(),
            });
        };
        let heads = |tensor: &Tensor, n_heads: i64, norm: Option<&Norm>| -> Result<Tensor> {
            let split = tensor.f_reshape([n_windows, n_tokens, n_heads, self.head_dim])?;
            let split = match norm {
                Some(norm) => norm.forward(&split)?,
                None => split,
            };
            Ok(split.f_transpose(1, 2)?)
        };
        let (query_norm, key_norm) = self
            .query_key_norms
            .as_ref()
            .map_or((None, None), |(q, k)| (Some(q), Some(k)));
        let query = sequence.rotate(heads(query, self.n_heads, query_norm)?)?;
        let mut keys = sequence.rotate(heads(keys, self.n_kv_heads, key_norm)?)?;
        let mut values = heads(values, self.n_kv_heads, None)?;
        if let Some(cache) = cache {
            (keys, values) = cache.extend(&keys, &values)?;
        }
        let n_shared = self.n_heads / self.n_kv_heads;
        let mut query = query;
        if n_shared > 1 && n_tokens == 1 {
            // One token's query heads that share keys are as well several tokens of one head.
            query = query.f_reshape([n_windows, self.n_kv_heads, n_shared, self.head_dim])?;
        } else if n_shared > 1 {
            keys = keys.f_repeat_interleave_self_int(n_shared, 1, None)?;
            values = values.f_repeat_interleave_self_int(n_shared, 1, None)?;
        }
        let attended = sequence
            .attend(&query, &keys, &values, self.window)?
            .f_reshape([n_windows, self.n_heads, n_tokens, self.head_dim])?;
        let joined = attended
            .f_transpose(1, 2)?
            .f_reshape([n_windows, n_tokens, query_width])?;
        self.output.forward(&joined, tap)
    }
}
