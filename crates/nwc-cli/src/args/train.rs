//! Arguments of `train`.

use std::path::PathBuf;

use clap::Args;

use super::Device;

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Checkpoint folder with the weights to train on
    pub model: PathBuf,
    /// Codec file to write; the learning curve is written beside it as .json
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Weight of the distortion relative to the rate; the paper uses 30 to 10000
    #[arg(long, value_name = "L", required_unless_present = "refreeze")]
    pub lambda: Option<f32>,
    /// Number of trellis states over the latents: 4, 8, 16, 64 or 256; 1 rounds them, as the paper does
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub states: u16,
    /// Do not train: keep the transforms of this codec and rebuild its tables for --states
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lambda", "preset", "steps", "seed", "resume"])]
    pub refreeze: Option<PathBuf>,
    /// Size of the codec
    #[arg(long, default_value = "small", value_parser = ["paper", "small", "tiny"])]
    pub preset: String,
    /// Number of training steps [default: the preset's]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 100)]
    pub seed: u64,
    /// Device to train on: cpu, cuda or auto
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// Checkpoint file of the training: written regularly, and continued from if it exists
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}
