//! A trained network made a codec: histograms of the symbols it really gives, and tables from them.

use nwc_chunk::ndarray::ArrayView2;
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::{CodecConfig, MAX_TABLE_SYMBOL, NeuralCodec, Parameters, TABLE_PRECISION};
use nwc_entropy::{CdfTable, TableSet};

use crate::entropy_bottleneck::EntropyBottleneck;
use crate::{Error, Result};

/// Weight of the density against the histogram, in symbols.
///
/// Large enough that symbols which happen not to occur get a probability, small enough (0.2 % of 2^19 symbols)
/// that a poor density costs nothing.
const DENSITY_WEIGHT: f64 = 1024.0;

/// The tables' ends are cut where a symbol is less likely than this.
///
/// A symbol in a table takes at least 2^-16 from the others, 2.2e-5 bit a symbol; as an escape it costs about
/// 12 bits more than 16. So it is worth its place from a probability of 1.8e-6, near 2^-19, on.
const MIN_PROBABILITY: f64 = 1.0 / (1 << 19) as f64;

/// Chunks quantised at a time.
const BATCH_CHUNKS: usize = 1 << 15;

/// Symbols that can have a place in a table.
const N_SYMBOLS: usize = 2 * MAX_TABLE_SYMBOL as usize + 1;

/// The codec of `parameters`, with tables for what it makes of `chunks`, `[n, chunk_len]`, at every level.
///
/// A table's probabilities are the symbols' counts blended with the density's tails.
pub(crate) fn freeze(
    config: &CodecConfig,
    parameters: &Parameters,
    medians: &[f32],
    density: &EntropyBottleneck,
    chunks: ArrayView2<'_, f32>,
) -> Result<NeuralCodec> {
    let n_tables = config.n_quality_levels() * config.latent_dim;
    let any_table = CdfTable::from_pmf(&[1.0], 0, TABLE_PRECISION).map_err(table_error(0))?;
    let any_tables = TableSet::new(vec![any_table; n_tables]).map_err(table_error(0))?;
    let untabled = NeuralCodec::new(
        config.clone(),
        parameters.clone(),
        any_tables,
        String::new(),
    )?;

    let first = vec![-MAX_TABLE_SYMBOL; n_tables];
    let likelihoods = density.integer_likelihoods(medians, &first, N_SYMBOLS)?;
    let mut tables = Vec::with_capacity(n_tables);
    for level in 0..config.n_quality_levels() {
        let counts = count_level(&untabled, level as u8, chunks)?;
        for (channel, counts) in counts.into_iter().enumerate() {
            let table_idx = level * config.latent_dim + channel;
            let total = chunks.nrows() as f64 + DENSITY_WEIGHT;
            let pmf: Vec<f64> = counts
                .iter()
                .zip(&likelihoods[table_idx])
                .map(|(&count, likelihood)| (count as f64 + DENSITY_WEIGHT * likelihood) / total)
                .collect();
            tables.push(trimmed_table(&pmf).map_err(table_error(table_idx))?);
        }
    }
    let tables = TableSet::new(tables).map_err(table_error(0))?;
    Ok(NeuralCodec::new(
        config.clone(),
        parameters.clone(),
        tables,
        String::new(),
    )?)
}

/// How often each symbol from −[`MAX_TABLE_SYMBOL`] on occurs in each channel at `level`: `[latent_dim][N_SYMBOLS]`.
fn count_level(
    codec: &NeuralCodec,
    level: u8,
    chunks: ArrayView2<'_, f32>,
) -> Result<Vec<Vec<u64>>> {
    let mut counts = vec![vec![0u64; N_SYMBOLS]; codec.config().latent_dim];
    for batch in chunks.axis_chunks_iter(nwc_chunk::ndarray::Axis(0), BATCH_CHUNKS) {
        let levels = vec![QualityLevel(level); batch.nrows()];
        let quantized = codec.quantize_chunks(batch, &levels, Parallelism::Rayon)?;
        for symbols in quantized.symbols.rows() {
            for (counts, &symbol) in counts.iter_mut().zip(symbols) {
                let idx = usize::try_from(i64::from(symbol) + i64::from(MAX_TABLE_SYMBOL));
                if let Some(count) = idx.ok().and_then(|idx| counts.get_mut(idx)) {
                    *count += 1;
                }
            }
        }
    }
    Ok(counts)
}

/// A table of the symbols from the first to the last that is likely enough; `pmf` starts at −[`MAX_TABLE_SYMBOL`].
fn trimmed_table(pmf: &[f64]) -> nwc_entropy::Result<CdfTable> {
    let likely = |p: &f64| *p >= MIN_PROBABILITY;
    match (pmf.iter().position(likely), pmf.iter().rposition(likely)) {
        (Some(first), Some(last)) => CdfTable::from_pmf(
            &pmf[first..=last],
            first as i32 - MAX_TABLE_SYMBOL,
            TABLE_PRECISION,
        ),
        // Every symbol is an escape: a network that has diverged, measured as what it is.
        _ => CdfTable::from_pmf(&[MIN_PROBABILITY], 0, TABLE_PRECISION),
    }
}

fn table_error(table_idx: usize) -> impl Fn(nwc_entropy::Error) -> Error {
    move |source| Error::Table { table_idx, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlikely_ends_are_left_to_the_escape() {
        let mut pmf = vec![1e-9; N_SYMBOLS];
        let zero = MAX_TABLE_SYMBOL as usize;
        for (symbol, p) in [(-3i32, 1e-5), (0, 0.9), (1, 0.09), (2, 1e-8), (4, 1e-4)] {
            pmf[(zero as i32 + symbol) as usize] = p;
        }
        let table = trimmed_table(&pmf).unwrap();
        assert_eq!((table.min_symbol(), table.max_symbol()), (-3, 4));
        let all_unlikely = trimmed_table(&vec![1e-9; N_SYMBOLS]).unwrap();
        assert_eq!(all_unlikely.n_symbols(), 1);
    }
}
