//! Weights that are quantised already are carried whole, with their scales.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use nwc::{Checkpoint, CodecChoice, CompressOptions, DecodeOptions, NoProgress, RateTarget};
use nwc_tests::{TestTensor, llama_like, write_checkpoint};
use safetensors::Dtype;

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
