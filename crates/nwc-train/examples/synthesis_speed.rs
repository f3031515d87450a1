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

/// Hidden units to compute in one run, so that wide codecs take no longer than narrow ones; a run is short, since
/// others may use the machine too.
const N_HIDDEN: usize = 1 << 20;
/// Runs of each, in turn; the fastest counts.
const N_RUNS: usize = 60;

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
            .quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)?
            .symbols;
        let torch = TorchBackend::new(tch::Device::Cpu)?.load(&codec)?;
        let plain = || codec.synthesize(symbols.view(), &levels, Parallelism::Serial);
        let torch = || torch.synthesize(symbols.view(), &levels);
        let mut seconds = [f64::INFINITY; 2];
        for _ in 0..N_RUNS {
            seconds = [seconds[0].min(time(plain)?), seconds[1].min(time(torch)?)];
        }
        let [plain_speed, torch_speed] = seconds.map(|s| chunks.len() as f64 / s / 1e6);
        let (plain, torch) = (plain()?, torch()?);
        let difference = largest(&(&plain - &torch)) / largest(&plain);
        println!(
            "{name}: plain Rust {plain_speed:.2}, LibTorch {torch_speed:.2} million weights a second; \
             they differ by {difference:.1e} of the largest weight"
        );
    }
    Ok(())
}

/// Seconds that `synthesize` takes.
fn time(synthesize: impl Fn() -> nwc_codec::Result<Array2<f32>>) -> anyhow::Result<f64> {
    let start = Instant::now();
    synthesize()?;
    Ok(start.elapsed().as_secs_f64())
}

fn largest(weights: &Array2<f32>) -> f32 {
    weights.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}
