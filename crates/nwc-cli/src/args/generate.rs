//! Arguments of `generate`.

use std::path::PathBuf;

use clap::Args;

use super::Device;

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Checkpoint folder, plain or compressed
    pub model: PathBuf,
    /// Text to continue
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Number of tokens to add
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub tokens: usize,
    /// Device to run the model on: cpu, cuda, cuda:N or auto
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}
