//! Folders of several checkpoints: each coded in its own folder, all restored.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nwc::{
    Checkpoint, CodecChoice, CompressOptions, DecodeOptions, Inspection, NoProgress, RateTarget,
    Verification,
};
use nwc_tests::{TestTensor, files_below, write_checkpoint};
use safetensors::Dtype;

use super::table::{Expected, Table};

struct Case {
    dir: tempfile::TempDir,
    options: CompressOptions,
}

impl Case {
    fn new() -> Self {
        let codec = CodecChoice::Trellis {
            target: RateTarget::BpwTotal(4.0),
            n_states: 8,
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            options: CompressOptions::new(codec),
        }
    }

    /// A diffusers pipeline: nothing but folders and their list at the top.
    fn pipeline() -> Self {
        let case = Self::new();
        for (name, text) in [("unet", UNET), ("vae", VAE), ("text_encoder", CLIP)] {
            case.part(name, text, "diffusion_pytorch_model.safetensors");
        }
        let list = r#"{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet"]}"#;
        case.write("model_index.json", list);
        case.write("scheduler/scheduler_config.json", "{\"steps_offset\": 1}\n");
        case.write("tokenizer/merges.txt", "a b\n");
        case
    }

    fn part(&self, name: &str, text: &str, file: &str) {
        let table = Table::read(text);
        let dir = self.path("original").join(name);
        write_checkpoint(&dir, &[table.tensors()]);
        fs::rename(dir.join("model.safetensors"), dir.join(file)).unwrap();
        fs::write(dir.join("config.json"), &table.config).unwrap();
        fs::remove_file(dir.join("tokenizer.json")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &str) {
        let path = self.path("original").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn compress(&self) -> nwc::Result<Inspection> {
        let [original, packed] = ["original", "packed"].map(|n| self.path(n));
        nwc::compress(original, packed, &self.options, &NoProgress)
    }

    fn verify(&self) -> Verification {
        let options = DecodeOptions::default();
        let [original, packed] = ["original", "packed"].map(|n| self.path(n));
        let alone = nwc::verify(&packed, &options, &NoProgress).unwrap();
        let beside = nwc::verify_against(&packed, original, &options, &NoProgress).unwrap();
        assert_eq!(alone.failures.len(), beside.failures.len());
        beside
    }

    fn decompress(&self) {
        let [packed, restored] = ["packed", "restored"].map(|n| self.path(n));
        nwc::decompress(packed, restored, &DecodeOptions::default(), &NoProgress).unwrap();
    }

    /// The restored folder has the files of the original one, and those that are no weights are the same.
    #[track_caller]
    fn assert_same_files(&self) {
        let [before, after] = ["original", "restored"].map(|n| files_below(&self.path(n)));
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after));
        for (path, bytes) in &before {
            let is_weights = path.extension().is_some_and(|e| e == "safetensors");
            assert!(is_weights || after[path] == *bytes, "{}", path.display());
        }
    }
}

const UNET: &str = include_str!("unet.txt");
const VAE: &str = include_str!("vae.txt");
const CLIP: &str = include_str!("clip.txt");
const BERT: &str = include_str!("bert.txt");

#[test]
fn every_part_of_a_pipeline_is_coded_by_its_own_configuration() {
    let case = Case::pipeline();
    let compressed = case.compress().unwrap();
    let inspected = nwc::inspect(case.path("packed")).unwrap();
    let text = |inspection: &Inspection| serde_json::to_string(inspection).unwrap();
    assert_eq!(text(&compressed), text(&inspected));
    let mut n_bytes = 0;
    for (folder, table) in [("text_encoder", CLIP), ("unet", UNET), ("vae", VAE)] {
        for row in Table::read(table).rows {
            let name = format!("{folder}/{}", row.name);
            let found = inspected.tensors.iter().find(|t| t.name == name).unwrap();
            let is_coded = found.coding == "trellis";
            assert_eq!(is_coded, row.expected == Expected::Code, "{name}");
        }
        // A part is a compressed checkpoint of its own.
        let part = nwc::inspect(case.path("packed").join(folder)).unwrap();
        n_bytes += part.totals.total_bytes;
        assert!((part.totals.bpw_payload - 4.0).abs() < 0.1, "{folder}");
        let config = case.path("packed").join(folder).join("config.json");
        let config: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(config).unwrap()).unwrap();
        assert_eq!(config["quantization_config"]["quant_method"], "nwc");
    }
    assert!(inspected.files.contains_key("model_index.json"));
    assert!(inspected.files.contains_key("vae/config.json"));
    let root = inspected.totals.total_bytes - n_bytes;
    assert!((1..4096).contains(&root), "{root}");

    assert!(case.verify().failures.is_empty());
    case.decompress();
    case.assert_same_files();
}

#[test]
fn a_compressed_pipeline_is_coded_anew() {
    let mut case = Case::pipeline();
    let first = case.compress().unwrap();
    fs::rename(case.path("original"), case.path("plain")).unwrap();
    fs::rename(case.path("packed"), case.path("original")).unwrap();
    case.options.codec = CodecChoice::Trellis {
        target: RateTarget::BpwPayload(2.5),
        n_states: 8,
    };
    let again = case.compress().unwrap();
    assert_eq!(again.tensors.len(), first.tensors.len());
    assert!(again.totals.total_bytes < first.totals.total_bytes * 4 / 5);
    case.decompress();
    fs::remove_dir_all(case.path("original")).unwrap();
    fs::rename(case.path("plain"), case.path("original")).unwrap();
    case.assert_same_files();
}

