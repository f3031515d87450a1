//! What a build without LibTorch says to the commands and options that need it.

use crate::args::{CompressArgs, Device, Recover};
use crate::outcome::Outcome;
use crate::progress::Bar;

/// An error that says how to build with LibTorch.
pub(crate) fn refuse(what: &str) -> anyhow::Result<Outcome> {
    Err(needs_torch(what))
}

/// `compress --recover`.
pub(crate) fn compress_with_recovery(
    _args: &CompressArgs,
    _recover: Recover,
    _options: &nwc::CompressOptions,
    _bar: &Bar,
) -> anyhow::Result<nwc::Inspection> {
    Err(needs_torch("--recover"))
}

/// How tensors are decoded with `--device`.
pub(crate) fn decode_options(device: Device) -> anyhow::Result<nwc::DecodeOptions> {
    match device {
        Device::Cpu => Ok(nwc::DecodeOptions::default()),
        other => Err(needs_torch(&format!("--device {other}"))),
    }
}

fn needs_torch(what: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{what} needs LibTorch, and this nwc-cli was built without it; \
         `cargo xtask libtorch` sets LibTorch up, `--features torch` builds with it"
    )
}
