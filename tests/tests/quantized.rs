//! Weights that are quantised already are carried whole, with their scales, or opened where that is asked for.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::Path;

use half::bf16;
use nwc::{Checkpoint, CodecChoice, CompressOptions, DecodeOptions, NoProgress, RateTarget};
use nwc_tests::{TestTensor, fixtures, llama_like, write_checkpoint};
use safetensors::{Dtype, SafeTensors};

fn bytes_of(name: &str, shape: &[usize], dtype: Dtype) -> TestTensor {
    let n_bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
    TestTensor {
        name: name.into(),
        shape: shape.into(),
        dtype,
        bytes: (0..n_bytes).map(|i| (i * 31 % 120) as u8).collect(),
    }
}

fn scales(name: &str, shape: &[usize], dtype: Dtype) -> TestTensor {
    let seed = name.bytes().map(u64::from).sum();
    TestTensor::gaussian(name, shape, dtype, seed)
}

/// All of `tensors` come back bit for bit, and the table says what they are part of.
#[track_caller]
fn check(method: &str, tensors: &[TestTensor]) {
    let dir = tempfile::tempdir().unwrap();
    let [original, packed, restored] =
        ["original", "packed", "restored"].map(|n| dir.path().join(n));
    let all = [llama_like(), tensors.to_vec()].concat();
    write_checkpoint(&original, &[all]);
    let options = CompressOptions::new(CodecChoice::Trellis {
        target: RateTarget::BpwPayload(4.0),
        n_states: 8,
    });
    let inspection = nwc::compress(&original, &packed, &options, &NoProgress).unwrap();
    nwc::decompress(&packed, &restored, &DecodeOptions::default(), &NoProgress).unwrap();
    let restored = Checkpoint::open(&restored).unwrap();
    for tensor in tensors {
        let bytes = restored.tensor_bytes(&tensor.name).unwrap();
        assert_eq!(bytes, tensor.bytes, "{}", tensor.name);
        let said = inspection
            .tensors
            .iter()
            .find(|t| t.name == tensor.name)
            .unwrap();
        let reason = said.reason.as_deref().unwrap_or_default();
        assert!(reason.contains(method), "{}: {reason}", tensor.name);
    }
}

#[test]
fn every_method_is_carried_whole() {
    check(
        "FP8",
        &[
            bytes_of("up_proj.weight", &[256, 256], Dtype::F8_E4M3),
            scales("up_proj.weight_scale_inv", &[64, 64], Dtype::F32),
            scales("up_proj.input_scale", &[], Dtype::F32),
        ],
    );
    check(
        "GPTQ",
        &[
            bytes_of("up_proj.qweight", &[32, 256], Dtype::I32),
            bytes_of("up_proj.qzeros", &[16, 32], Dtype::I32),
            scales("up_proj.scales", &[16, 256], Dtype::F16),
            bytes_of("up_proj.g_idx", &[256], Dtype::I32),
        ],
    );
    check(
        "AWQ",
        &[
            bytes_of("up_proj.qweight", &[256, 32], Dtype::I32),
            bytes_of("up_proj.qzeros", &[16, 32], Dtype::I32),
            scales("up_proj.scales", &[16, 256], Dtype::F16),
        ],
    );
    check(
        "MXFP4",
        &[
            bytes_of("experts.down_proj_blocks", &[2, 64, 2, 16], Dtype::U8),
            bytes_of("experts.down_proj_scales", &[2, 64, 2], Dtype::U8),
        ],
    );
    check(
        "MLX",
        &[
            bytes_of("up_proj.weight", &[256, 32], Dtype::U32),
            scales("up_proj.scales", &[256, 16], Dtype::F16),
            scales("up_proj.biases", &[256, 16], Dtype::F16),
        ],
    );
}

const TRELLIS: CodecChoice = CodecChoice::Trellis {
    target: RateTarget::BpwPayload(4.0),
    n_states: 8,
};

fn opening() -> CompressOptions {
    let mut options = CompressOptions::new(TRELLIS);
    options.dequantize = true;
    options
}