#[test]
fn damage_to_a_part_is_found() {
    let case = Case::pipeline();
    case.compress().unwrap();
    let damaged = case
        .path("packed")
        .join("unet/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&damaged).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    fs::write(case.path("packed").join("model_index.json"), "{}").unwrap();
    fs::write(case.path("packed").join("vae/config.json"), "{}").unwrap();
    let options = DecodeOptions::default();
    let found = nwc::verify(case.path("packed"), &options, &NoProgress).unwrap();
    let messages: Vec<String> = found.failures.iter().map(ToString::to_string).collect();
    for part in ["model_index.json", "unet", "vae/config.json"] {
        let n = messages.iter().filter(|m| m.contains(part)).count();
        assert_eq!(n, 1, "{part}: {messages:?}");
    }
    assert_eq!(messages.len(), 3, "{messages:?}");

    // Gone, or no longer compressed.
    fs::remove_dir_all(case.path("packed").join("text_encoder")).unwrap();
    fs::remove_file(&damaged).unwrap();
    let found = nwc::verify(case.path("packed"), &options, &NoProgress).unwrap();
    let messages: Vec<String> = found.failures.iter().map(ToString::to_string).collect();
    for part in ["text_encoder", "unet"] {
        assert!(
            messages.iter().any(|m| m.contains(part)),
            "{part}: {messages:?}"
        );
    }
    let [packed, restored] = ["packed", "restored"].map(|n| case.path(n));
    nwc::decompress(packed, &restored, &options, &NoProgress).unwrap_err();
    assert!(!restored.exists());
}

#[test]
fn another_pipeline_is_told_by_its_parts() {
    let case = Case::pipeline();
    case.compress().unwrap();
    fs::remove_dir_all(case.path("original").join("vae")).unwrap();
    case.part("vae", BERT, "diffusion_pytorch_model.safetensors");
    let [original, packed] = ["original", "packed"].map(|n| case.path(n));
    let options = DecodeOptions::default();
    let error = nwc::verify_against(packed, original, &options, &NoProgress).unwrap_err();
    assert_eq!(error.kind(), "OtherModel");
    assert!(error.to_string().contains("vae"), "{error}");
}

#[test]
fn a_size_in_bytes_is_that_of_all_parts() {
    let mut case = Case::pipeline();
    let plain = case.compress().unwrap().totals;
    fs::remove_dir_all(case.path("packed")).unwrap();
    let target = plain.total_bytes * 9 / 10;
    case.options.codec = CodecChoice::Trellis {
        target: RateTarget::TotalBytes(target),
        n_states: 8,
    };
    let found = case.compress().unwrap().totals.total_bytes;
    let missed_by = found as f64 / target as f64 - 1.0;
    assert!(missed_by.abs() < 0.005, "{missed_by}");
    case.options.dry_run = true;
    assert_eq!(case.compress().unwrap().totals.total_bytes, found);
}

#[test]
fn the_dense_layer_of_a_sentence_transformer() {
    let mut case = Case::new();
    case.part("", BERT, "model.safetensors");
    case.write(
        "modules.json",
        r#"[{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]"#,
    );
    case.write(
        "1_Pooling/config.json",
        r#"{"pooling_mode_mean_tokens": true}"#,
    );
    let dense = TestTensor::gaussian("linear.weight", &[96, 64], Dtype::F32, 1);
    write_checkpoint(&case.path("original/2_Dense"), &[vec![dense]]);
    // Adapters, and weights without a configuration, are carried.
    let adapter = TestTensor::gaussian("x.lora_A.weight", &[8, 64], Dtype::F32, 2);
    write_checkpoint(&case.path("original/extra"), &[vec![adapter]]);
    fs::remove_file(case.path("original/extra/config.json")).unwrap();
    case.options.keep = vec!["linear.*".into()];
    let kept = case.compress().unwrap();
    let of = |inspection: &Inspection| {
        let mut tensors = inspection.tensors.iter();
        tensors
            .find(|t| t.name == "2_Dense/linear.weight")
            .unwrap()
            .coding
            .clone()
    };
    assert_eq!(of(&kept), "packed");
    fs::remove_dir_all(case.path("packed")).unwrap();

    case.options.keep = Vec::new();
    let inspection = case.compress().unwrap();
    assert_eq!(of(&inspection), "trellis");
    let linear = Checkpoint::open(case.path("packed/2_Dense")).unwrap();
    assert_eq!(linear.names().collect::<Vec<_>>(), ["linear.weight"]);
    assert!(case.verify().failures.is_empty());
    case.decompress();
    case.assert_same_files();
    let extra = "extra/model.safetensors";
    assert!(inspection.files.contains_key(extra));
    assert_eq!(
        fs::read(case.path("original").join(extra)).unwrap(),
        fs::read(case.path("restored").join(extra)).unwrap()
    );
}

#[test]
fn statistics_and_patterns_are_of_the_whole() {
    let mut case = Case::pipeline();
    case.options.keep = vec!["nothing.*".into()];
    assert_eq!(case.compress().unwrap_err().kind(), "Argument");
    case.options.keep = Vec::new();
    case.options.statistics = Some(case.path("statistics"));
    let message = case.compress().unwrap_err().to_string();
    assert!(message.contains("folders below"), "{message}");
    assert!(!case.path("packed").exists());
}

#[test]
fn a_folder_that_holds_nothing_else_is_no_checkpoint() {
    let case = Case::new();
    case.write("README.md", "x");
    case.write("sub/model.safetensors", "damaged");
    assert_eq!(case.compress().unwrap_err().kind(), "NotACheckpoint");
    // With a configuration it is one, and damaged.
    case.write("sub/config.json", "{}");
    let message = case.compress().unwrap_err().to_string();
    assert!(message.contains("sub"), "{message}");
}
