//! From one rate to another: a compressed folder is a checkpoint to compress, too.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::PathBuf;

use nwc::{
    Checkpoint, CodecChoice, CompressOptions, DecodeOptions, Error, Inspection, NoProgress,
    RateTarget,
};
use nwc_tests::restored::codecs;
use nwc_tests::{TestTensor, folder_bytes, llama_like, write_checkpoint};
use safetensors::Dtype;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let (first, second) = (llama_like(), llama_like());
        let second = second.into_iter().map(|mut tensor| {
            tensor.name = format!("second.{}", tensor.name);
            tensor
        });
        write_checkpoint(&case.path("original"), &[first, second.collect()]);
        // An entry of ours would be the second one.
        let config = "{\"quantization_config\": {\"quant_method\": \"other\"}, \"a\":  1}\n";
        fs::write(case.path("original/config.json"), config).unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compress(&self, from: &str, to: &str, codec: &CodecChoice) -> nwc::Result<Inspection> {
        let mut options = CompressOptions::new(codec.clone());
        options.verify = true;
        nwc::compress(self.path(from), self.path(to), &options, &NoProgress)
    }

    fn decompress(&self, from: &str, to: &str) {
        let options = DecodeOptions::default();
        nwc::decompress(self.path(from), self.path(to), &options, &NoProgress).unwrap();
    }
}

fn trellis(bits: f64) -> CodecChoice {
    CodecChoice::Trellis {
        target: RateTarget::BpwPayload(bits),
        n_states: 8,
    }
}

#[test]
fn the_same_as_by_way_of_a_plain_folder() {
    // Fine enough that few weights become zero, which would be taken for the plain model's own.
    for (family, codec) in [codecs()[0].clone(), ("trellis", trellis(7.0))] {
        let case = Case::new();
        let first = case.compress("original", "first", &codec).unwrap();
        let again = case.compress("first", "again", &trellis(3.0)).unwrap();
        assert_eq!(
            again.fingerprint, first.fingerprint,
            "statistics of the original apply"
        );
        assert!(
            again.provenance["recoded"].starts_with("from "),
            "{:?}",
            again.provenance
        );
        assert!(
            again.totals.total_bytes < first.totals.total_bytes,
            "{family}"
        );

        case.decompress("first", "plain");
        case.compress("plain", "plain-again", &trellis(3.0))
            .unwrap();
        let [stored, plain] =
            ["again", "plain-again"].map(|n| Checkpoint::open(case.path(n)).unwrap());
        assert_eq!(stored.names().count(), 2 * llama_like().len());
        for name in stored.names() {
            let [a, b] = [&stored, &plain].map(|model| model.tensor_bytes(name).unwrap());
            assert!(a == b, "{family}: {name} depends on the way");
        }
        // All but the weights is what it was at first.
        case.decompress("again", "restored");
        let is_weights = |name: &str| name.ends_with(".safetensors");
        let [before, after] = ["original", "restored"].map(|n| folder_bytes(&case.path(n)));
        assert_eq!(before.len(), after.len());
        for ((name, before), (other, after)) in before.iter().zip(&after) {
            assert_eq!(name, other);
            assert!(
                is_weights(name) || name.contains("index") || before == after,
                "{name}"
            );
        }
    }
}

#[test]
fn the_original_tells_what_was_coded_twice() {
    let case = Case::new();
    case.compress("original", "first", &trellis(3.5)).unwrap();
    case.compress("first", "again", &trellis(3.0)).unwrap();
    let options = DecodeOptions::default();
    let against = |n: &str| {
        nwc::verify_against(case.path(n), case.path("original"), &options, &NoProgress).unwrap()
    };
    let (first, again) = (against("first"), against("again"));
    assert!(first.failures.is_empty() && again.failures.is_empty());
    assert_eq!(first.n_tuned, 0);
    assert!(again.n_tuned >= 4, "{again:?}");
    // Kept tensors are compared as before.
    let norm = "model.layers.0.input_layernorm.weight";
    let [original, last] = ["original", "again"].map(|n| Checkpoint::open(case.path(n)).unwrap());
    assert_eq!(
        original.tensor_bytes(norm).unwrap(),
        last.tensor_bytes(norm).unwrap()
    );
}

/// The bytes of what says which weights are zero.
fn mask_bytes(folder: &std::path::Path) -> usize {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let zeros = tensors
        .tensors()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".nwc.zeros"));
    zeros.map(|(_, view)| view.data().len()).sum()
}

#[test]
fn zeros_of_the_steps_are_no_zeros_of_the_model() {
    let mut sparse = TestTensor::gaussian("a.weight", &[128, 96], Dtype::F32, 1);
    for (i, value) in sparse.bytes.chunks_exact_mut(4).enumerate() {
        // Nowhere a whole row or column.
        if (i % 96 / 3 + i / 96) % 2 == 0 {
            value.fill(0);
        }
    }
    let dense = TestTensor::gaussian("b.weight", &[128, 96], Dtype::F32, 2);
    for (name, tensor) in [("sparse", sparse), ("dense", dense)] {
        let case = Case {
            dir: tempfile::tempdir().unwrap(),
        };
        write_checkpoint(&case.path("original"), &[vec![tensor]]);
        case.compress("original", "first", &trellis(2.5)).unwrap();
        let values = Checkpoint::open(case.path("first")).unwrap();
        let name_of = values.names().next().unwrap().to_owned();
        let values = values.tensor(&name_of).unwrap();
        let n_zeros = values.iter().filter(|v| **v == 0.0).count();
        assert!(n_zeros > values.len() / 20, "{name}: {n_zeros}");
        case.compress("first", "again", &trellis(2.0)).unwrap();
        // The second mask has the zeros of the first coding, too.
        let masks = ["first", "again"].map(|n| mask_bytes(&case.path(n)) > 0);
        assert_eq!(masks, [name == "sparse"; 2], "{name}");
    }
}

#[test]
fn without_loss_it_decodes_to_the_same() {
    let case = Case::new();
    case.compress("original", "first", &trellis(3.0)).unwrap();
    case.compress("first", "packed", &CodecChoice::Lossless)
        .unwrap();
    case.decompress("first", "a");
    case.decompress("packed", "b");
    assert_eq!(folder_bytes(&case.path("a")), folder_bytes(&case.path("b")));
}

#[test]
fn damage_is_not_coded() {
    let case = Case::new();
    case.compress("original", "first", &trellis(3.0)).unwrap();
    let intact = fs::read(case.path("first/tokenizer.json")).unwrap();
    fs::write(case.path("first/tokenizer.json"), "{}").unwrap();
    let error = case.compress("first", "again", &trellis(2.0)).unwrap_err();
    assert!(matches!(error, Error::FileDigest { .. }), "{error:?}");
    fs::write(case.path("first/tokenizer.json"), intact).unwrap();

    let shard = case.path("first/model-00002-of-00002.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let middle = bytes.len() - 100;
    bytes[middle] ^= 1;
    fs::write(&shard, &bytes).unwrap();
    let error = case.compress("first", "again", &trellis(2.0)).unwrap_err();
    assert!(error.to_string().contains("model-00002"), "{error}");
    assert!(!case.path("again").exists());
}
