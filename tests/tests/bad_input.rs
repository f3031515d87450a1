//! What is wrong is said clearly, and nothing half-written stays.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use nwc::{CodecChoice, CompressOptions, DecodeOptions, Error, NoProgress, NonFinite};
use nwc_tests::{TestTensor, llama_like, write_checkpoint};
use safetensors::Dtype;

const CODEC: CodecChoice = CodecChoice::Pretrained { lambda: 100.0 };

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(shards: &[Vec<TestTensor>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_checkpoint(&dir.path().join("original"), shards);
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compress(&self) -> nwc::Result<nwc::Inspection> {
        let options = CompressOptions::new(CODEC);
        nwc::compress(
            self.path("original"),
            self.path("packed"),
            &options,
            &NoProgress,
        )
    }

    /// The failure's whole message; checks that nothing was left behind.
    #[track_caller]
    fn compress_fails(&self) -> String {
        let before = entries(self.dir.path());
        let message = chain(&self.compress().unwrap_err());
        assert_eq!(
            entries(self.dir.path()),
            before,
            "nothing half-written stays"
        );
        assert!(!message.contains('\n'), "one line: {message}");
        message
    }

    #[track_caller]
    fn decompress_fails(&self) -> String {
        let before = entries(self.dir.path());
        let err = nwc::decompress(
            self.path("packed"),
            self.path("restored"),
            &DecodeOptions::default(),
            &NoProgress,
        )
        .unwrap_err();
        assert_eq!(
            entries(self.dir.path()),
            before,
            "nothing half-written stays"
        );
        chain(&err)
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(below) = source {
        text.push_str(": ");
        text.push_str(&below.to_string());
        source = below.source();
    }
    text
}

#[track_caller]
fn check_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part} in: {message}");
    }
}

#[test]
fn output_exists() {
    let case = Case::new(&[llama_like()]);
    fs::create_dir(case.path("packed")).unwrap();
    check_names(&case.compress_fails(), &["packed", "exists"]);
}

#[test]
fn no_checkpoint() {
    let case = Case::new(&[llama_like()]);
    fs::remove_file(case.path("original/model.safetensors")).unwrap();
    check_names(&case.compress_fails(), &["original", "no checkpoint"]);
}

#[test]
fn missing_shard() {
    let tensors = llama_like();
    let (a, b) = tensors.split_at(4);
    let case = Case::new(&[a.to_vec(), b.to_vec()]);
    fs::remove_file(case.path("original/model-00002-of-00002.safetensors")).unwrap();
    check_names(
        &case.compress_fails(),
        &["model-00002-of-00002.safetensors", "missing", "index.json"],
    );
}

#[test]
fn truncated_input() {
    let case = Case::new(&[llama_like()]);
    let path = case.path("original/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for len in [0, 7, 8, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        check_names(&case.compress_fails(), &["model.safetensors"]);
    }
}

#[test]
fn unknown_dtype_names_the_tensor() {
    let case = Case::new(&[llama_like()]);
    let path = case.path("original/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let at = 8 + text.find("\"F16\"").unwrap();
    let mut bytes = bytes;
    bytes[at..at + 5].copy_from_slice(b"\"F17\"");
    fs::write(&path, bytes).unwrap();
    check_names(
        &case.compress_fails(),
        &["model.safetensors", "up_proj", "F17"],
    );
}

#[test]
fn nan_and_infinity_name_file_tensor_and_place() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut tensors = llama_like();
        let mut values = vec![0.5; 64 * 100];
        values[77] = value;
        tensors.push(TestTensor::from_values(
            "bad.weight",
            &[64, 100],
            Dtype::F32,
            &values,
        ));
        let case = Case::new(&[tensors]);
        check_names(
            &case.compress_fails(),
            &["model.safetensors", "bad.weight", word, "77"],
        );

        let mut options = CompressOptions::new(CODEC);
        options.non_finite = NonFinite::Keep;
        let out = case.path("packed");
        let inspection = nwc::compress(case.path("original"), &out, &options, &NoProgress).unwrap();
        let tensor = inspection
            .tensors
            .iter()
            .find(|t| t.name == "bad.weight")
            .unwrap();
        assert!(["lossless", "packed"].contains(&tensor.coding.as_str()));
    }
}

