//! A trained codec frozen again: for another number of trellis states, or for other weights.

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::ArrayView2;
use nwc_codec::NeuralCodec;
use serde_json::{Value, json};

use crate::data::{RUN_LEN, TrainingData};
use crate::measure::{LevelMeasurement, chunks_per_run, measure};
use crate::{Error, Result};

/// Most runs that the tables are counted on, and that the result is measured on; those of the small preset.
const N_TABLE_RUNS: usize = 8192;
const N_VALIDATION_RUNS: usize = 4000;

/// The transforms of the codec file `codec` with `n_states` states over its latents and tables counted on `data`; and what it then
/// costs on the runs held out. Nothing is trained.
///
/// The codec's training figures keep what they were and gain an entry `refrozen`.
///
/// # Errors
/// [`Error::Codec`] where `codec` is no neural codec file or there is no such code; [`Error::Config`] where a run is not whole chunks.
pub fn refreeze(
    codec: &[u8],
    n_states: u16,
    data: &TrainingData,
) -> Result<(NeuralCodec, Vec<LevelMeasurement>)> {
    let codec = NeuralCodec::from_bytes(codec)?;
    let chunk_len = codec.config().chunk_len;
    let (runs, held_out) = data.split(N_VALIDATION_RUNS);
    let chunks = |values| chunks_of(values, chunk_len);
    let runs = chunks(&runs[..runs.len().min(N_TABLE_RUNS * RUN_LEN)])?;
    let per_column = chunks_per_run(chunk_len, runs.nrows());
    let codec = codec.with_states(n_states, runs, per_column, Parallelism::Rayon)?;
    let levels = measure(&codec, chunks(held_out)?, data.variance())?;
    // Not JSON or nothing: the codec's constructor has checked it.
    let mut training = serde_json::from_str(codec.training_json()).unwrap_or_else(|_| json!({}));
    if let Value::Object(entries) = &mut training {
        let entry = json!({ "n_states": n_states, "levels": levels });
        entries.insert("refrozen".into(), entry);
    }
    let codec = NeuralCodec::new(
        codec.config().clone(),
        codec.parameters().clone(),
        codec.tables().clone(),
        training.to_string(),
    )?;
    Ok((codec, levels))
}

fn chunks_of(values: &[f32], chunk_len: usize) -> Result<ArrayView2<'_, f32>> {
    ArrayView2::from_shape((values.len() / chunk_len, chunk_len), values)
        .map_err(|_| Error::config("chunk_len", chunk_len, format!("divisors of {RUN_LEN}")))
}

#[cfg(test)]
mod tests {
    use nwc_codec::CodecConfig;

    use super::*;
    use crate::gaussian_matrix;

    #[test]
    fn states_win_and_are_recorded() {
        let data = TrainingData::from_matrices([gaussian_matrix(1024, 512, 3)]).unwrap();
        let steps = [1.0, 0.7, 0.3, 0.2];
        let scalar = NeuralCodec::identity(CodecConfig::tiny(30.0), &steps).unwrap();
        let scalar = scalar.to_bytes().unwrap();
        let gap = |n_states| {
            let (codec, levels) = refreeze(&scalar, n_states, &data).unwrap();
            assert!(codec.training_json().contains("\"refrozen\""));
            let level = levels[2];
            level.bits_per_weight + 0.5 * level.nmse.log2()
        };
        let won = gap(1) - gap(8);
        assert!((0.16..0.20).contains(&won), "{won}");
        assert!(refreeze(&scalar, 7, &data).is_err());
    }
}
