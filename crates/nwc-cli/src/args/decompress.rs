//! Arguments of `decompress`.

use std::path::PathBuf;

use clap::Args;

use super::Device;

/// Arguments of `decompress`.
#[derive(Debug, Args)]
pub struct DecompressArgs {
    /// Folder made by `compress`
    pub dir: PathBuf,
    /// Folder to create; it must not exist
    pub out: PathBuf,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Device that runs the synthesis of a learned codec: cpu, cuda, cuda:N or auto; all but cpu need a build with the
    /// feature torch
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}
