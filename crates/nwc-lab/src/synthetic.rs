//! `cargo xtask synthetic`: a checkpoint of any size in the shape of a Llama, to see what a large one costs.
//!
//! Weights are Gaussian, rows differ in scale, the same for the same seed; nothing but one tensor is in memory.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use half::bf16;
use nwc_format::{DType, Header, INDEX_FILE_NAME, ModelIndex, shard_file_name};
use serde_json::json;

use crate::flags::SyntheticFlags;
use crate::shard::{self, Spec};
use xtask::workspace;

/// Widths and heads come in this unit.
const HEAD_DIM: usize = 64;
/// Rows of the embedding of a large model; a small one has 8 for each of its features.
const MAX_VOCABULARY: usize = 32_000;
/// Bytes of a shard, unless a single tensor is larger.
const SHARD_BYTES: usize = 1 << 30;
/// Bits of the table of a Gaussian's quantiles.
const QUANTILE_BITS: u32 = 12;

/// Name and shape of a tensor.
type TensorSpec = (String, Vec<usize>);

/// Writes the checkpoint; the folder must not exist.
///
/// # Errors
/// Where the sizes make no model or the folder cannot be written.
pub(crate) fn run(flags: &SyntheticFlags) -> Result<()> {
    ensure!(
        (1..=1000).contains(&flags.layers),
        "--layers {}: 1 to 1000 are possible",
        flags.layers
    );
    ensure!(
        (1e-4..=1e3).contains(&flags.gigabytes),
        "--gigabytes {}: 0.0001 to 1000 are possible",
        flags.gigabytes
    );
    let sizes = Sizes::near(flags.layers, flags.gigabytes * 1e9);
    write(&flags.out, &sizes, flags.seed)?;
    let n_bytes = 2.0 * sizes.n_params() as f64;
    eprintln!(
        "{}: {:.3} GB, {} layers of width {}",
        flags.out.display(),
        n_bytes / 1e9,
        sizes.layers,
        sizes.width
    );
    Ok(())
}

/// The sizes of a Llama: grouped queries, four heads to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    layers: usize,
    width: usize,
}

impl Sizes {
    /// The width with which `layers` layers come nearest to `bytes` in bf16.
    fn near(layers: usize, bytes: f64) -> Self {
        let sizes = |units: usize| Self {
            layers,
            width: 4 * HEAD_DIM * units,
        };
        let off = |sizes: &Self| (2.0 * sizes.n_params() as f64 - bytes).abs();
        let mut best = Self { layers, width: 64 };
        for units in 1..128 {
            let next = sizes(units);
            if off(&next) < off(&best) {
                best = next;
            }
        }
        best
    }

    fn feed_forward(&self) -> usize {
        (8 * self.width / 3).next_multiple_of(64)
    }

    fn vocabulary(&self) -> usize {
        MAX_VOCABULARY.min(8 * self.width)
    }

    fn n_params(&self) -> usize {
        let params = |(_, shape): TensorSpec| shape.iter().product::<usize>();
        self.tensors().into_iter().map(params).sum()
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let (width, inner) = (self.width, self.feed_forward());
        let vocabulary = self.vocabulary();
        let mut tensors = vec![("model.embed_tokens.weight".into(), vec![vocabulary, width])];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: Vec<usize>| {
                tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
            };
            add("input_layernorm", vec![width]);
            add("self_attn.q_proj", vec![width, width]);
            add("self_attn.k_proj", vec![width / 4, width]);
            add("self_attn.v_proj", vec![width / 4, width]);
            add("self_attn.o_proj", vec![width, width]);
            add("post_attention_layernorm", vec![width]);
            add("mlp.gate_proj", vec![inner, width]);
            add("mlp.up_proj", vec![inner, width]);
            add("mlp.down_proj", vec![width, inner]);
        }
        tensors.push(("model.norm.weight".into(), vec![width]));
        tensors.push(("lm_head.weight".into(), vec![vocabulary, width]));
        tensors
    }

    fn config(&self) -> serde_json::Value {
        let n_heads = (self.width / HEAD_DIM).max(4);
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.width,
            "intermediate_size": self.feed_forward(),
            "num_hidden_layers": self.layers,
            "num_attention_heads": n_heads,
            "num_key_value_heads": n_heads / 4,
            "vocab_size": self.vocabulary(),
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "max_position_embeddings": 2048,
            "tie_word_embeddings": false,
            "torch_dtype": "bfloat16",
        })
    }
}

fn write(out: &Path, sizes: &Sizes, seed: u64) -> Result<()> {
    fs::create_dir(out).with_context(|| format!("cannot make {}", out.display()))?;
    let tensors = sizes.tensors();
    let shards = shards(&tensors);
    let quantiles = quantiles();
    let mut headers: Vec<(String, Header)> = Vec::new();
    let mut tensor_idx = 0;
    for (shard_idx, shard) in shards.iter().enumerate() {
        let name = shard_file_name(shard_idx, shards.len());
        let path = out.join(&name);
        let specs: Vec<Spec> = shard
            .iter()
            .map(|(name, shape)| (name.clone(), DType::BF16, shape.clone()))
            .collect();
        shard::write(&path, &specs, |idx| {
            tensor_idx += 1;
            let seed = seed.wrapping_add(tensor_idx - 1);
            Ok(tensor(&specs[idx].2, seed, &quantiles))
        })?;
        headers.push((name, shard::header(&path)?));
    }
    if headers.len() > 1 {
        let shards: Vec<(&str, &Header)> = headers.iter().map(|(n, h)| (n.as_str(), h)).collect();
        fs::write(
            out.join(INDEX_FILE_NAME),
            ModelIndex::from_shards(&shards)?.to_bytes()?,
        )?;
    }
    let config = serde_json::to_string_pretty(&sizes.config())? + "\n";
    workspace::write_whole(&out.join("config.json"), &config)
}

