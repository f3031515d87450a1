//! The plain-Rust codec gives what LibTorch gives, on exported values: LibTorch itself is not needed.
//!
//! `cargo run -p nwc-train --example export_parity -- fixtures/parity` writes the files again.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::path::Path;

use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::NeuralCodec;
use safetensors::SafeTensors;

/// Largest error against the largest magnitude of the tensor: both sides compute in f32 and add up in different
/// orders, over at most 64 terms a layer and up to ten layers.
const TOLERANCE: f32 = 1e-5;

#[track_caller]
fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parity");
    let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str| fixture.tensor(name).unwrap();
    let words = |name: &str| data(name).data().as_chunks::<4>().0.to_vec();
    let floats =
        |name: &str| -> Vec<f32> { words(name).into_iter().map(f32::from_le_bytes).collect() };

    let codec = NeuralCodec::from_bytes(data("codec").data()).unwrap();
    let levels: Vec<QualityLevel> = data("levels")
        .data()
        .iter()
        .map(|&level| QualityLevel(level))
        .collect();
    let (chunk_len, latent_dim) = (codec.config().chunk_len, codec.config().latent_dim);
    let rows = |n_cols: usize| (levels.len(), n_cols);
    let chunks =
        nwc_chunk::ndarray::Array2::from_shape_vec(rows(chunk_len), floats("chunks")).unwrap();
    let symbols = words("symbols")
        .into_iter()
        .map(i32::from_le_bytes)
        .collect();
    let symbols = nwc_chunk::ndarray::Array2::from_shape_vec(rows(latent_dim), symbols).unwrap();

    let latents = codec.analyze(chunks.view(), &levels).unwrap();
    compare(name, "latents", &floats("latents"), latents.iter().copied());
    for parallelism in [Parallelism::Serial, Parallelism::Rayon] {
        let reconstruction = codec
            .synthesize(symbols.view(), &levels, parallelism)
            .unwrap();
        compare(
            name,
            "reconstruction",
            &floats("reconstruction"),
            reconstruction.iter().copied(),
        );
    }
    // A latent that lies between two integers may fall either way; nearly all must fall as LibTorch's did.
    let quantized = codec
        .quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)
        .unwrap();
    let n_other = quantized
        .symbols
        .iter()
        .zip(&symbols)
        .filter(|(a, b)| a != b)
        .count();
    assert!(
        n_other * 500 <= symbols.len(),
        "{name}: {n_other} of {} symbols differ",
        symbols.len()
    );
}

#[track_caller]
fn compare(name: &str, what: &str, expected: &[f32], found: impl ExactSizeIterator<Item = f32>) {
    assert_eq!(found.len(), expected.len(), "{name}: {what}");
    let largest = expected
        .iter()
        .fold(0.0f32, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.01, "{name}: {what} says nothing");
    for (idx, (expected, found)) in expected.iter().zip(found).enumerate() {
        let error = (expected - found).abs() / largest;
        assert!(
            error <= TOLERANCE,
            "{name}: {what} {idx} is {found}, LibTorch {expected}"
        );
    }
}

#[test]
fn narrow_paper() {
    check("narrow_paper");
}

#[test]
fn small() {
    check("small");
}

#[test]
fn tiny() {
    check("tiny");
}
