//! Arguments of `calibrate`.

use std::path::PathBuf;

use clap::Args;

use super::Device;

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Checkpoint folder
    pub model: PathBuf,
    /// Text to calibrate on; may be given several times
    #[arg(long, value_name = "FILE", required_unless_present = "self_generated")]
    pub text: Vec<PathBuf>,
    /// Calibrate on this many windows of text that the model writes itself
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub self_generated: Option<usize>,
    /// Statistics file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Number of tokens in a window
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub ctx: usize,
    /// Number of windows for the Hessians
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub windows: usize,
    /// Number of windows, each half as long, for the output Fisher and the curvature; 0 for neither
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub fisher_windows: usize,
    /// Skip the curvature of whole windows; compression is less accurate without it, but it takes about as long as the
    /// rest of the Fisher
    #[arg(long)]
    pub no_curvature: bool,
    /// Seed of the sampled labels and of generated text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Device to run the model on: cpu, cuda, cuda:N or auto
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}
