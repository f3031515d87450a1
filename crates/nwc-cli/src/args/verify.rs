//! Arguments of `verify`.

use std::path::PathBuf;

use clap::Args;

use super::Device;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder made by `compress`
    pub dir: PathBuf,
    /// Compare every tensor with the model in this folder, which DIR was made from, and report those that are further
    /// from it than was recorded
    #[arg(long, value_name = "ORIGINAL")]
    pub against: Option<PathBuf>,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Device that runs the synthesis of a learned codec: cpu, cuda, cuda:N or auto; all but cpu need a build with the
    /// feature torch
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}
