//! Files of format version 1 decode for ever.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use nwc::{Checkpoint, DecodeOptions, NoProgress};
use nwc_tests::{fixture_codecs, fixtures, llama_like, write_checkpoint};

#[test]
fn decode_to_what_was_recorded() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("original");
    write_checkpoint(&path, &[llama_like()]);
    let original = Checkpoint::open(&path).unwrap();
    for (name, _) in fixture_codecs() {
        let dir = fixtures().join("v1").join(name);
        let verification = nwc::verify(&dir, &DecodeOptions::default(), &NoProgress).unwrap();
        assert!(
            verification.failures.is_empty(),
            "{name}: {:?}",
            verification.failures
        );
        let packed = Checkpoint::open(&dir).unwrap();
        let inspection = nwc::inspect(&dir).unwrap();
        assert_eq!(inspection.format_version, 1);
        for tensor in &inspection.tensors {
            let Some(recorded) = tensor.nmse else {
                let bytes = [&original, &packed].map(|c| c.tensor_bytes(&tensor.name).unwrap());
                assert_eq!(bytes[0], bytes[1], "{name}: {}", tensor.name);
                continue;
            };
            let [a, b] = [&original, &packed].map(|c| c.tensor(&tensor.name).unwrap());
            let energy: f64 = a.iter().map(|&x| f64::from(x).powi(2)).sum();
            let error: f64 = a
                .iter()
                .zip(&b)
                .map(|(&x, &y)| f64::from(x - y).powi(2))
                .sum();
            // Rounding to bf16 adds up to 2^-18 of the energy to what was measured in f32.
            let nmse = error / energy;
            assert!(
                (nmse - recorded).abs() < 2e-5,
                "{name}: {}: {nmse}, recorded {recorded}",
                tensor.name
            );
        }
    }
}
