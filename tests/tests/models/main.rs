//! Models of every kind, made small: each tensor accounted for, coded or kept for the right reason, and restored.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

mod pipelines;
mod table;

use std::fs;

use nwc::{CompressOptions, DecodeOptions, NoProgress, TensorSummary};
use nwc_tests::restored::{codecs, error_and_energy};
use nwc_tests::write_checkpoint;
use table::{Expected, Table};

/// Compresses the model of a table in both families and checks what became of each of its tensors.
#[track_caller]
fn check(text: &str) {
    let table = Table::read(text);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    write_checkpoint(&path("original"), &[table.tensors()]);
    fs::write(path("original").join("config.json"), &table.config).unwrap();
    for (family, codec) in codecs() {
        let label = format!("{} in {family}", table.name);
        let [packed, restored] =
            ["packed", "restored"].map(|kind| path(&format!("{family}-{kind}")));
        let options = CompressOptions::new(codec);
        let inspection = nwc::compress(path("original"), &packed, &options, &NoProgress).unwrap();
        let decode = DecodeOptions::default();
        let verified =
            nwc::verify_against(&packed, path("original"), &decode, &NoProgress).unwrap();
        assert!(
            verified.failures.is_empty(),
            "{label}: {:?}",
            verified.failures
        );
        assert_eq!(verified.n_tensors, table.rows.len(), "{label}");
        nwc::decompress(&packed, &restored, &decode, &NoProgress).unwrap();
        let config = fs::read_to_string(restored.join("config.json")).unwrap();
        assert_eq!(config, table.config, "{label}");
        let [before, after] =
            [&path("original"), &restored].map(|dir| nwc::Checkpoint::open(dir).unwrap());
        assert_eq!(before.names().count(), after.names().count(), "{label}");
        for row in &table.rows {
            let name = row.name.as_str();
            let summary = inspection.tensors.iter().find(|t| t.name == name);
            row.check(family, summary.unwrap());
            assert_eq!(
                after.info(name).unwrap().shape,
                row.shape,
                "{label}: {name}"
            );
            match &row.expected {
                Expected::Code => {
                    let [w, d] = [&before, &after].map(|model| model.tensor(name).unwrap());
                    let (error, energy) = error_and_energy(&w, &d);
                    let is_close = error > 0.0 && error < 0.05 * energy;
                    assert!(is_close, "{label}: {name}: {error} of {energy}");
                }
                Expected::Keep(_) => {
                    let bytes = [&before, &after].map(|model| model.tensor_bytes(name).unwrap());
                    assert!(bytes[0] == bytes[1], "{label}: {name} is not what it was");
                }
                Expected::Tied(other) => {
                    let bytes = [name, other].map(|name| after.tensor_bytes(name).unwrap());
                    assert!(bytes[0] == bytes[1], "{label}: {name} is not {other}");
                }
            }
        }
    }
}

impl table::Row {
    #[track_caller]
    fn check(&self, family: &str, found: &TensorSummary) {
        let name = &self.name;
        match &self.expected {
            Expected::Code => assert_eq!(found.coding, family, "{name}: {:?}", found.reason),
            Expected::Keep(part) => {
                assert_ne!(found.coding, family, "{name} is coded");
                let reason = found.reason.as_deref().unwrap_or_default();
                assert!(
                    reason.contains(part.as_str()),
                    "{name}: {reason}, not {part}"
                );
            }
            Expected::Tied(to) => assert_eq!(found.coding, format!("tied to {to}"), "{name}"),
        }
    }
}

macro_rules! models {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            check(include_str!(concat!(stringify!($name), ".txt")));
        }
    )*};
}

models! { clip siglip dinov2 vit whisper t5 bert mamba rwkv mixtral flux unet vae }
