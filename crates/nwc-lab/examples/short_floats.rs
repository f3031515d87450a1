//! Prints as JSON what the synthesis of 16-bit floats would change, beside the codec's own error.
//!
//! `cargo run --release -p nwc-lab --example short_floats -- crates/nwc/codecs/*.safetensors`: for normal deviates, each codec
//! and quality level, the squared error over the weights' mean square: of the codec as it is (`nmse`), of products
//! whose weights, or weights and inputs, were rounded first, beside products in f32; sums stay f32, as in hardware.
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use half::{bf16, f16};
use nwc_chunk::ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis, Ix1, Ix2, ShapeError};
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::NeuralCodec;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

const N_CHUNKS: usize = 8192;
const NORM_EPSILON: f32 = 1e-5;

type Round = fn(f32) -> f32;
type Failure = Box<dyn std::error::Error>;

/// What is rounded before a product.
struct Rounding {
    name: &'static str,
    weight: Round,
    rows: Round,
}

const EXACT: Round = |x| x;
const TO_BF16: Round = |x| bf16::from_f32(x).to_f32();
const TO_F16: Round = |x| f16::from_f32(x).to_f32();

const ROUNDINGS: [Rounding; 4] = [
    rounding("f32_in_another_order", EXACT, EXACT),
    rounding("bf16_weights", TO_BF16, EXACT),
    rounding("bf16", TO_BF16, TO_BF16),
    rounding("f16", TO_F16, TO_F16),
];

const fn rounding(name: &'static str, weight: Round, rows: Round) -> Rounding {
    Rounding { name, weight, rows }
}

fn main() -> Result<(), Failure> {
    let mut codecs = Vec::new();
    for path in std::env::args().skip(1) {
        let codec = NeuralCodec::from_bytes(&std::fs::read(&path)?)?;
        let chunks = gaussian(N_CHUNKS, codec.config().chunk_len, 2026);
        for level in 0..codec.config().n_quality_levels() {
            let levels = vec![QualityLevel(level as u8); N_CHUNKS];
            let coded = codec.quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)?;
            let nmse = relative(&coded.reconstruction, &chunks);
            let mut entry = serde_json::json!({
                "lambda": codec.config().lambda, "level": level, "nmse": nmse,
            });
            for rounding in &ROUNDINGS {
                let found = synthesize(&codec, coded.symbols.view(), level, rounding)?;
                let error = relative(&found, &coded.reconstruction);
                entry[rounding.name] = serde_json::json!({
                    "error": error, "of_nmse": error / nmse, "nmse": relative(&found, &chunks),
                });
            }
            codecs.push(entry);
        }
    }
    let report = serde_json::json!({
        "source": format!("N(0, 1), {N_CHUNKS} chunks"),
        "error": "squared difference to the codec's own reconstruction over its mean square",
        "levels": codecs,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// The codec's synthesis written once more, with everything rounded that goes into a product.
fn synthesize(
    codec: &NeuralCodec,
    symbols: ArrayView2<'_, i32>,
    level: usize,
    rounding: &Rounding,
) -> Result<Array2<f32>, Failure> {
    let get = |name: &str| -> Result<&ArrayD<f32>, Failure> {
        let found = codec.parameters().get(name);
        found.ok_or_else(|| format!("no parameter {name}").into())
    };
    let vector = |name: &str| -> Result<Array1<f32>, Failure> {
        Ok(get(name)?.clone().into_dimensionality::<Ix1>()?)
    };
    let level_of = |name: &str| -> Result<Array1<f32>, Failure> {
        Ok(get(name)?
            .index_axis(Axis(0), level)
            .to_owned()
            .into_dimensionality::<Ix1>()?)
    };
    // Centred, as the decoder does it, so that rounding comes after.
    let linear = |rows: &Array2<f32>, name: &str, centred: bool| -> Result<Array2<f32>, Failure> {
        let mut weight = matrix(get(&format!("{name}.weight"))?)?;
        let mut bias = vector(&format!("{name}.bias"))?;
        if centred {
            weight -= &weight.mean_axis(Axis(0)).ok_or("a layer of no outputs")?;
            bias -= bias.mean().ok_or("a layer of no outputs")?;
        }
        let weight = weight.mapv(rounding.weight);
        Ok(rows.mapv(rounding.rows).dot(&weight.t()) + bias)
    };
    let embedding = match level_of("quality_embedding.decoder") {
        Err(_) => level_of("quality_embedding.encoder")?,
        own => own?,
    };
    let latents = symbols.mapv(|symbol| symbol as f32) + level_of("median")?;
    let mut hidden = linear(&latents, "decoder.input", false)?;
    for block in 0..codec.config().n_blocks {
        let prefix = format!("decoder.blocks.{block}");
        let mut branch = linear(&hidden, &format!("{prefix}.linear"), true)?;
        for mut row in branch.rows_mut() {
            let variance = row.dot(&row) / row.len() as f32;
            row /= (variance + NORM_EPSILON).sqrt();
        }
        branch = branch * vector(&format!("{prefix}.norm.weight"))?
            + vector(&format!("{prefix}.norm.bias"))?;
        hidden = (hidden + branch.mapv(|x| x.max(0.0))) * &embedding;
    }
    linear(&hidden, "decoder.output", false)
}

fn matrix(values: &ArrayD<f32>) -> Result<Array2<f32>, ShapeError> {
    values.clone().into_dimensionality::<Ix2>()
}

/// Squared difference over the mean square of `expected`.
fn relative(found: &Array2<f32>, expected: &Array2<f32>) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    error / expected.iter().map(|&x| square(x)).sum::<f64>()
}

/// Standard normal deviates.
fn gaussian(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, cols), || rng.sample(StandardNormal))
}
