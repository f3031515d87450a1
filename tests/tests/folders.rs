//! Whatever lies in a checkpoint's folder comes back, and what does not is said.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nwc::{Checkpoint, CodecChoice, CompressOptions, DecodeOptions, NoProgress, RateTarget};
use nwc_tests::{TestTensor, files_below, llama_like, write_checkpoint};
use safetensors::Dtype;

const TRELLIS: CodecChoice = CodecChoice::Trellis {
    target: RateTarget::BpwPayload(4.0),
    n_states: 8,
};

struct Case {
    dir: tempfile::TempDir,
    options: CompressOptions,
}

impl Case {
    fn new(shards: &[Vec<TestTensor>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_checkpoint(&dir.path().join("original"), shards);
        let options = CompressOptions::new(TRELLIS);
        Self { dir, options }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path("original").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn compress(&self) -> nwc::Result<nwc::Inspection> {
        let [original, packed] = ["original", "packed"].map(|n| self.path(n));
        nwc::compress(original, packed, &self.options, &NoProgress)
    }

    /// Compresses, verifies, decompresses.
    #[track_caller]
    fn round_trip(&self) -> Checkpoint {
        self.compress().unwrap();
        let options = DecodeOptions::default();
        let verified = nwc::verify(self.path("packed"), &options, &NoProgress).unwrap();
        assert!(verified.failures.is_empty(), "{:?}", verified.failures);
        let [packed, restored] = ["packed", "restored"].map(|n| self.path(n));
        nwc::decompress(packed, &restored, &options, &NoProgress).unwrap();
        Checkpoint::open(restored).unwrap()
    }

    #[track_caller]
    fn refused(&self) -> String {
        let message = self.compress().unwrap_err().to_string();
        assert!(!self.path("packed").exists());
        message
    }
}

/// All files below a folder but the weights of the folder itself, links followed.
fn carried(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files_below(dir);
    files.retain(|path, _| !path.to_string_lossy().starts_with("model"));
    files
}

fn gaussian(name: &str, shape: &[usize]) -> TestTensor {
    TestTensor::gaussian(name, shape, Dtype::BF16, name.len() as u64)
}

#[cfg(unix)]
#[test]
fn sub_folders_adapters_links_and_names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let case = Case::new(&[llama_like()]);
    case.write(
        "config.json",
        "{\n  \"limit\": [0.0, Infinity],\n  \"eps\": 1e-05\n}\n",
    );
    case.write(
        "1_Pooling/config.json",
        "{\"pooling_mode_mean_tokens\": true}",
    );
    case.write("additional_chat_templates/tool use.jinja", "{{ tools }}\n");
    case.write("onnx/deep/er/model.onnx", vec![7; 3_000_000]);
    case.write(".gitattributes", "*.safetensors filter=lfs\n");
    // Without a configuration it is no checkpoint.
    write_checkpoint(
        &case.path("original/extra"),
        &[vec![gaussian("linear.weight", &[64, 64])]],
    );
    fs::remove_file(case.path("original/extra/config.json")).unwrap();
    write_checkpoint(
        &case.path("adapter"),
        &[vec![gaussian("q.lora_A.weight", &[8, 512])]],
    );
    fs::copy(
        case.path("adapter/model.safetensors"),
        case.path("original/adapter_model.safetensors"),
    )
    .unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"merges \xff:%.txt");
    fs::write(case.path("original").join(odd), "odd").unwrap();
    fs::write(case.path("blob"), "linked").unwrap();
    symlink("../blob", case.path("original/vocab.txt")).unwrap();

    case.round_trip();
    assert_eq!(
        carried(&case.path("original")),
        carried(&case.path("restored"))
    );
    assert!(!case.path("restored/vocab.txt").is_symlink());
}

#[test]
fn configs_come_back_byte_for_byte() {
    for config in [
        &b"{\"quantization_config\": null, \"z\": 1.0E+2}"[..],
        b"\xef\xbb\xbf{\"model_type\": \"llama\"}",
        b"{\"name\": \"gr\xf6\xdfe\"}",
        b"{ }",
    ] {
        let case = Case::new(&[llama_like()]);
        case.write("config.json", config);
        case.round_trip();
        assert_eq!(fs::read(case.path("restored/config.json")).unwrap(), config);
        assert_eq!(
            carried(&case.path("restored")).len(),
            2,
            "config and tokenizer"
        );
    }
}

#[test]
fn a_shard_of_nothing_but_ties() {
    let mut head = llama_like().remove(0);
    let embedding = head.clone();
    head.name = "lm_head.weight".into();
    let case = Case::new(&[llama_like(), vec![head]]);
    let restored = case.round_trip();
    assert_eq!(
        restored.tensor_bytes("lm_head.weight").unwrap(),
        restored.tensor_bytes(&embedding.name).unwrap()
    );
}

#[test]
fn equal_bytes_of_other_dtypes_are_no_tie() {
    let zeros = |name: &str, dtype| TestTensor {
        name: name.into(),
        shape: vec![64, 64],
        dtype,
        bytes: vec![0; 8192],
    };
    let case = Case::new(&[vec![
        zeros("a.weight", Dtype::F16),
        zeros("b.weight", Dtype::BF16),
        zeros("c.ids", Dtype::I16),
    ]]);
    let restored = case.round_trip();
    assert_eq!(restored.info("b.weight").unwrap().dtype, nwc::DType::BF16);
    assert_eq!(restored.tensor_bytes("c.ids").unwrap(), vec![0; 8192]);
}

