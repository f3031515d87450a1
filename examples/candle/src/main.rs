//! Runs a Llama in candle straight from a compressed checkpoint folder: the tokens most likely after a prompt.
//!
//! `cargo run --release -- FOLDER [PROMPT]`; a plain checkpoint folder does as well, to compare with.

mod backend;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use candle_core::{DType, Device, IndexOp as _, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::softmax;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use nwc::Checkpoint;
use tokenizers::Tokenizer;

use backend::NwcBackend;

const DEFAULT_PROMPT: &str = "The capital of France is";
/// Tokens to write.
const N_TOKENS: usize = 24;
/// Candidates for the first of them to list.
const N_LISTED: usize = 5;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .context("usage: nwc-candle-example FOLDER [PROMPT]")?;
    let dir = Path::new(&dir);
    let prompt = arguments.next().unwrap_or_else(|| DEFAULT_PROMPT.into());

    // Files that are not weights lie in a compressed folder as they were.
    let config: LlamaConfig = serde_json::from_slice(&fs::read(dir.join("config.json"))?)
        .context("config.json is no Llama's")?;
    let config = config.into_config(false);
    let tokenizer =
        Tokenizer::from_file(dir.join("tokenizer.json")).map_err(|e| anyhow!("tokenizer: {e}"))?;

    let device = Device::Cpu;
    let start = Instant::now();
    let checkpoint = Checkpoint::open(dir)?;
    let kind = if checkpoint.is_compressed() {
        "compressed"
    } else {
        "plain"
    };
    // From here on it is candle as always.
    let vb = VarBuilder::from_backend(Box::new(NwcBackend(checkpoint)), DType::F32, device.clone());
    let model = Llama::load(vb, &config)?;
    println!(
        "{kind} model loaded in {:.1} s",
        start.elapsed().as_secs_f64()
    );

    let encoding = tokenizer
        .encode(prompt, true)
        .map_err(|e| anyhow!("tokenizer: {e}"))?;
    let mut tokens = encoding.get_ids().to_vec();
    let mut cache = Cache::new(true, DType::F32, &config, &device)?;
    let mut n_seen = 0;
    let start = Instant::now();
    for step in 0..N_TOKENS {
        let input = Tensor::new(&tokens[n_seen..], &device)?.unsqueeze(0)?;
        let logits = model.forward(&input, n_seen, &mut cache)?.i(0)?;
        n_seen = tokens.len();
        let ranked = ranked(&logits)?;
        if step == 0 {
            list(&tokenizer, &ranked[..N_LISTED.min(ranked.len())])?;
        }
        let (next, _) = *ranked.first().context("an empty vocabulary")?;
        tokens.push(next);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", decode(&tokenizer, &tokens)?);
    println!("{N_TOKENS} tokens in {seconds:.1} s");
    Ok(())
}

/// Tokens and their probabilities, the most likely first; `logits` is `[vocab_size]`.
fn ranked(logits: &Tensor) -> Result<Vec<(u32, f32)>> {
    let probabilities: Vec<f32> = softmax(logits, 0)?.to_vec1()?;
    let mut ranked: Vec<(u32, f32)> = (0..).zip(probabilities).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(ranked)
}

fn list(tokenizer: &Tokenizer, candidates: &[(u32, f32)]) -> Result<()> {
    for &(token, probability) in candidates {
        println!("  {probability:.4} {:?}", decode(tokenizer, &[token])?);
    }
    Ok(())
}

fn decode(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<String> {
    tokenizer
        .decode(tokens, false)
        .map_err(|e| anyhow!("tokenizer: {e}"))
}
