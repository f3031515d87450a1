//! Arguments of `eval`.

use std::path::PathBuf;

use clap::Args;

use super::Device;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Checkpoint folder, plain or compressed
    pub model: PathBuf,
    /// Checkpoint folder of the reference, plain or compressed
    #[arg(long = "ref", value_name = "MODEL")]
    pub reference: Option<PathBuf>,
    /// Text to evaluate on
    #[arg(long, value_name = "FILE", required_unless_present = "zero_shot")]
    pub text: Option<PathBuf>,
    /// Number of tokens in a window
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub ctx: usize,
    /// Evaluate at most this many tokens
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Multiple-choice questions, one JSON object per line with context, choices and gold
    #[arg(long, value_name = "FILE")]
    pub zero_shot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Device to run the models on: cpu, cuda, cuda:N or auto
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}
