//! Plain Rust and LibTorch on the processor, one thread each: weights a second that a codec file synthesises.
//!
//! `cargo run --release -p nwc-train --example synthesis_speed -- CODEC...`, with codec files, or `paper` for a random
//! codec of the paper's shape.
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Instant;

use anyhow::ensure;
use nwc_chunk::ndarray::Array2;
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::{CodecConfig, NeuralCodec, SynthesisBackend};
use nwc_train::{TorchBackend, gaussian_matrix};

/// Hidden units to compute in one run, so that wide codecs take no longer than narrow ones.
const N_HIDDEN: usize = 1 << 23;
/// Runs of each; the fastest counts, since others use the machine too.
const N_RUNS: usize = 9;

fn main() -> anyhow::Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    ensure!(!names.is_empty(), "usage: synthesis_speed CODEC...");
    tch::set_num_threads(1);
    for name in names {
        let codec = match name.as_str() {
            "paper" => nwc_train::parity_case(&CodecConfig::paper(300.0), 1, 100)?.codec,
            file => NeuralCodec::from_bytes(&std::fs::read(file)?)?,
        };
        let config = codec.config();
        let levels = vec![QualityLevel(0); N_HIDDEN / config.width];
        let chunks = gaussian_matrix(levels.len(), config.chunk_len, 100);
        let symbols = codec
            .quantize_chunks(chunks.view(), &levels, Parallelism::Serial)?
            .symbols;
        let torch = TorchBackend::new(tch::Device::Cpu)?.load(&codec)?;
        let plain = || codec.synthesize(symbols.view(), &levels, Parallelism::Serial);
        let (plain, plain_speed) = fastest(plain)?;
        let (torch, torch_speed) = fastest(|| torch.synthesize(symbols.view(), &levels))?;
        let difference = (plain - torch).iter().fold(0.0f32, |l, x| l.max(x.abs()));
        println!(
            "{name}: plain Rust {plain_speed:.2}, LibTorch {torch_speed:.2} million weights a second, \
             weights differ by {difference:.1e}"
        );
    }
    Ok(())
}

/// What `synthesize` makes, and its best speed in million weights a second.
fn fastest(
    synthesize: impl Fn() -> nwc_codec::Result<Array2<f32>>,
) -> anyhow::Result<(Array2<f32>, f64)> {
    let mut best = f64::INFINITY;
    let mut chunks = synthesize()?;
    for _ in 0..N_RUNS {
        let start = Instant::now();
        chunks = synthesize()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    let n_weights = chunks.len();
    Ok((chunks, n_weights as f64 / best / 1e6))
}
