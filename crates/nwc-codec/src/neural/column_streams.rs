//! Symbols of whole columns to substreams and back: on a trellis a lane a column, since a state follows from the symbol
//! before.

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_entropy::{LANES, StreamDecoder, StreamEncoder};

use super::codec::NeuralCodec;
use super::columns::check_columns;
use super::shape::to_array;
use super::streams::chunks_per_substream;
use crate::parallel::map_each;
use crate::{Error, Result};

/// Least number of symbols in a substream that is not the last: its fixed cost is far below 0.1 % of it.
const MIN_SUBSTREAM_SYMBOLS: usize = 1 << 18;

/// # Entropy coding of columns
impl NeuralCodec {
    /// Checks that so many substreams are as many as code `n_chunks` chunks in columns of `chunks_per_column`.
    ///
    /// Nothing is allocated: where the numbers come from a file, this comes before the levels of its chunks are written
    /// out.
    ///
    /// # Errors
    /// [`Error::Columns`]; [`Error::SubstreamCount`].
    pub fn check_substreams(
        &self,
        n_substreams: usize,
        n_chunks: usize,
        chunks_per_column: usize,
    ) -> Result<()> {
        check_columns(n_chunks, chunks_per_column)?;
        let expected = n_chunks.div_ceil(self.chunks_per_substream(chunks_per_column));
        if n_substreams == expected {
            return Ok(());
        }
        Err(Error::SubstreamCount {
            found: n_substreams,
            expected,
            n_chunks,
        })
    }

    /// Codes `symbols`, `[n_chunks, latent_dim]`, of whole columns of `chunks_per_column` chunks each, each chunk under
    /// its level's tables.
    ///
    /// # Errors
    /// [`Error::Shape`] where `symbols` is not `[levels.len(), latent_dim]`; [`Error::Level`]; [`Error::Columns`];
    /// [`Error::NotAPath`]; [`Error::Substream`] where a substream grows past what the entropy coder allows.
    pub fn encode_columns(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
        chunks_per_column: usize,
        parallelism: Parallelism,
    ) -> Result<Vec<Vec<u8>>> {
        self.config().check_symbols(symbols, levels)?;
        check_columns(levels.len(), chunks_per_column)?;
        if self.config().n_states == 1 {
            return self.encode_chunks(symbols, levels, parallelism);
        }
        let latent_dim = self.config().latent_dim;
        let symbols = symbols.as_standard_layout();
        let symbols = symbols.as_slice().expect("standard layout");
        let n_chunks = self.chunks_per_substream(chunks_per_column);
        let work = symbols
            .chunks(n_chunks.saturating_mul(latent_dim))
            .zip(levels.chunks(n_chunks))
            .enumerate()
            .collect();
        let encoded = map_each(
            work,
            parallelism,
            |(): &mut (), (substream_idx, (symbols, levels))| {
                let first_chunk = substream_idx * n_chunks;
                self.encode_substream(symbols, levels, chunks_per_column, first_chunk)
                    .map_err(|error| match error {
                        Error::Entropy { source } => Error::Substream {
                            substream_idx,
                            source,
                        },
                        other => other,
                    })
            },
        );
        encoded.into_iter().collect()
    }

    /// Decodes what [`NeuralCodec::encode_columns`] made: `[n_chunks, latent_dim]`.
    ///
    /// # Errors
    /// [`Error::Level`]; [`Error::Columns`]; [`Error::SubstreamCount`]; [`Error::Substream`] names the first substream
    /// that does not decode.
    pub fn decode_columns(
        &self,
        substreams: &[&[u8]],
        levels: &[QualityLevel],
        chunks_per_column: usize,
        parallelism: Parallelism,
    ) -> Result<Array2<i32>> {
        self.config().check_levels(levels)?;
        self.check_substreams(substreams.len(), levels.len(), chunks_per_column)?;
        if self.config().n_states == 1 {
            return self.decode_chunks(substreams, levels, parallelism);
        }
        let latent_dim = self.config().latent_dim;
        let n_chunks = self.chunks_per_substream(chunks_per_column);
        let mut symbols = vec![0i32; levels.len() * latent_dim];
        let work = symbols
            .chunks_mut(n_chunks.saturating_mul(latent_dim))
            .zip(levels.chunks(n_chunks))
            .zip(substreams)
            .enumerate()
            .collect();
        let decoded = map_each(
            work,
            parallelism,
            |(): &mut (), (substream_idx, ((symbols, levels), bytes))| {
                self.decode_substream(bytes, levels, chunks_per_column, symbols)
                    .map_err(|source| Error::Substream {
                        substream_idx,
                        source,
                    })
            },
        );
        decoded.into_iter().collect::<Result<()>>()?;
        to_array(symbols, levels.len(), latent_dim)
    }

