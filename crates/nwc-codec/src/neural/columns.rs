//! Latents of a column quantised together, as a path through a trellis code.

use nwc_chunk::ndarray::ArrayView2;
use nwc_chunk::{Parallelism, QualityLevel};

use super::codec::{NeuralCodec, QuantizedChunks};
use super::shape::to_array;
use crate::parallel::map_each;
use crate::trellis::{Branches, Viterbi};
use crate::{Error, Result};

/// Latents are cut to this magnitude, far beyond any use, so that points stay in i32.
const MAX_LATENT: f32 = (1 << 30) as f32;

/// Buffers of one thread.
#[derive(Default)]
struct Search {
    viterbi: Option<Viterbi>,
    branches: Vec<Branches>,
}

/// # Columns of chunks
impl NeuralCodec {
    /// Codes `chunks`, `[n_chunks, chunk_len]` in units of the row scale, each at its quality level.
    ///
    /// Chunks are those of whole columns, `chunks_per_column` each; 1 where a chunk stands by itself.
    /// With one state columns do not matter: a symbol is a latent's nearest integer,
    /// round(analysis(chunk) − m), ties to even, saturating at the ends of i32. With more, a symbol is the point k that
    /// a latent is put at, and the latents of a column, chunk by chunk and channel by channel, are a path of the trellis
    /// code: the state dictates the parity of k, and ⌊k/2⌋, which is what is coded, moves it on. Of all paths the
    /// one with the least Σ (y − m − k)² is taken. No price of bits is in that sum: on the pretrained codecs a
    /// Lagrangian of 0.2 costs 0.02 bit at 2 bits and 0.003 at 4, as synthesis was trained on nearest integers.
    ///
    /// # Errors
    /// [`Error::Shape`] where `chunks` is not `[levels.len(), chunk_len]`; [`Error::Level`]; [`Error::Columns`] where
    /// there are no whole columns; [`Error::NotANumber`] names the first chunk without a latent.
    pub fn quantize_columns(
        &self,
        chunks: ArrayView2<'_, f32>,
        levels: &[QualityLevel],
        chunks_per_column: usize,
        parallelism: Parallelism,
    ) -> Result<QuantizedChunks> {
        check_columns(levels.len(), chunks_per_column)?;
        if self.config().n_states == 1 {
            return self.round_chunks(chunks, levels, parallelism);
        }
        let latents = self.latents(chunks, levels, parallelism)?;
        let latent_dim = self.config().latent_dim;
        if let Some(idx) = latents.iter().position(|latent| latent.is_nan()) {
            return Err(Error::NotANumber {
                chunk_idx: idx / latent_dim,
            });
        }
        let mut symbols = vec![0i32; latents.len()];
        let column_len = chunks_per_column.max(1).saturating_mul(latent_dim);
        let work = symbols
            .chunks_mut(column_len)
            .zip(latents.chunks(column_len))
            .zip(levels.chunks(chunks_per_column.max(1)))
            .collect();
        map_each(
            work,
            parallelism,
            |search: &mut Search, ((symbols, latents), levels)| {
                self.search_column(latents, levels, symbols, search);
            },
        );
        let symbols = to_array(symbols, levels.len(), latent_dim)?;
        let reconstruction = self.synthesize(symbols.view(), levels, parallelism)?;
        Ok(QuantizedChunks {
            symbols,
            reconstruction,
        })
    }

    /// Writes the points of one column's latents.
    fn search_column(
        &self,
        latents: &[f32],
        levels: &[QualityLevel],
        points: &mut [i32],
        search: &mut Search,
    ) {
        let latent_dim = self.config().latent_dim;
        search.branches.clear();
        for (latents, level) in latents.chunks_exact(latent_dim).zip(levels) {
            let median = &self.median[usize::from(level.0) * latent_dim..][..latent_dim];
            let offsets = latents.iter().zip(median).map(|(y, m)| y - m);
            search.branches.extend(offsets.map(branches));
        }
        let viterbi = search
            .viterbi
            .get_or_insert_with(|| Viterbi::new(self.code.clone()));
        viterbi.search(&search.branches, points);
        let mut state = 0;
        for point in points {
            let symbol = *point;
            *point = 2 * symbol + i32::from(self.code.parity(state));
            state = self.code.next(state, symbol);
        }
    }
}

/// The nearest point of each residue modulo 4: parity is its lowest bit, the symbol's lowest bit the other.
fn branches(latent: f32) -> Branches {
    let latent = latent.clamp(-MAX_LATENT, MAX_LATENT);
    let mut branches = Branches::default();
    for (idx, residue) in [0, 2, 1, 3].into_iter().enumerate() {
        let point = 4 * (0.25 * (latent - residue as f32)).round_ties_even() as i32 + residue;
        let error = latent - point as f32;
        branches.cost[idx] = error * error;
        branches.symbol[idx] = point >> 1;
    }
    branches
}

pub(super) fn check_columns(n_chunks: usize, chunks_per_column: usize) -> Result<()> {
    let is_whole = match chunks_per_column {
        0 => n_chunks == 0,
        _ => n_chunks.is_multiple_of(chunks_per_column),
    };
    if is_whole {
        return Ok(());
    }
    Err(Error::Columns {
        n_chunks,
        chunks_per_column,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_the_nearest_points_of_their_cosets() {
        for step in -200..200 {
            let latent = step as f32 * 0.137;
            let found = branches(latent);
            for idx in 0..4 {
                let (parity, bit) = (idx as i32 / 2, idx as i32 % 2);
                let point = 2 * found.symbol[idx] + parity;
                assert_eq!(found.symbol[idx] & 1, bit);
                assert!((latent - point as f32).abs() <= 2.0, "{latent} {point}");
                assert_eq!(found.cost[idx], (latent - point as f32).powi(2));
            }
        }
    }

    #[test]
    fn infinite_latents_stay_in_range() {
        for latent in [f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let symbols = branches(latent).symbol;
            assert!(symbols.iter().all(|s| s.unsigned_abs() <= (1 << 29) + 1));
        }
    }
}