/// The tensors of a fixture, and the values that they stand for.
fn fixture(name: &str) -> (Vec<TestTensor>, Vec<f32>) {
    let bytes = fs::read(fixtures().join("quantized").join(name)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let expected = file.tensor("expected").unwrap();
    let (values, rest) = expected.data().as_chunks();
    assert!(rest.is_empty() && expected.dtype() == Dtype::F32);
    let values = values.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let tensors = file.iter().filter(|(name, _)| *name != "expected");
    let tensors = tensors.map(|(name, view)| TestTensor {
        name: name.into(),
        shape: view.shape().to_vec(),
        dtype: view.dtype(),
        bytes: view.data().to_vec(),
    });
    (tensors.collect(), values)
}

fn compress_and_restore(dir: &Path, options: &CompressOptions) {
    let [original, packed, restored] = ["original", "packed", "restored"].map(|n| dir.join(n));
    nwc::compress(original, &packed, options, &NoProgress).unwrap();
    let verified = nwc::verify(&packed, &DecodeOptions::default(), &NoProgress).unwrap();
    assert!(verified.failures.is_empty(), "{:?}", verified.failures);
    nwc::decompress(packed, restored, &DecodeOptions::default(), &NoProgress).unwrap();
}

/// The weight of a fixture comes back as one plain tensor `name` of bf16, without its scales.
#[track_caller]
fn check_opened(file: &str, name: &str, entry: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (tensors, expected) = fixture(file);
    // The parts of one weight may lie in several shards.
    let (first, second) = tensors.split_at(1);
    let shards = [[llama_like(), first.to_vec()].concat(), second.to_vec()];
    let shards = &shards[..1 + usize::from(!second.is_empty())];
    write_checkpoint(&dir.path().join("original"), shards);
    let config = format!("{{\n  \"eps\": 1e-05,\n  \"quantization_config\": {entry}\n}}\n");
    fs::write(dir.path().join("original/config.json"), config).unwrap();
    fs::write(dir.path().join("original/quantize_config.json"), entry).unwrap();
    let mut options = opening();
    options.keep = vec![name.into()];
    compress_and_restore(dir.path(), &options);

    let restored = Checkpoint::open(dir.path().join("restored")).unwrap();
    let expected: Vec<bf16> = expected.into_iter().map(bf16::from_f32).collect();
    assert_eq!(restored.tensor_bf16(name).unwrap(), expected, "{file}");
    assert_eq!(restored.info(name).unwrap().dtype, nwc::DType::BF16);
    for part in tensors.iter().filter(|part| part.name != name) {
        assert!(restored.info(&part.name).is_err(), "{}", part.name);
    }
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("restored/config.json"), "{\n  \"eps\": 1e-05\n}\n");
    assert!(!dir.path().join("restored/quantize_config.json").exists());
    let packed: serde_json::Value = serde_json::from_str(&read("packed/config.json")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
    assert_eq!(packed["quantization_config"]["opened"], entry);
}

#[test]
fn every_method_that_can_be_is_opened() {
    let block = r#"{"quant_method":"fp8","weight_block_size":[16,16]}"#;
    let compressed = r#"{"quant_method":"compressed-tensors"}"#;
    check_opened("fp8_block.safetensors", "q_proj.weight", block);
    check_opened("fp8_row.safetensors", "q_proj.weight", compressed);
    check_opened("fp8_tensor.safetensors", "q_proj.weight", compressed);
    check_opened(
        "mxfp4.safetensors",
        "experts.down_proj",
        r#"{"quant_method":"mxfp4"}"#,
    );
    let gptq = r#"{"quant_method":"gptq","bits":4}"#;
    check_opened("gptq_4bit.safetensors", "q_proj.weight", gptq);
    let gptq = r#"{"quant_method":"gptq","bits":8}"#;
    check_opened("gptq_8bit_shuffled.safetensors", "q_proj.weight", gptq);
    let awq = r#"{"quant_method":"awq","bits":4}"#;
    check_opened("awq.safetensors", "q_proj.weight", awq);
}

#[test]
fn an_opened_weight_is_coded_like_a_plain_one() {
    let tmp = tempfile::tempdir().unwrap();
    let [quantized, plain] = ["quantized", "plain"].map(|n| tmp.path().join(n));
    let weight = bytes_of(
        "model.layers.0.extra_proj.weight",
        &[64, 128],
        Dtype::F8_E4M3,
    );
    let scale = scales(
        "model.layers.0.extra_proj.weight_scale",
        &[64, 1],
        Dtype::F32,
    );
    let shard = [llama_like(), vec![weight, scale]].concat();
    write_checkpoint(&quantized.join("original"), &[shard]);
    let mut lossless = opening();
    lossless.keep = vec!["*".into()];
    compress_and_restore(&quantized, &lossless);

    fs::create_dir(&plain).unwrap();
    fs::rename(quantized.join("restored"), plain.join("original")).unwrap();
    fs::remove_dir_all(quantized.join("packed")).unwrap();
    compress_and_restore(&quantized, &opening());
    compress_and_restore(&plain, &CompressOptions::new(TRELLIS));
    let [opened, other] = [&quantized, &plain].map(|dir| dir.join("packed"));
    let tensors = |dir: &Path| serde_json::to_value(nwc::inspect(dir).unwrap().tensors).unwrap();
    assert_eq!(tensors(&opened), tensors(&other));
    let [opened, other] = [opened, other].map(|dir| Checkpoint::open(dir).unwrap());
    for name in opened.names() {
        let bytes = opened.tensor_bytes(name).unwrap();
        assert!(bytes == other.tensor_bytes(name).unwrap(), "{name}");
    }
}

#[track_caller]
fn check_refused(tensors: &[TestTensor], part: &str) {
    let dir = tempfile::tempdir().unwrap();
    let [original, packed] = ["original", "packed"].map(|n| dir.path().join(n));
    write_checkpoint(&original, &[[llama_like(), tensors.to_vec()].concat()]);
    let error = nwc::compress(&original, &packed, &opening(), &NoProgress).unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let message = format!("{error}: {}", source.unwrap_or_default());
    assert!(message.contains(part), "{message}");
    assert!(!packed.exists());
}

#[test]
fn what_cannot_be_opened_is_refused() {
    check_refused(&[], "not quantised");
    check_refused(
        &[
            bytes_of("up_proj.weight", &[64, 8], Dtype::U32),
            scales("up_proj.scales", &[64, 1], Dtype::F16),
        ],
        "up_proj.weight is of MLX",
    );
    check_refused(
        &[
            bytes_of("up_proj.weight", &[64, 64], Dtype::F8_E4M3),
            scales("up_proj.weight_scale", &[7, 3, 2], Dtype::F32),
        ],
        "shape of the scales",
    );
    check_refused(
        &[bytes_of("up_proj.weight", &[4096], Dtype::F8_E4M3)],
        "that of a weight of FP8",
    );
    check_refused(
        &[
            bytes_of("e.down_proj_blocks", &[1, 64, 1, 16], Dtype::U8),
            bytes_of("e.down_proj_scales", &[1, 64, 1], Dtype::U8),
            scales("e.down_proj", &[64], Dtype::F16),
        ],
        "e.down_proj is in",
    );
}