    /// Decodes the first substream alone, a sample of what [`NeuralCodec::decode_columns`] decodes: `[its chunks,
    /// latent_dim]`.
    ///
    /// # Errors
    /// As [`NeuralCodec::decode_columns`].
    pub fn decode_first_substream(
        &self,
        substreams: &[&[u8]],
        levels: &[QualityLevel],
        chunks_per_column: usize,
    ) -> Result<Array2<i32>> {
        self.config().check_levels(levels)?;
        self.check_substreams(substreams.len(), levels.len(), chunks_per_column)?;
        let n_chunks = self
            .chunks_per_substream(chunks_per_column)
            .min(levels.len());
        let (first, levels) = (&substreams[..substreams.len().min(1)], &levels[..n_chunks]);
        match self.config().n_states {
            1 => self.decode_chunks(first, levels, Parallelism::Serial),
            _ => self.decode_columns(first, levels, chunks_per_column, Parallelism::Serial),
        }
    }

    /// Chunks in a substream that is not the last; on a trellis those of a multiple of [`LANES`] columns.
    fn chunks_per_substream(&self, chunks_per_column: usize) -> usize {
        let latent_dim = self.config().latent_dim;
        if self.config().n_states == 1 {
            return chunks_per_substream(latent_dim);
        }
        let column_len = chunks_per_column.max(1).saturating_mul(latent_dim);
        let n_columns = MIN_SUBSTREAM_SYMBOLS
            .div_ceil(column_len)
            .next_multiple_of(LANES);
        n_columns.saturating_mul(chunks_per_column.max(1))
    }

    fn encode_substream(
        &self,
        symbols: &[i32],
        levels: &[QualityLevel],
        chunks_per_column: usize,
        first_chunk: usize,
    ) -> Result<Vec<u8>> {
        let mut encoder = StreamEncoder::new(self.tables());
        let latent_dim = self.config().latent_dim;
        let group_chunks = LANES * chunks_per_column;
        let groups = symbols
            .chunks(group_chunks * latent_dim)
            .zip(levels.chunks(group_chunks));
        for (group_idx, (symbols, levels)) in groups.enumerate() {
            let width = levels.len() / chunks_per_column;
            let mut states = [0u8; LANES];
            let (mut tables, mut coded) = ([0u16; LANES], [0i32; LANES]);
            for step in 0..chunks_per_column * latent_dim {
                let (chunk, channel) = (step / latent_dim, step % latent_dim);
                for lane in 0..width {
                    let chunk_idx = lane * chunks_per_column + chunk;
                    let symbol = symbols[chunk_idx * latent_dim + channel];
                    if (symbol & 1) as u8 != self.code.parity(states[lane]) {
                        return Err(Error::NotAPath {
                            chunk_idx: first_chunk + group_idx * group_chunks + chunk_idx,
                            found: symbol,
                        });
                    }
                    let (table, half) = self.config().coded_as(levels[chunk_idx], channel, symbol);
                    // The number of tables was checked to fit u16 when the codec was made.
                    (tables[lane], coded[lane]) = (table as u16, half);
                    states[lane] = self.code.next(states[lane], half);
                }
                encoder.push_step(&tables[..width], &coded[..width])?;
            }
        }
        Ok(encoder.finish())
    }

    fn decode_substream(
        &self,
        bytes: &[u8],
        levels: &[QualityLevel],
        chunks_per_column: usize,
        symbols: &mut [i32],
    ) -> Result<(), nwc_entropy::Error> {
        let mut decoder = StreamDecoder::new(&self.decode_tables, bytes)?;
        let latent_dim = self.config().latent_dim;
        let group_chunks = LANES * chunks_per_column;
        let groups = symbols
            .chunks_mut(group_chunks * latent_dim)
            .zip(levels.chunks(group_chunks));
        for (symbols, levels) in groups {
            let width = levels.len() / chunks_per_column;
            let mut states = [0u8; LANES];
            let mut halves = [0i32; LANES];
            for chunk in 0..chunks_per_column {
                let first_tables: [usize; LANES] = std::array::from_fn(|lane| {
                    let level = levels.get(lane * chunks_per_column + chunk);
                    2 * latent_dim * level.map_or(0, |level| usize::from(level.0))
                });
                for channel in 0..latent_dim {
                    let table_idx: [u16; LANES] = std::array::from_fn(|lane| {
                        let parity = usize::from(self.code.parity(states[lane]));
                        (first_tables[lane] + 2 * channel + parity) as u16
                    });
                    decoder.decode_step(&table_idx[..width], &mut halves[..width])?;
                    for lane in 0..width {
                        let at = (lane * chunks_per_column + chunk) * latent_dim + channel;
                        let parity = i32::from(self.code.parity(states[lane]));
                        // A damaged stream may hold any symbol; what does not fit wraps.
                        symbols[at] = halves[lane].wrapping_mul(2).wrapping_add(parity);
                        states[lane] = self.code.next(states[lane], halves[lane]);
                    }
                }
            }
        }
        decoder.finish()
    }
}
