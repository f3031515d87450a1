//! The codec: parameters, tables and the two transforms made ready, and the calls on chunks.

use nwc_chunk::ndarray::{Array2, ArrayView2, Axis};
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_entropy::{DecodeTables, TableSet};

use super::parameters::{
    DECODER_EMBEDDING, ENCODER_EMBEDDING, MEDIAN, Parameters, check_parameters,
};
use super::shape::{check_shape, to_array};
use super::transform::{BATCH_ROWS, Scratch, Transform};
use crate::parallel::map_each;
use crate::trellis::TrellisCode;
use crate::{CodecConfig, Error, Result};

/// A learned codec: chunks of weights to integer symbols and back.
///
/// ```text
/// chunk ──► analysis ──► y ──► round(y - m) = symbols ──► + m ──► ŷ ──► synthesis ──► reconstruction
///              ▲ level          m = median[level]                          ▲ level
/// ```
/// Chunks come in columns: with more than one state the latents of a column are a path of a trellis code, and a symbol
/// is no longer each latent's nearest integer; see [`NeuralCodec::quantize_columns`].
/// A call gives the same result for any [`Parallelism`], and a chunk the same whatever is beside it.
/// Source: `docs/METHOD.md` 1.2 and 1.3.
#[derive(Debug, Clone)]
pub struct NeuralCodec {
    config: CodecConfig,
    parameters: Parameters,
    tables: TableSet,
    training_json: String,
    analysis: Transform,
    synthesis: Transform,
    /// `[n_quality_levels, latent_dim]`.
    pub(super) median: Vec<f32>,
    pub(super) code: TrellisCode,
    pub(super) decode_tables: DecodeTables,
}

/// What [`NeuralCodec::quantize_columns`] makes of chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedChunks {
    /// `[n_chunks, latent_dim]`.
    pub symbols: Array2<i32>,
    /// What the symbols decode to, `[n_chunks, chunk_len]`.
    pub reconstruction: Array2<f32>,
}

/// # Constructors and parts
impl NeuralCodec {
    /// A codec of these parameters (names and shapes: [`crate::check_parameters`]) and probability tables.
    ///
    /// `tables` holds [`CodecConfig::n_tables`], in the order given there;
    /// `training_json` is what is known of the training, empty for nothing.
    ///
    /// # Errors
    /// As [`crate::check_parameters`]; [`Error::Tables`] where there are more or fewer tables;
    /// [`Error::Metadata`] where `training_json` is neither empty nor JSON.
    pub fn new(
        config: CodecConfig,
        parameters: Parameters,
        tables: TableSet,
        training_json: String,
    ) -> Result<Self> {
        check_parameters(&config, &parameters)?;
        check_tables(&config, &tables)?;
        if !training_json.is_empty() {
            serde_json::from_str::<serde::de::IgnoredAny>(&training_json).map_err(|source| {
                Error::Metadata {
                    key: crate::file::TRAINING_KEY,
                    source,
                }
            })?;
        }
        let decoder_embedding = if config.shared_quality_embedding {
            ENCODER_EMBEDDING
        } else {
            DECODER_EMBEDDING
        };
        let analysis = Transform::new(&config, &parameters, "encoder", ENCODER_EMBEDDING)?;
        let synthesis = Transform::new(&config, &parameters, "decoder", decoder_embedding)?;
        let median = parameters[MEDIAN].iter().copied().collect();
        Ok(Self {
            code: TrellisCode::new(usize::from(config.n_states))?,
            decode_tables: DecodeTables::new(&tables),
            config,
            parameters,
            tables,
            training_json,
            analysis,
            synthesis,
            median,
        })
    }

    /// Shape and provenance.
    pub fn config(&self) -> &CodecConfig {
        &self.config
    }

    /// Parameters by name.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Probability tables, in the order of [`CodecConfig::n_tables`].
    pub fn tables(&self) -> &TableSet {
        &self.tables
    }

