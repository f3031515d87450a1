//! A codec made over for another number of trellis states.

use nwc_chunk::ndarray::{Array2, ArrayView2, Axis};
use nwc_chunk::{Parallelism, QualityLevel};

use super::codec::NeuralCodec;
use super::freeze::{count_symbols, freeze_from_counts, freeze_from_pmf};
use super::parameters::MEDIAN;
use crate::{CodecConfig, Error, Result};

/// # Other numbers of states
impl NeuralCodec {
    /// The same transforms with a trellis of `n_states` over their latents, and tables for what it makes of `chunks`.
    ///
    /// `chunks`, `[n_chunks, chunk_len]` in units of the row scale, are a sample of what is to be coded, in columns of
    /// `chunks_per_column`. The points of a trellis lie twice as dense as the integers at the same rate, so
    /// latents are made twice as large in the parameters: with `y' = 2y`, analysis' last layer and the medians
    /// double and synthesis' first weights halve.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such code; those of [`NeuralCodec::quantize_columns`] for `chunks`.
    pub fn with_states(
        &self,
        n_states: u16,
        chunks: ArrayView2<'_, f32>,
        chunks_per_column: usize,
        parallelism: Parallelism,
    ) -> Result<Self> {
        let config = CodecConfig {
            n_states,
            ..self.config().clone()
        };
        config.validate()?;
        let growth = config.n_parities() as f32 / self.config().n_parities() as f32;
        let mut parameters = self.parameters().clone();
        for (name, values) in &mut parameters {
            match name.as_str() {
                "encoder.output.weight" | "encoder.output.bias" | MEDIAN => *values *= growth,
                "decoder.input.weight" => *values /= growth,
                _ => {}
            }
        }
        // What is quantised does not depend on tables.
        let none = freeze_from_pmf(&config, |_, _, _| (0, vec![1.0]))?;
        let untabled = Self::new(config.clone(), parameters.clone(), none, String::new())?;
        let n_levels = config.n_quality_levels();
        let mut symbols = Array2::zeros((0, config.latent_dim));
        let mut levels = Vec::with_capacity(n_levels * chunks.nrows());
        for level in 0..n_levels as u8 {
            let of_level = vec![QualityLevel(level); chunks.nrows()];
            let coded =
                untabled.quantize_columns(chunks, &of_level, chunks_per_column, parallelism)?;
            let found = coded.symbols.dim();
            symbols
                .append(Axis(0), coded.symbols.view())
                .map_err(|_| Error::Shape {
                    what: "symbols",
                    found: vec![found.0, found.1],
                    expected: vec![chunks.nrows(), config.latent_dim],
                })?;
            levels.extend(of_level);
        }
        let tables = freeze_from_counts(&count_symbols(&config, symbols.view(), &levels)?)?;
        Self::new(config, parameters, tables, self.training_json().to_owned())
    }
}
