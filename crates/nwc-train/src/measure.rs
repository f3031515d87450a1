//! What a frozen codec costs and loses on weights it has not been trained on.

use nwc_chunk::ndarray::ArrayView2;
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::NeuralCodec;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::RUN_LEN;
use crate::ecsq::ecsq_at_mse;

/// Rate and distortion of a codec at one quality level, beside scalar quantisation of the same weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LevelMeasurement {
    /// The quality level.
    pub level: u8,
    /// Ideal code length of the symbols under the frozen tables, bits a weight.
    pub bits_per_weight: f64,
    /// Mean squared error over the training weights' variance.
    pub nmse: f64,
    /// Entropy of uniform scalar quantisation with centroids at the same error, bits a weight.
    ///
    /// `None` where scalar quantisation cannot be as bad.
    pub ecsq_bits_per_weight: Option<f64>,
}

/// Measures `codec` on `chunks`, `[n, chunk_len]`, at every level; with a trellis, runs of [`RUN_LEN`] weights count as
/// columns where `chunks` are whole runs.
///
/// # Errors
/// What the codec returns, for instance where `chunks` has another width.
pub fn measure(
    codec: &NeuralCodec,
    chunks: ArrayView2<'_, f32>,
    variance: f64,
) -> Result<Vec<LevelMeasurement>> {
    let mut measurements = rate_and_distortion(codec, chunks, variance)?;
    add_ecsq(&mut measurements, chunks, variance);
    Ok(measurements)
}

/// As [`measure`], without the comparison, which takes longer than all the rest.
pub(crate) fn rate_and_distortion(
    codec: &NeuralCodec,
    chunks: ArrayView2<'_, f32>,
    variance: f64,
) -> Result<Vec<LevelMeasurement>> {
    let n_values = chunks.len().max(1) as f64;
    let mut measurements = Vec::new();
    for level in 0..codec.config().n_quality_levels() as u8 {
        let levels = vec![QualityLevel(level); chunks.nrows()];
        let per_column = chunks_per_run(codec.config().chunk_len, chunks.nrows());
        let quantized = codec.quantize_columns(chunks, &levels, per_column, Parallelism::Rayon)?;
        let squares = quantized.reconstruction.iter().zip(chunks);
        let mse = squares.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / n_values;
        let bits = codec.ideal_bits(quantized.symbols.view(), &levels)?;
        measurements.push(LevelMeasurement {
            level,
            bits_per_weight: bits / n_values,
            nmse: mse / variance,
            ecsq_bits_per_weight: None,
        });
    }
    Ok(measurements)
}

/// Chunks in a run of [`RUN_LEN`] weights; 1 where `n_chunks` are not whole runs.
pub(crate) fn chunks_per_run(chunk_len: usize, n_chunks: usize) -> usize {
    let per_run = RUN_LEN / chunk_len;
    if per_run > 0 && n_chunks.is_multiple_of(per_run) {
        per_run
    } else {
        1
    }
}

/// Adds what scalar quantisation of the same `chunks` costs at the same errors.
pub(crate) fn add_ecsq(
    measurements: &mut [LevelMeasurement],
    chunks: ArrayView2<'_, f32>,
    variance: f64,
) {
    let values: Vec<f32> = chunks.iter().copied().collect();
    for level in measurements {
        level.ecsq_bits_per_weight =
            ecsq_at_mse(&values, level.nmse * variance).map(|point| point.bits_per_weight);
    }
}

/// The loss of `docs/METHOD.md` 1.4 with levels drawn alike: mean over the levels of λ·nMSE + coff·bits.
pub(crate) fn loss(codec: &NeuralCodec, measurements: &[LevelMeasurement]) -> f64 {
    let config = codec.config();
    let losses = measurements
        .iter()
        .zip(&config.rate_coefficients)
        .map(|(level, &coefficient)| {
            f64::from(config.lambda) * level.nmse + f64::from(coefficient) * level.bits_per_weight
        });
    losses.sum::<f64>() / measurements.len().max(1) as f64
}