#[test]
fn a_shard_that_the_index_does_not_list_is_not_lost() {
    let (first, second) = (llama_like(), vec![gaussian("model.norm.weight", &[64])]);
    let case = Case::new(&[first, second.clone()]);
    write_checkpoint(
        &case.path("more"),
        &[vec![gaussian("mtp.fc.weight", &[64, 128])]],
    );
    write_checkpoint(&case.path("copy"), &[second]);
    let into = |from: &str, to: &str| fs::copy(case.path(from), case.path(to)).unwrap();
    into("more/model.safetensors", "original/model-mtp.safetensors");
    into("copy/model.safetensors", "original/model.fp16.safetensors");

    let restored = case.round_trip();
    assert_eq!(restored.info("mtp.fc.weight").unwrap().shape, [64, 128]);
    // Another copy of tensors that are there already is carried as it is.
    assert_eq!(
        fs::read(case.path("original/model.fp16.safetensors")).unwrap(),
        fs::read(case.path("restored/model.fp16.safetensors")).unwrap()
    );
}

#[test]
fn the_index_settles_what_lies_over_what() {
    let (old, new) = (
        gaussian("model.norm.weight", &[64]),
        TestTensor::gaussian("model.norm.weight", &[64], Dtype::BF16, 99),
    );
    let mut base = llama_like();
    base.push(old);
    // The later shard's entry wins in the index that is written.
    let case = Case::new(&[base, vec![new.clone()]]);
    let restored = case.round_trip();
    assert_eq!(
        restored.tensor_bytes("model.norm.weight").unwrap(),
        new.bytes
    );
}

#[test]
fn what_a_tensor_is_decides() {
    let kept = [
        gaussian("model.layers.0.mlp.gate.wg.weight", &[32, 128]),
        gaussian("transformer.blocks.0.ffn.router.layer.weight", &[32, 128]),
        gaussian("backbone.layers.0.mixer.conv1d.weight", &[2048, 1, 4]),
        gaussian("encoder.relative_attention_bias.weight", &[128, 64]),
        gaussian("q_proj.lora_B.weight", &[512, 16]),
    ];
    let coded = [
        gaussian("model.layers.0.mlp.gate_proj.weight", &[64, 128]),
        gaussian("audio.conv2.weight", &[64, 32, 3]),
        gaussian("unet.conv_in.weight", &[64, 8, 3, 3]),
    ];
    let all = [kept.to_vec(), coded.to_vec()].concat();
    let mut case = Case::new(std::slice::from_ref(&all));
    let restored = case.round_trip();
    for tensor in &all {
        let is_same = restored.tensor_bytes(&tensor.name).unwrap() == tensor.bytes;
        let is_kept = kept.iter().any(|k| k.name == tensor.name);
        assert_eq!(is_same, is_kept, "{}", tensor.name);
    }

    fs::remove_dir_all(case.path("packed")).unwrap();
    fs::remove_dir_all(case.path("restored")).unwrap();
    case.options.keep = vec!["audio.*".into()];
    case.options.code = vec!["*.lora_?.*".into()];
    let restored = case.round_trip();
    let is_same = |t: &TestTensor| restored.tensor_bytes(&t.name).unwrap() == t.bytes;
    assert!(is_same(&coded[1]));
    assert!(!is_same(&kept[4]));

    fs::remove_dir_all(case.path("packed")).unwrap();
    case.options.keep = vec!["nothing.*".into()];
    let message = case.refused();
    assert!(message.contains("--keep is nothing.*"), "{message}");
}

#[test]
fn what_is_no_weight_is_named() {
    let case = Case::new(&[llama_like()]);
    case.write(
        "model.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    );
    let message = case.refused();
    assert!(message.contains("git lfs pull"), "{message}");

    fs::remove_file(case.path("original/model.safetensors")).unwrap();
    case.write("pytorch_model.bin", "PK");
    let message = case.refused();
    assert!(
        message.contains("pytorch_model.bin") && message.contains("save_pretrained"),
        "{message}"
    );

    let case = Case::new(&[Vec::new()]);
    let message = case.refused();
    assert!(message.contains("no tensors"), "{message}");
}

#[test]
fn an_index_that_leads_into_a_sub_folder_is_named() {
    let case = Case::new(&[llama_like()]);
    fs::create_dir(case.path("original/weights")).unwrap();
    let [from, to] =
        ["original", "original/weights"].map(|n| case.path(n).join("model.safetensors"));
    fs::rename(from, to).unwrap();
    let index = r#"{"weight_map": {"lm_head.weight": "weights/model.safetensors"}}"#;
    case.write("model.safetensors.index.json", index);
    let error = nwc::compress(
        case.path("original"),
        case.path("packed"),
        &case.options,
        &NoProgress,
    );
    let error = error.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("`weights/model.safetensors`"), "{source}");
}

#[test]
fn a_tensor_may_have_any_name() {
    let names = [
        "",
        "a b.weight",
        "line\nbreak.weight",
        "nul\0.weight",
        "../up.weight",
        "w.nwc",
    ];
    let tensors = names.iter().enumerate().flat_map(|(i, name)| {
        let sides: &[usize] = if i % 2 == 0 { &[64, 64] } else { &[8] };
        [gaussian(name, sides)]
    });
    let case = Case::new(&[tensors.collect()]);
    let restored = case.round_trip();
    let mut found: Vec<&str> = restored.names().collect();
    found.sort_unstable();
    let mut expected = names;
    expected.sort_unstable();
    assert_eq!(found, expected);
}
