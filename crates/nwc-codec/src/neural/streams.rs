//! Symbols of latents that stand by themselves to entropy-coded substreams and back: codecs of one state.
//!
//! The symbols of consecutive chunks are one sequence, coded in steps of [`LANES`]; symbol `channel` of a chunk is
//! coded under the table `level * latent_dim + channel`. A substream holds a fixed number of chunks, so that
//! substreams decode on many threads, and where they are cut follows from the number of chunks alone.

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_entropy::{LANES, StreamDecoder, StreamEncoder};

use super::codec::NeuralCodec;
use super::shape::to_array;
use crate::parallel::map_each;
use crate::{Error, Result};

/// Least number of symbols in a substream that is not the last: its fixed cost is far below 0.1 % of it.
const MIN_SUBSTREAM_SYMBOLS: usize = 1 << 18;

/// Chunks whose tables are looked up together: their symbols are whole steps.
const GROUP_CHUNKS: usize = LANES;

/// Chunks in a substream that is not the last: a multiple of [`GROUP_CHUNKS`] with at least 2^18 symbols.
pub(super) fn chunks_per_substream(latent_dim: usize) -> usize {
    MIN_SUBSTREAM_SYMBOLS
        .div_ceil(latent_dim)
        .next_multiple_of(GROUP_CHUNKS)
}

/// # Entropy coding
impl NeuralCodec {
    /// [`NeuralCodec::encode_columns`] with one state: each chunk under its level's tables.
    pub(super) fn encode_chunks(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
        parallelism: Parallelism,
    ) -> Result<Vec<Vec<u8>>> {
        let latent_dim = self.config().latent_dim;
        let symbols = symbols.as_standard_layout();
        let symbols = symbols.as_slice().expect("standard layout");
        let n_chunks = chunks_per_substream(latent_dim);
        let work = symbols
            .chunks(n_chunks * latent_dim)
            .zip(levels.chunks(n_chunks))
            .enumerate()
            .collect();
        let encoded = map_each(
            work,
            parallelism,
            |table_idx: &mut Vec<u16>, (_, (symbols, levels))| {
                let mut encoder = StreamEncoder::new(self.tables());
                let groups = symbols
                    .chunks(GROUP_CHUNKS * latent_dim)
                    .zip(levels.chunks(GROUP_CHUNKS));
                for (symbols, levels) in groups {
                    fill_table_idx(levels, latent_dim, table_idx);
                    encoder.push_all(table_idx, symbols)?;
                }
                Ok(encoder.finish())
            },
        );
        let named = |(substream_idx, result): (usize, nwc_entropy::Result<Vec<u8>>)| {
            result.map_err(|source| Error::Substream {
                substream_idx,
                source,
            })
        };
        encoded.into_iter().enumerate().map(named).collect()
    }

    /// The inverse of [`NeuralCodec::encode_chunks`]; the number of substreams has been checked.
    pub(super) fn decode_chunks(
        &self,
        substreams: &[&[u8]],
        levels: &[QualityLevel],
        parallelism: Parallelism,
    ) -> Result<Array2<i32>> {
        let latent_dim = self.config().latent_dim;
        let n_chunks = chunks_per_substream(latent_dim);
        let mut symbols = vec![0i32; levels.len() * latent_dim];
        let work = symbols
            .chunks_mut(n_chunks * latent_dim)
            .zip(levels.chunks(n_chunks))
            .zip(substreams)
            .collect();
        let decode =
            |table_idx: &mut Vec<u16>,
             ((symbols, levels), bytes): ((&mut [i32], &[QualityLevel]), &&[u8])| {
                let mut decoder = StreamDecoder::new(&self.decode_tables, bytes)?;
                let groups = symbols
                    .chunks_mut(GROUP_CHUNKS * latent_dim)
                    .zip(levels.chunks(GROUP_CHUNKS));
                for (symbols, levels) in groups {
                    fill_table_idx(levels, latent_dim, table_idx);
                    decoder.decode_all(table_idx, symbols)?;
                }
                decoder.finish()
            };
        for (substream_idx, result) in map_each(work, parallelism, decode).into_iter().enumerate() {
            result.map_err(|source| Error::Substream {
                substream_idx,
                source,
            })?;
        }
        to_array(symbols, levels.len(), latent_dim)
    }

    /// Bits that an ideal coder spends on `symbols` under the tables: `-Σ log2 p`, escapes included.
    ///
    /// # Errors
    /// [`Error::Shape`] where `symbols` is not `[levels.len(), latent_dim]`; [`Error::Level`].
    pub fn ideal_bits(&self, symbols: ArrayView2<'_, i32>, levels: &[QualityLevel]) -> Result<f64> {
        self.config().check_symbols(symbols, levels)?;
        let mut bits = 0.0;
        for (row, level) in symbols.rows().into_iter().zip(levels) {
            for (channel, &symbol) in row.iter().enumerate() {
                let (table, symbol) = self.config().coded_as(*level, channel, symbol);
                if let Some(table) = self.tables().get(table) {
                    bits += table.bits(symbol);
                }
            }
        }
        Ok(bits)
    }
}

/// The tables of the chunks' symbols, in coding order.
fn fill_table_idx(levels: &[QualityLevel], latent_dim: usize, table_idx: &mut Vec<u16>) {
    table_idx.clear();
    for level in levels {
        // The number of tables was checked to fit u16 when the codec was made.
        let first_table = usize::from(level.0) * latent_dim;
        table_idx.extend((first_table..first_table + latent_dim).map(|idx| idx as u16));
    }
}
