//! Statistics of a checkpoint folder, into a file.

use super::tests::{OPTIONS, ignore};
use super::*;
use crate::device::Device;
use crate::testing::folder;

#[test]
fn a_folder_gives_a_statistics_file_and_an_interrupted_run_continues() {
    let dir = folder("gpt2");
    let [whole, interrupted] = ["whole", "interrupted"].map(|name| dir.path().join(name));
    let text = CalibrationText::SelfGenerated(4);
    let run = |out: &std::path::Path, progress: &mut dyn FnMut(CalibrationStep)| {
        calibrate_checkpoint(dir.path(), out, text, &OPTIONS, Device::Cpu, progress)
    };
    let mut steps = Vec::new();
    let report = run(&whole, &mut |step| steps.push(step)).unwrap();
    assert_eq!(steps[0], CalibrationStep::Generation(2, 8));
    assert_eq!(steps.last(), Some(&CalibrationStep::Fisher(2, 2)));
    assert_eq!(report.hessian_n_tokens, 3 * 8);

    let statistics = nwc::Statistics::open(&whole).unwrap();
    assert_eq!(statistics.info().text, "self-generated");
    assert_eq!(statistics.info().n_fisher_tokens, 4 * 6);
    let linear = "transformer.h.0.mlp.c_fc.weight";
    assert!(statistics.is_transposed(linear));
    let fingerprint = nwc::fingerprint(dir.path()).unwrap();
    assert_eq!(statistics.info().fingerprint, fingerprint);

    let stopped = std::panic::catch_unwind(|| {
        run(&interrupted, &mut |step| {
            if step == CalibrationStep::Hessian(2, 2) {
                panic!("interrupted")
            }
        })
    });
    assert!(stopped.is_err() && !interrupted.exists());
    run(&interrupted, &mut ignore).unwrap();
    let bytes = |path| std::fs::read(path).unwrap();
    assert!(bytes(&whole) == bytes(&interrupted));
}

#[test]
fn a_folder_without_config_or_tokenizer_is_named() {
    let dir = folder("llama");
    let run = || {
        let text = CalibrationText::Given("text");
        let out = dir.path().join("out");
        calibrate_checkpoint(dir.path(), &out, text, &OPTIONS, Device::Cpu, &mut ignore)
    };
    let missing = run().unwrap_err();
    assert!(matches!(&missing, Error::Io { path, .. } if path.ends_with("tokenizer.json")));
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    let broken = run().unwrap_err();
    assert!(matches!(&broken, Error::File { path, .. } if path.ends_with("config.json")));
    assert!(std::error::Error::source(&broken).is_some());
}