    /// What is known of the training, JSON or empty.
    pub fn training_json(&self) -> &str {
        &self.training_json
    }
}

/// # Chunks to symbols and back
impl NeuralCodec {
    /// [`NeuralCodec::quantize_columns`] with one state: each latent by itself.
    ///
    /// symbols = round(analysis(chunk) - m), ties to even, saturating at the ends of i32.
    pub(super) fn round_chunks(
        &self,
        chunks: ArrayView2<'_, f32>,
        levels: &[QualityLevel],
        parallelism: Parallelism,
    ) -> Result<QuantizedChunks> {
        let (chunk_len, latent_dim) = (self.config.chunk_len, self.config.latent_dim);
        check_shape("chunks", chunks.dim(), levels.len(), chunk_len)?;
        self.config.check_levels(levels)?;
        let mut symbols = vec![0i32; levels.len() * latent_dim];
        let mut reconstruction = vec![0.0f32; levels.len() * chunk_len];
        let work = symbols
            .chunks_mut(BATCH_ROWS * latent_dim)
            .zip(reconstruction.chunks_mut(BATCH_ROWS * chunk_len))
            .zip(levels.chunks(BATCH_ROWS))
            .enumerate()
            .collect();
        let nans = map_each(
            work,
            parallelism,
            |scratch: &mut Scratch, (batch_idx, batch)| {
                let ((symbols, reconstruction), levels) = batch;
                let start = batch_idx * BATCH_ROWS;
                let fill = |rows: &mut [f32]| copy_rows(chunks, start, rows);
                let nan = self.round(self.analysis.run(levels, fill, scratch), levels, symbols);
                reconstruction.copy_from_slice(self.synthesize_batch(symbols, levels, scratch));
                nan.map(|row| start + row)
            },
        );
        let first_nan = nans.into_iter().flatten().next();
        if let Some(chunk_idx) = first_nan {
            return Err(Error::NotANumber { chunk_idx });
        }
        Ok(QuantizedChunks {
            symbols: to_array(symbols, levels.len(), latent_dim)?,
            reconstruction: to_array(reconstruction, levels.len(), chunk_len)?,
        })
    }

    /// Decodes `symbols`, `[n_chunks, latent_dim]`, to chunks `[n_chunks, chunk_len]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `symbols` is not `[levels.len(), latent_dim]`; [`Error::Level`].
    pub fn synthesize(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
        parallelism: Parallelism,
    ) -> Result<Array2<f32>> {
        let (chunk_len, latent_dim) = (self.config.chunk_len, self.config.latent_dim);
        self.config.check_symbols(symbols, levels)?;
        let symbols = symbols.as_standard_layout();
        let symbols = symbols.as_slice().expect("standard layout");
        let mut chunks = vec![0.0f32; levels.len() * chunk_len];
        let work = chunks
            .chunks_mut(BATCH_ROWS * chunk_len)
            .zip(symbols.chunks(BATCH_ROWS * latent_dim))
            .zip(levels.chunks(BATCH_ROWS))
            .collect();
        map_each(
            work,
            parallelism,
            |scratch: &mut Scratch, ((out, symbols), levels)| {
                out.copy_from_slice(self.synthesize_batch(symbols, levels, scratch));
            },
        );
        to_array(chunks, levels.len(), chunk_len)
    }

    /// The latents before rounding, `[n_chunks, latent_dim]`: what the trainer and the parity tests compare.
    ///
    /// # Errors
    /// [`Error::Shape`] where `chunks` is not `[levels.len(), chunk_len]`; [`Error::Level`].
    pub fn analyze(
        &self,
        chunks: ArrayView2<'_, f32>,
        levels: &[QualityLevel],
    ) -> Result<Array2<f32>> {
        let latents = self.latents(chunks, levels, Parallelism::Serial)?;
        to_array(latents, levels.len(), self.config.latent_dim)
    }

