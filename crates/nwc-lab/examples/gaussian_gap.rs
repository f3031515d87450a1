//! Prints as JSON how far trellis-coded quantisation of normal deviates is from D(R) = 2^-2R.
//!
//! `cargo run --release -p nwc-lab --example gaussian_gap -- [size] [states,…] [rates,…] [lagrangian]`:
//! for a `size × size` matrix of N(0, 1) and each number of states the rate in stored bytes (substreams
//! and side information), the gap at each rate asked for, the plain scalar quantiser (ECSQ) from its
//! integrals beside it.
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::{self, Array2, ArrayView1};
use nwc_codec::trellis::{
    self, FitSample, SymbolCounts, TensorScales, TrellisCodec, TrellisConfig, TrellisQuantizer,
};
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

/// What one step gave.
struct Point {
    rate: f64,
    mse: f64,
    fit_bytes: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |idx: usize, default: &str| -> String {
        arguments
            .get(idx)
            .cloned()
            .unwrap_or_else(|| default.into())
    };
    let size: usize = argument(0, "1024").parse()?;
    let states = numbers(&argument(1, "1,4,8,16,64,256"))?;
    let rates = numbers(&argument(2, "1,1.5,2,2.5,3,4,5,6,8"))?;
    let lagrangians = numbers(&argument(3, "0.2,0.35"))?;
    let weights = gaussian(size, size, 2026);
    let mut entries = Vec::new();
    for (&n_states, &lagrangian) in states
        .iter()
        .flat_map(|s| lagrangians.iter().map(move |l| (s, l)))
    {
        let config = TrellisConfig {
            lagrangian: lagrangian as f32,
            ..TrellisConfig::wide(n_states as u16)
        };
        for &rate in &rates {
            let (step, point) = at_rate(&config, &weights, rate)?;
            let limit = -0.5 * point.mse.log2();
            entries.push(serde_json::json!({
                "n_states": config.n_states,
                "lagrangian": rounded(f64::from(config.lagrangian)),
                "rate": rounded(point.rate),
                "mse": point.mse,
                "gap": rounded(point.rate - limit),
                "gap_ecsq": rounded(ecsq_gap(point.rate)),
                "step": step,
                "codec_bytes": point.fit_bytes,
            }));
        }
    }
    let report = serde_json::json!({
        "source": format!("N(0, 1), {size} x {size}"),
        "rate": "stored bytes of substreams and side information, bits a weight",
        "gap": "rate - R(D), R(D) = -log2(mse) / 2",
        "points": entries,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn numbers(list: &str) -> Result<Vec<f64>, std::num::ParseFloatError> {
    list.split(',').map(str::parse).collect()
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Standard normal deviates.
fn gaussian(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, cols), || rng.sample(StandardNormal))
}

/// Searches for the step of that rate: on a few columns, then once on all.
fn at_rate(
    config: &TrellisConfig,
    weights: &Array2<f32>,
    rate: f64,
) -> Result<(f32, Point), Box<dyn std::error::Error>> {
    let n_few = weights.ncols().min(96);
    let few = weights.slice(ndarray::s![.., ..n_few]).to_owned();
    // One octave of the step is about one bit.
    let mut step = (0.5 * 4.13 * (-rate).exp2()) as f32;
    for _ in 0..5 {
        let found = run(config, &few, step)?.rate;
        step *= (found - rate).exp2() as f32;
    }
    Ok((step, run(config, weights, step)?))
}

fn run(
    config: &TrellisConfig,
    weights: &Array2<f32>,
    step: f32,
) -> Result<Point, Box<dyn std::error::Error>> {
    let (rows, cols) = weights.dim();
    let scales = TensorScales::uniform(rows, cols, step, 1.0);
    let columns: Vec<usize> = (0..cols).step_by(16).collect();
    let sample = FitSample {
        weights: weights.view(),
        scales: &scales,
        columns: &columns,
    };
    let codec = TrellisCodec::fit(config.clone(), &[sample])?;
    let mut quantizer = TrellisQuantizer::new(&codec, &scales, rows, cols)?;
    let mut reconstruction = Array2::zeros((rows, cols));
    let mut column = vec![0.0; rows];
    for col in 0..cols {
        quantizer.quantize_column(col, &weights.column(col).to_vec(), &mut column)?;
        reconstruction
            .column_mut(col)
            .assign(&ArrayView1::from(&column));
    }
    let symbols = quantizer.finish()?;
    let mut counts = SymbolCounts::new(&codec);
    counts.add(&codec, &scales, &symbols)?;
    let codec = codec.with_counts(&counts)?;
    let substreams = trellis::encode(&codec, &scales, &symbols, Parallelism::Serial)?;
    let borrowed: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    let mut decoded = Array2::zeros((rows, cols));
    trellis::decode(
        &codec,
        &scales,
        &borrowed,
        decoded.view_mut(),
        Parallelism::Serial,
    )?;
    assert_eq!(decoded, reconstruction);
    let n_bytes = substreams.iter().map(Vec::len).sum::<usize>() + scales.to_bytes()?.len();
    let squares = weights
        .iter()
        .zip(&decoded)
        .map(|(&a, &b)| f64::from(a - b).powi(2));
    Ok(Point {
        rate: 8.0 * n_bytes as f64 / weights.len() as f64,
        mse: squares.sum::<f64>() / weights.len() as f64,
        fit_bytes: codec.to_bytes()?.len(),
    })
}

/// Gap of the uniform threshold quantiser with centroids and ideal entropy code at `rate`.
fn ecsq_gap(rate: f64) -> f64 {
    let (mut low, mut high) = (1e-3_f64, 20.0_f64);
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if ecsq(middle).0 > rate {
            low = middle;
        } else {
            high = middle;
        }
    }
    let (rate, mse) = ecsq(low);
    rate + 0.5 * mse.log2()
}

/// Entropy and mean squared error of the scalar quantiser of that step on N(0, 1), by quadrature.
fn ecsq(step: f64) -> (f64, f64) {
    const PIECES: usize = 64;
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let last = (9.0 / step).ceil() as i64;
    let (mut entropy, mut energy) = (0.0, 0.0);
    for cell in -last..=last {
        let (mut mass, mut moment) = (0.0, 0.0);
        for piece in 0..PIECES {
            let x = step * (cell as f64 - 0.5 + (piece as f64 + 0.5) / PIECES as f64);
            let part = density(x) * step / PIECES as f64;
            mass += part;
            moment += part * x;
        }
        if mass > 0.0 {
            entropy -= mass * mass.log2();
            energy += moment * moment / mass;
        }
    }
    (entropy, 1.0 - energy)
}
