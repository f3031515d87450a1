//! `--device` of the commands that decode.

use std::sync::Arc;

use nwc::DecodeOptions;
use nwc_lm::Device;
use nwc_train::TorchBackend;

use crate::args;

/// How tensors are decoded with `--device`: in plain Rust on the processor, with LibTorch elsewhere.
pub(crate) fn decode_options(device: args::Device) -> anyhow::Result<DecodeOptions> {
    match Device::from(device) {
        Device::Cpu => Ok(DecodeOptions::default()),
        device => on(device),
    }
}

/// Synthesis through LibTorch on `device`.
fn on(device: Device) -> anyhow::Result<DecodeOptions> {
    let backend = TorchBackend::new(device.to_tch()?)?;
    Ok(DecodeOptions::on(Arc::new(backend)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use nwc::{Checkpoint, DType, NoProgress};

    use super::*;

    fn packed(family: &str) -> PathBuf {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        root.join("fixtures/v1").join(family)
    }

    /// Largest error against the largest weight of a tensor, of sums in f32 in different orders.
    const TOLERANCE: f32 = 1e-5;
    /// Weights that differ in the last bits of f32 may be rounded to neighbours in bf16, which keeps 8 bits.
    const HALF_STEP: f32 = 1.0 / 128.0;

    #[test]
    fn checkpoints_decompress_and_verify_through_libtorch() {
        let options = on(Device::Cpu).unwrap();
        for family in ["neural", "trellis"] {
            let dir = tempfile::tempdir().unwrap();
            let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
            nwc::decompress(
                packed(family),
                &here,
                &DecodeOptions::default(),
                &NoProgress,
            )
            .unwrap();
            nwc::decompress(packed(family), &there, &options, &NoProgress).unwrap();
            let [here, there] = [here, there].map(|dir| Checkpoint::open(&dir).unwrap());
            for name in here.names() {
                let info = here.info(name).unwrap();
                assert_eq!(info, there.info(name).unwrap());
                let [a, b] = [&here, &there].map(|c| c.tensor_bytes(name).unwrap());
                if a == b {
                    continue;
                }
                let step = match info.dtype {
                    DType::F32 => 0.0,
                    _ => HALF_STEP,
                };
                let [a, b] = [&here, &there].map(|c| c.tensor(name).unwrap());
                let largest = a.iter().fold(0.0f32, |l, x| l.max(x.abs()));
                for (a, b) in a.iter().zip(&b) {
                    let tolerance = a.abs() * step + largest * TOLERANCE;
                    assert!((a - b).abs() <= tolerance, "{name}: {b}, not {a}");
                }
            }
            let verification = nwc::verify(packed(family), &options, &NoProgress).unwrap();
            assert!(
                verification.failures.is_empty(),
                "{:?}",
                verification.failures
            );
        }
    }

    #[test]
    fn the_processor_needs_no_libtorch() {
        assert!(
            decode_options(args::Device::Cpu)
                .unwrap()
                .synthesis
                .is_none()
        );
    }

    #[test]
    fn devices_that_are_not_there_are_named() {
        let error = decode_options(args::Device::Cuda(4096)).unwrap_err();
        assert!(error.to_string().contains("cuda:4096"), "{error}");
    }
}