    /// As [`NeuralCodec::analyze`], row-major.
    pub(super) fn latents(
        &self,
        chunks: ArrayView2<'_, f32>,
        levels: &[QualityLevel],
        parallelism: Parallelism,
    ) -> Result<Vec<f32>> {
        check_shape("chunks", chunks.dim(), levels.len(), self.config.chunk_len)?;
        self.config.check_levels(levels)?;
        let mut latents = vec![0.0; levels.len() * self.config.latent_dim];
        let work = latents
            .chunks_mut(BATCH_ROWS * self.config.latent_dim)
            .zip(levels.chunks(BATCH_ROWS))
            .enumerate()
            .collect();
        map_each(
            work,
            parallelism,
            |scratch: &mut Scratch, (batch_idx, (out, levels))| {
                let fill = |rows: &mut [f32]| copy_rows(chunks, batch_idx * BATCH_ROWS, rows);
                out.copy_from_slice(self.analysis.run(levels, fill, scratch));
            },
        );
        Ok(latents)
    }

    /// Rounds `[n, latent_dim]` latents around the medians; the first row that holds NaN, if any.
    fn round(
        &self,
        latents: &[f32],
        levels: &[QualityLevel],
        symbols: &mut [i32],
    ) -> Option<usize> {
        let latent_dim = self.config.latent_dim;
        let mut nan = None;
        for (row_idx, level) in levels.iter().enumerate() {
            let latents = &latents[row_idx * latent_dim..][..latent_dim];
            let symbols = &mut symbols[row_idx * latent_dim..][..latent_dim];
            let median = &self.median[usize::from(level.0) * latent_dim..][..latent_dim];
            for i in 0..latent_dim {
                // The cast saturates.
                symbols[i] = (latents[i] - median[i]).round_ties_even() as i32;
            }
            if nan.is_none() && latents.iter().any(|latent| latent.is_nan()) {
                nan = Some(row_idx);
            }
        }
        nan
    }

    fn synthesize_batch<'s>(
        &self,
        symbols: &[i32],
        levels: &[QualityLevel],
        scratch: &'s mut Scratch,
    ) -> &'s [f32] {
        let latent_dim = self.config.latent_dim;
        // Loops over indices: nested zips cost more than the sums here.
        let fill = |rows: &mut [f32]| {
            for (row_idx, level) in levels.iter().enumerate() {
                let row = &mut rows[row_idx * latent_dim..][..latent_dim];
                let symbols = &symbols[row_idx * latent_dim..][..latent_dim];
                let median = &self.median[usize::from(level.0) * latent_dim..][..latent_dim];
                for i in 0..latent_dim {
                    row[i] = symbols[i] as f32 + median[i];
                }
            }
        };
        self.synthesis.run(levels, fill, scratch)
    }
}

/// Copies rows of `from`, starting at `start`, to the row-major `rows`.
fn copy_rows(from: ArrayView2<'_, f32>, start: usize, rows: &mut [f32]) {
    let row_len = from.ncols();
    let from = from.slice_axis(Axis(0), (start..).into());
    for (row, source) in rows.chunks_exact_mut(row_len).zip(from.rows()) {
        match source.as_slice() {
            Some(source) => row.copy_from_slice(source),
            None => row
                .iter_mut()
                .zip(source)
                .for_each(|(to, from)| *to = *from),
        }
    }
}

fn check_tables(config: &CodecConfig, tables: &TableSet) -> Result<()> {
    let expected = config.n_tables();
    // A table's index is coded in 16 bits on its way to the entropy coder.
    if expected > usize::from(u16::MAX) + 1 {
        return Err(Error::Config {
            field: "n_tables",
            found: expected.to_string(),
            allowed: format!("at most {}", usize::from(u16::MAX) + 1),
        });
    }
    if tables.len() != expected {
        return Err(Error::Tables {
            found: tables.len(),
            expected,
        });
    }
    Ok(())
}
