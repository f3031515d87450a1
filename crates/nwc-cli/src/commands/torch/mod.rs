//! The commands that need LibTorch.

pub(crate) mod calibrate;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod recover;
pub(crate) mod synthesis;
pub(crate) mod train;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::args;

impl From<args::Device> for nwc_lm::Device {
    fn from(device: args::Device) -> Self {
        match device {
            args::Device::Cpu => Self::Cpu,
            args::Device::Cuda(idx) => Self::Cuda(idx),
            args::Device::Auto => Self::best(),
        }
    }
}

/// The text of several files, one after the other.
fn read_text(paths: &[PathBuf]) -> anyhow::Result<String> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    paths.iter().map(read).collect()
}
