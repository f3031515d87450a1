//! Trains a codec preset on the matrices of a safetensors file: `pretrain FILE OUT_DIR PRESET LAMBDA…`.
//!
//! Writes `PRESET-lambdaL.safetensors` and its learning curve as JSON, and prints what the codec's real payload
//! costs beside scalar quantisation's entropy at the same error.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_chunk::{Parallelism, QualityLevel, normalize_rows, row_scales};
use nwc_train::{RUN_LEN, TrainConfig, Trainer, TrainingData, ecsq_at_mse};
use safetensors::{Dtype, SafeTensors};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, out_dir, preset, lambdas @ ..] = arguments.as_slice() else {
        bail!("usage: pretrain FILE OUT_DIR PRESET LAMBDA...");
    };
    let bytes = std::fs::read(file).with_context(|| file.clone())?;
    let matrices = normalized_matrices(&bytes)?;
    let sample: Vec<f32> = evaluation_sample(&matrices);
    let data = TrainingData::from_matrices(matrices)?;
    eprintln!(
        "{} runs of {RUN_LEN} weights, variance {:.5}",
        data.n_runs(),
        data.variance()
    );
    for lambda in lambdas {
        let Some(config) = TrainConfig::preset(preset, lambda.parse()?) else {
            bail!("no preset {preset}");
        };
        pretrain(
            config,
            &data,
            &sample,
            Path::new(out_dir),
            &format!("{preset}-lambda{lambda}"),
        )?;
    }
    Ok(())
}

fn pretrain(
    config: TrainConfig,
    data: &TrainingData,
    sample: &[f32],
    out_dir: &Path,
    name: &str,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut trainer = Trainer::new(config, data)?;
    while !trainer.is_done() {
        if let Some(progress) = trainer
            .step()?
            .filter(|progress| progress.n_steps_done % 50 == 1)
        {
            let left = start.elapsed() * (progress.n_steps - progress.n_steps_done) as u32
                / progress.n_steps_done as u32;
            let point = progress.point;
            eprintln!(
                "{name} {}/{}: {:.4} bits, nmse {:.3e}, loss {:.5}, {} s left",
                progress.n_steps_done,
                progress.n_steps,
                point.bits_per_weight,
                point.nmse,
                point.loss,
                left.as_secs()
            );
        }
    }
    let n_seconds = start.elapsed().as_secs_f64();
    let trained = trainer.finish()?;
    let codec_file = trained.codec.to_bytes()?;
    let curve = trained.curve_json();
    std::fs::write(out_dir.join(format!("{name}.safetensors")), &codec_file)?;
    std::fs::write(out_dir.join(format!("{name}.json")), curve)?;
    eprintln!(
        "{name}: {n_seconds:.1} s of training, {:.1} s in all, {} bytes, is_start {}",
        start.elapsed().as_secs_f64(),
        codec_file.len(),
        trained.is_start
    );

    let codec = trained.codec;
    let chunk_len = codec.config().chunk_len;
    let chunks = ArrayView2::from_shape((sample.len() / chunk_len, chunk_len), sample)?;
    for level in 0..codec.config().n_quality_levels() as u8 {
        let levels = vec![QualityLevel(level); chunks.nrows()];
        let quantized = codec.quantize_columns(chunks, &levels, 1, Parallelism::Rayon)?;
        let substreams =
            codec.encode_columns(quantized.symbols.view(), &levels, 1, Parallelism::Rayon)?;
        let n_bytes: usize = substreams.iter().map(Vec::len).sum();
        let squares = quantized.reconstruction.iter().zip(sample);
        let mse = squares.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / sample.len() as f64;
        let bits = n_bytes as f64 * 8.0 / sample.len() as f64;
        let ideal = codec.ideal_bits(quantized.symbols.view(), &levels)? / sample.len() as f64;
        let ecsq = ecsq_at_mse(sample, mse).map_or(f64::NAN, |point| point.bits_per_weight);
        eprintln!(
            "| {} | {level} | {bits:.4} | {ideal:.4} | {mse:.4e} | {ecsq:.4} | {:+.4} |",
            codec.config().lambda,
            bits - ecsq
        );
    }
    Ok(())
}

/// The file's matrices, each row divided by its scale.
fn normalized_matrices(bytes: &[u8]) -> anyhow::Result<Vec<Array2<f32>>> {
    let mut matrices = Vec::new();
    for (name, tensor) in SafeTensors::deserialize(bytes)?.iter() {
        let (&[rows, cols], Dtype::F32) = (tensor.shape(), tensor.dtype()) else {
            bail!(
                "{name} is {} {:?}, expected a F32 matrix",
                tensor.dtype(),
                tensor.shape()
            );
        };
        let values = tensor
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect();
        let weights = Array2::from_shape_vec((rows, cols), values)?;
        matrices.push(normalize_rows(
            weights.view(),
            row_scales(weights.view()).view(),
        )?);
    }
    Ok(matrices)
}

/// Every 16th column of every matrix: 1/16 of the weights, of all layers alike.
fn evaluation_sample(matrices: &[Array2<f32>]) -> Vec<f32> {
    let columns = matrices
        .iter()
        .flat_map(|matrix| matrix.columns().into_iter().step_by(16));
    columns.flat_map(|column| column.to_vec()).collect()
}