/// Cuts the tensors into shards of at most [`SHARD_BYTES`], a larger tensor being a shard of its own.
fn shards(tensors: &[TensorSpec]) -> Vec<&[TensorSpec]> {
    let mut shards = Vec::new();
    let (mut start, mut n_bytes) = (0, 0);
    for (idx, (_, shape)) in tensors.iter().enumerate() {
        let next = 2 * shape.iter().product::<usize>();
        if idx > start && n_bytes + next > SHARD_BYTES {
            shards.push(&tensors[start..idx]);
            (start, n_bytes) = (idx, 0);
        }
        n_bytes += next;
    }
    shards.push(&tensors[start..]);
    shards
}

/// Bytes of a tensor in bf16: ones for a norm, else Gaussian rows of different scale.
fn tensor(shape: &[usize], seed: u64, quantiles: &[f32]) -> Vec<u8> {
    let [rows, cols] = *shape else {
        let n: usize = shape.iter().product();
        return bf16::ONE.to_le_bytes().repeat(n);
    };
    let mut random = SplitMix64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes = Vec::with_capacity(2 * rows * cols);
    for _ in 0..rows {
        let scale = 0.02 * (0.5 + (random.next() >> 40) as f32 / (1 << 24) as f32);
        let mut bits = 0;
        for col in 0..cols {
            // Five numbers of twelve bits a draw.
            bits = if col % 5 == 0 {
                random.next()
            } else {
                bits >> QUANTILE_BITS
            };
            let quantile = quantiles[bits as usize % quantiles.len()];
            bytes.extend_from_slice(&bf16::from_f32(scale * quantile).to_le_bytes());
        }
    }
    bytes
}

/// As many equally likely values of a standard Gaussian as [`QUANTILE_BITS`] tell apart.
fn quantiles() -> Vec<f32> {
    let n = 1_usize << QUANTILE_BITS;
    // The distribution function by the trapezoidal rule, from far in the tail.
    let (low, step) = (-6.0_f64, 1.0 / 1024.0);
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let mut values = Vec::with_capacity(n);
    let (mut x, mut probability) = (low, 0.0);
    while values.len() < n {
        let wanted = (values.len() as f64 + 0.5) / n as f64;
        while probability < wanted && x < -low {
            probability += 0.5 * step * (density(x) + density(x + step));
            x += step;
        }
        values.push(x as f32);
    }
    values
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_near_what_is_asked_for() {
        for (layers, gigabytes) in [(24, 8.0), (32, 14.0), (8, 0.5)] {
            let sizes = Sizes::near(layers, gigabytes * 1e9);
            let found = 2.0 * sizes.n_params() as f64 / 1e9;
            assert!(
                (found / gigabytes - 1.0).abs() < 0.25,
                "{sizes:?}: {found} GB"
            );
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let flags = |name: &str, seed| SyntheticFlags {
            out: dir.path().join(name),
            layers: 2,
            gigabytes: 0.0005,
            seed,
        };
        for (name, seed) in [("a", 1), ("b", 1), ("c", 2)] {
            run(&flags(name, seed)).unwrap();
        }
        let bytes = |name: &str| fs::read(dir.path().join(name).join("model.safetensors")).unwrap();
        assert!(bytes("a") == bytes("b") && bytes("a") != bytes("c"));
        assert!(run(&flags("a", 1)).is_err(), "nothing is overwritten");

        let checkpoint = nwc::Checkpoint::open(dir.path().join("a")).unwrap();
        let gate = checkpoint
            .tensor("model.layers.1.mlp.gate_proj.weight")
            .unwrap();
        let mean_square = gate.iter().map(|w| w * w).sum::<f32>() / gate.len() as f32;
        // Scales are even from 0.01 to 0.03: their mean square is 0.02² · 13/12.
        assert!(
            (mean_square / (4e-4 * 13.0 / 12.0) - 1.0).abs() < 0.1,
            "{mean_square}"
        );
    }

    #[test]
    fn large_checkpoints_are_cut_into_shards() {
        let sizes = Sizes::near(24, 8e9);
        let tensors = sizes.tensors();
        let shards = shards(&tensors);
        assert_eq!(shards.concat(), tensors);
        assert!(shards.len() > 4, "{}", shards.len());
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let flags = |layers, gigabytes| SyntheticFlags {
            out: "/nowhere/at/all".into(),
            layers,
            gigabytes,
            seed: 0,
        };
        assert!(
            run(&flags(0, 1.0))
                .unwrap_err()
                .to_string()
                .contains("--layers")
        );
        assert!(
            run(&flags(1, f64::NAN))
                .unwrap_err()
                .to_string()
                .contains("--gigabytes")
        );
    }
}
