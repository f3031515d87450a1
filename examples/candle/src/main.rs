//! Runs a candle layer straight from a compressed checkpoint, decoded a tensor at a time.
//!
//! `cargo run --manifest-path examples/candle/Cargo.toml [FOLDER [LINEAR]]`; the default is the repository's fixture.
//! The output of the layer is checked against a product written out here.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Module as _, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, linear_no_bias};
use nwc::Checkpoint;

/// Lets candle's `VarBuilder` ask a compressed (or plain) checkpoint for its tensors.
struct Compressed(Checkpoint);

impl SimpleBackend for Compressed {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if *tensor.shape() != shape {
            let found = tensor.shape();
            candle_core::bail!("{name} is {found:?}, the layer wants {shape:?}");
        }
        Ok(tensor)
    }

    fn get_unchecked(
        &self,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let info = self.0.info(name).map_err(candle_core::Error::wrap)?;
        let weights = self.0.tensor(name).map_err(candle_core::Error::wrap)?;
        Tensor::from_vec(weights, info.shape, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.info(name).is_ok()
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../fixtures/v1/neural"
            ))
        },
        PathBuf::from,
    );
    let linear = arguments
        .next()
        .unwrap_or_else(|| "model.layers.0.mlp.up_proj".to_owned());
    let name = format!("{linear}.weight");

    let checkpoint = Checkpoint::open(&dir)?;
    let shape = checkpoint.info(&name)?.shape;
    let [n_out, n_in] = shape[..] else {
        anyhow::bail!("{name} has the shape {shape:?}, a linear's is [out, in]");
    };
    let weights = checkpoint.tensor(&name)?;

    let vb = VarBuilder::from_backend(Box::new(Compressed(checkpoint)), DType::F32, Device::Cpu);
    ensure!(
        vb.contains_tensor(&name),
        "{name} is not found through candle"
    );
    let layer = linear_no_bias(n_in, n_out, vb.pp(&linear))?;
    let input: Vec<f32> = (0..n_in).map(|i| (i as f32 * 0.1).sin()).collect();
    let output = layer.forward(&Tensor::new(&input[..], &Device::Cpu)?.reshape((1, n_in))?)?;
    let output: Vec<f32> = output.flatten_all()?.to_vec1()?;

    let mut largest = 0.0_f32;
    for (row, found) in weights.chunks_exact(n_in).zip(&output) {
        let expected: f32 = row.iter().zip(&input).map(|(w, x)| w * x).sum();
        largest = largest.max((expected - found).abs());
    }
    ensure!(
        output.len() == n_out,
        "{} outputs, expected {n_out}",
        output.len()
    );
    ensure!(largest < 1e-4, "an output differs by {largest}");
    let refused = linear_no_bias(n_in + 1, n_out, vb.pp(&linear));
    refused
        .err()
        .context("a layer of another shape got the weights")?;
    println!("{name} [{n_out}, {n_in}]: outputs through candle differ by {largest:.1e} at most");
    Ok(())
}
