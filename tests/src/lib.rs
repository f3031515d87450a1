//! End-to-end tests: helpers that build small checkpoints and find fixtures.
#![forbid(unsafe_code)]

pub mod fuzzing;
pub mod mending;
pub mod restored;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

/// The folder of committed fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// One tensor of a checkpoint under construction.
#[derive(Debug, Clone)]
pub struct TestTensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl TestTensor {
    /// Gaussian weights with rows of different scale, in `dtype` (F32, F16 or BF16).
    pub fn gaussian(name: &str, shape: &[usize], dtype: Dtype, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n: usize = shape.iter().product();
        let cols = shape.last().copied().unwrap_or(1).max(1);
        let values: Vec<f32> = (0..n)
            .map(|i| {
                let row_scale = 0.02 * (1.0 + (i / cols % 7) as f32 * 0.3);
                gaussian(&mut rng) * row_scale
            })
            .collect();
        Self::from_values(name, shape, dtype, &values)
    }

    /// The given values in `dtype` (F32, F16 or BF16).
    pub fn from_values(name: &str, shape: &[usize], dtype: Dtype, values: &[f32]) -> Self {
        let bytes = match dtype {
            Dtype::BF16 => values
                .iter()
                .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
                .collect(),
            Dtype::F16 => values
                .iter()
                .flat_map(|&v| f16::from_f32(v).to_le_bytes())
                .collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        Self {
            name: name.into(),
            shape: shape.into(),
            dtype,
            bytes,
        }
    }
}

/// A standard normal number (Box and Muller).
pub fn gaussian(rng: &mut impl Rng) -> f32 {
    let u: f32 = rng.random_range(f32::EPSILON..1.0);
    let v: f32 = rng.random_range(0.0..1.0);
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

/// A small model in the shape of a Llama: every kind of tensor that the facade treats differently.
pub fn llama_like() -> Vec<TestTensor> {
    let bf = Dtype::BF16;
    vec![
        TestTensor::gaussian("model.embed_tokens.weight", &[100, 64], bf, 1),
        TestTensor::gaussian("model.layers.0.self_attn.q_proj.weight", &[64, 64], bf, 2),
        TestTensor::gaussian("model.layers.0.self_attn.k_proj.weight", &[32, 64], bf, 3),
        TestTensor::gaussian(
            "model.layers.0.mlp.up_proj.weight",
            &[171, 64],
            Dtype::F16,
            4,
        ),
        TestTensor::gaussian(
            "model.layers.0.mlp.down_proj.weight",
            &[64, 171],
            Dtype::F32,
            5,
        ),
        TestTensor::gaussian("model.layers.0.experts.weight", &[3, 40, 64], bf, 6),
        TestTensor::gaussian("model.layers.0.input_layernorm.weight", &[64], bf, 7),
        TestTensor {
            name: "model.layers.0.rotary.positions".into(),
            shape: vec![5],
            dtype: Dtype::I64,
            bytes: (0i64..5).flat_map(i64::to_le_bytes).collect(),
        },
        TestTensor {
            name: "model.empty".into(),
            shape: vec![0, 7],
            dtype: Dtype::F32,
            bytes: Vec::new(),
        },
    ]
}

/// Writes a checkpoint folder of as many shards as `shards` has, with configuration and tokenizer.
pub fn write_checkpoint(dir: &Path, shards: &[Vec<TestTensor>]) {
    fs::create_dir_all(dir).expect("the test's own folder");
    let mut weight_map = serde_json::Map::new();
    for (idx, tensors) in shards.iter().enumerate() {
        let file_name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", idx + 1),
        };
        let views = tensors.iter().map(|t| {
            let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes).expect("consistent");
            (t.name.as_str(), view)
        });
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(views, Some(metadata), &dir.join(&file_name))
            .expect("the test's own folder");
        for tensor in tensors {
            weight_map.insert(tensor.name.clone(), json!(file_name));
        }
    }
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": 0}, "weight_map": weight_map});
        fs::write(dir.join("model.safetensors.index.json"), index.to_string())
            .expect("the test's own folder");
    }
    let config = json!({"architectures": ["LlamaForCausalLM"], "hidden_size": 64});
    fs::write(dir.join("config.json"), format!("{config:#}\n")).expect("the test's own folder");
    fs::write(dir.join("tokenizer.json"), "{\"version\": \"1.0\"}\n")
        .expect("the test's own folder");
}

/// Path and bytes of every file below a folder, links followed.
pub fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let relative = path.strip_prefix(root).expect("below the root").into();
                files.insert(relative, fs::read(&path).expect("a readable file"));
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(dir, dir, &mut files);
    files
}

/// Name and bytes of every file in a folder, for comparing two folders.
pub fn folder_bytes(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("a readable folder");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}

/// The codecs that `fixtures/v1` was made with, by the name of the folder.
pub fn fixture_codecs() -> [(&'static str, nwc::CodecChoice); 2] {
    let trellis = nwc::CodecChoice::Trellis {
        target: nwc::RateTarget::BpwPayload(4.0),
        n_states: 8,
    };
    [
        ("neural", nwc::CodecChoice::Pretrained { lambda: 100.0 }),
        ("trellis", trellis),
    ]
}