#[test]
fn a_codec_that_is_none_or_of_another_version() {
    let case = Case::new(&[llama_like()]);
    let file = case.path("codec.safetensors");
    let good = nwc::pretrained(30.0).unwrap().to_vec();
    let version = b"\"nwc_codec_version\":\"1\"";
    let at = good
        .windows(version.len())
        .position(|w| w == version)
        .unwrap();
    let mut other = good.clone();
    other[at + version.len() - 2] = b'9';
    for bytes in [&b""[..], b"not a codec", &good[..good.len() / 2], &other] {
        fs::write(&file, bytes).unwrap();
        let options = CompressOptions::new(CodecChoice::File(file.clone()));
        let err = nwc::compress(
            case.path("original"),
            case.path("packed"),
            &options,
            &NoProgress,
        )
        .unwrap_err();
        assert!(matches!(err, Error::Codec { .. }), "{err:?}");
        check_names(&chain(&err), &["codec.safetensors"]);
        assert!(!case.path("packed").exists());
    }
}

#[test]
fn plain_where_compressed_is_wanted_and_the_other_way() {
    let case = Case::new(&[llama_like()]);
    case.compress().unwrap();
    let err = nwc::fingerprint(case.path("packed")).unwrap_err();
    assert!(matches!(err, Error::AlreadyCompressed { .. }), "{err:?}");
    let err = nwc::decompress(
        case.path("original"),
        case.path("again"),
        &DecodeOptions::default(),
        &NoProgress,
    )
    .unwrap_err();
    assert!(matches!(err, Error::NotCompressed { .. }), "{err:?}");
}

#[test]
fn every_flipped_bit_is_detected() {
    // A file of a few kilobytes: one matrix and one norm.
    let tensors = vec![
        TestTensor::gaussian("a.weight", &[64, 64], Dtype::BF16, 1),
        TestTensor::gaussian("norm.weight", &[8], Dtype::BF16, 2),
    ];
    let case = Case::new(&[tensors]);
    // The smallest codec keeps the header and payload in the foreground.
    case.compress().unwrap();
    let path = case.path("packed/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let header_end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    // Every byte of the header; of the data, which one digest a section covers, a stride and both ends.
    let positions = (0..header_end)
        .chain((header_end..bytes.len()).step_by(997))
        .chain(bytes.len().saturating_sub(3000)..bytes.len());
    for at in positions {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        match nwc::verify(case.path("packed"), &DecodeOptions::default(), &NoProgress) {
            Ok(verification) => assert!(!verification.failures.is_empty(), "byte {at}"),
            Err(err) => check_names(&chain(&err), &["packed"]),
        }
    }
    // A damaged file names itself and leaves nothing behind.
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(&path, &damaged).unwrap();
    check_names(&case.decompress_fails(), &["model.safetensors"]);
    for len in [0, 8, header_end - 1, header_end + 5, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        check_names(&case.decompress_fails(), &["packed"]);
    }
}

#[test]
fn a_damaged_carried_file_is_named() {
    let case = Case::new(&[llama_like()]);
    case.compress().unwrap();
    fs::write(case.path("packed/tokenizer.json"), "{}").unwrap();
    check_names(&case.decompress_fails(), &["tokenizer.json", "digest"]);
    let verification =
        nwc::verify(case.path("packed"), &DecodeOptions::default(), &NoProgress).unwrap();
    assert_eq!(verification.failures.len(), 1);
}

#[test]
fn statistics_of_another_model() {
    let case = Case::new(&[llama_like()]);
    let stats = case.path("stats.safetensors");
    let writer = nwc::StatisticsWriter::create(&stats, &serde_json::json!({})).unwrap();
    writer.finish("0123".into(), "none".into(), 0, 0).unwrap();
    let mut options = CompressOptions::new(CODEC);
    options.statistics = Some(stats.clone());
    let err = nwc::compress(
        case.path("original"),
        case.path("packed"),
        &options,
        &NoProgress,
    )
    .unwrap_err();
    check_names(&chain(&err), &["stats.safetensors", "0123", "fingerprint"]);
    fs::write(&stats, "x").unwrap();
    let err = nwc::compress(
        case.path("original"),
        case.path("packed"),
        &options,
        &NoProgress,
    )
    .unwrap_err();
    check_names(&chain(&err), &["stats.safetensors"]);
}
