//! Tensors that come back bit for bit and take fewer bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::path::Path;

use nwc::{
    Checkpoint, CodecChoice, CompressOptions, DecodeOptions, Embeddings, Inspection, NoProgress,
    RateTarget,
};
use nwc_tests::{TestTensor, folder_bytes, llama_like, write_checkpoint};
use safetensors::Dtype;

fn tensor(name: &str, shape: &[usize], dtype: Dtype, bytes: Vec<u8>) -> TestTensor {
    TestTensor {
        name: name.into(),
        shape: shape.to_vec(),
        dtype,
        bytes,
    }
}

/// Bytes that no coder makes smaller.
fn noise(n: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..n).map(|_| next()).collect()
}

/// Tensors of every dtype, among them some that are better left alone.
fn all_kinds() -> Vec<TestTensor> {
    let mut tensors = llama_like();
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        tensors.push(TestTensor::gaussian(
            &format!("more.{dtype:?}.weight"),
            &[300, 1000],
            dtype,
            3,
        ));
    }
    // Every bit pattern of bf16, NaNs of every payload among them.
    let every = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    tensors.push(tensor("every.bf16", &[256, 256], Dtype::BF16, every));
    tensors.push(tensor(
        "noise.f32",
        &[64, 64],
        Dtype::F32,
        noise(64 * 64 * 4),
    ));
    tensors.push(tensor("noise.f8", &[8192], Dtype::F8_E4M3, noise(8192)));
    let skewed: Vec<u8> = noise(20_000)
        .iter()
        .map(|b| b & b.rotate_left(3) & 0x8F)
        .collect();
    tensors.push(tensor(
        "skewed.f8",
        &[100, 200],
        Dtype::F8_E4M3,
        skewed.clone(),
    ));
    tensors.push(tensor("skewed.i8", &[20_000], Dtype::I8, skewed));
    tensors.push(tensor("ids", &[1000], Dtype::I64, vec![0; 8000]));
    tensors.push(tensor("empty", &[0, 4], Dtype::BF16, Vec::new()));
    tensors.push(tensor("zeros", &[64, 64], Dtype::F32, vec![0; 64 * 64 * 4]));
    tensors
}

fn compress(dir: &Path, options: &CompressOptions) -> Inspection {
    let packed = dir.join("packed");
    nwc::compress(dir.join("model"), packed, options, &NoProgress).unwrap()
}

#[test]
fn every_bit_of_every_dtype_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (
        all_kinds(),
        vec![TestTensor::gaussian("last", &[64, 64], Dtype::BF16, 9)],
    );
    write_checkpoint(&dir.path().join("model"), &[first.clone(), second]);
    let mut options = CompressOptions::new(CodecChoice::Lossless);
    options.verify = true;
    let inspection = compress(dir.path(), &options);
    assert!(
        inspection
            .tensors
            .iter()
            .all(|t| ["packed", "lossless"].contains(&t.coding.as_str())
                || t.coding.starts_with("tied to"))
    );
    let coding = |name: &str| {
        &inspection
            .tensors
            .iter()
            .find(|t| t.name == name)
            .unwrap()
            .coding
    };
    for name in [
        "more.BF16.weight",
        "more.F16.weight",
        "more.F32.weight",
        "skewed.f8",
        "skewed.i8",
        "zeros",
    ] {
        assert_eq!(coding(name), "packed", "{name}");
    }
    for name in ["noise.f32", "noise.f8", "ids", "empty"] {
        assert_eq!(coding(name), "lossless", "{name}");
    }
    let out = dir.path().join("out");
    let decode = DecodeOptions::default();
    nwc::decompress(dir.path().join("packed"), &out, &decode, &NoProgress).unwrap();
    let [before, packed, after] =
        ["model", "packed", "out"].map(|name| Checkpoint::open(dir.path().join(name)).unwrap());
    for name in before.names() {
        let bytes = before.tensor_bytes(name).unwrap();
        assert!(bytes == packed.tensor_bytes(name).unwrap(), "{name}");
        assert!(bytes == after.tensor_bytes(name).unwrap(), "{name}");
        assert_eq!(before.info(name).unwrap(), after.info(name).unwrap());
    }
    let others = |name: &str| {
        let mut files = folder_bytes(&dir.path().join(name));
        files.retain(|(name, _)| !name.contains("safetensors"));
        files
    };
    assert!(others("model") == others("out"));
}

/// A reader gives any part of a packed tensor, across the bounds of its substreams.
#[test]
fn parts_of_packed_tensors_are_parts_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let weights = TestTensor::gaussian("a.weight", &[700, 1000], Dtype::BF16, 3);
    write_checkpoint(&dir.path().join("model"), &[vec![weights.clone()]]);
    compress(dir.path(), &CompressOptions::new(CodecChoice::Lossless));
    let checkpoint = Checkpoint::open(dir.path().join("packed")).unwrap();
    let reader = checkpoint.reader("a.weight").unwrap();
    let mut whole = vec![0; reader.n_bytes()];
    reader.read_into(&mut whole).unwrap();
    assert_eq!(whole, weights.bytes);
    for (rows, cols) in [
        (0..1, 0..1000),
        (261..264, 5..7),
        (699..700, 999..1000),
        (100..600, 0..1000),
        (5..5, 1..3),
    ] {
        let mut part = vec![0; rows.len() * cols.len() * 2];
        reader
            .slice_into(rows.clone(), cols.clone(), &mut part)
            .unwrap();
        let expected: Vec<u8> = rows
            .flat_map(|row| {
                weights.bytes[(row * 1000 + cols.start) * 2..(row * 1000 + cols.end) * 2].to_vec()
            })
            .collect();
        assert_eq!(part, expected);
    }
}

/// What is kept beside coded weights is packed, too, and a size of the whole is met with that.
#[test]
fn kept_embeddings_take_less() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = vec![
        TestTensor::gaussian("model.embed_tokens.weight", &[1000, 256], Dtype::BF16, 1),
        TestTensor::gaussian(
            "model.layers.0.mlp.up_proj.weight",
            &[512, 256],
            Dtype::BF16,
            2,
        ),
    ];
    write_checkpoint(&dir.path().join("model"), std::slice::from_ref(&tensors));
    let mut options = CompressOptions::new(CodecChoice::Trellis {
        target: RateTarget::TotalBytes(450_000),
        n_states: 8,
    });
    options.embeddings = Embeddings::Keep;
    let inspection = compress(dir.path(), &options);
    let embedding = &inspection.tensors[0];
    assert_eq!(embedding.coding, "packed");
    assert!((8.0..12.5).contains(&embedding.bpw), "{}", embedding.bpw);
    let total = inspection.totals.total_bytes as f64;
    assert!((total / 450_000.0 - 1.0).abs() < 0.005, "{total}");
    let checkpoint = Checkpoint::open(dir.path().join("packed")).unwrap();
    assert_eq!(
        checkpoint
            .tensor_bytes("model.embed_tokens.weight")
            .unwrap(),
        tensors[0].bytes
    );
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let bytes = [1, 3].map(|n_threads| {
        let dir = tempfile::tempdir().unwrap();
        write_checkpoint(&dir.path().join("model"), &[all_kinds()]);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n_threads)
            .build()
            .unwrap();
        pool.install(|| compress(dir.path(), &CompressOptions::new(CodecChoice::Lossless)));
        folder_bytes(&dir.path().join("packed"))
    });
    assert!(bytes[0] == bytes[1]);
}
