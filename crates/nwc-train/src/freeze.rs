//! A trained network made a codec: histograms of the symbols it really gives, and tables from them.

use nwc_chunk::ndarray::ArrayView2;
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::{CodecConfig, MAX_TABLE_SYMBOL, NeuralCodec, Parameters, TABLE_PRECISION};
use nwc_entropy::{CdfTable, TableSet};

use crate::entropy_bottleneck::EntropyBottleneck;
use crate::{Error, Result};

/// Weight of the density against the histogram, in symbols.
///
/// It orders the symbols that happen not to occur; inside a table they get one unit of mass in any case. With
/// 1024, 0.2 % of what is counted, a density's wide tails cost 0.01 bit and more.
const DENSITY_WEIGHT: f64 = 64.0;

/// A table's ends are cut where a symbol is less likely than 2^-n, for the best of these n.
///
/// A symbol in a table takes at least one unit of mass, 2^-[`TABLE_PRECISION`], from the others; as an escape it
/// costs a byte or two more. A fixed cut at 2^-19 cost 0.03 bit at the finest level of lambda 10000.
const CUTS: std::ops::RangeInclusive<i32> = 12..=22;

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
        let quantized = codec.quantize_columns(batch, &levels, 1, Parallelism::Rayon)?;
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

/// The table of consecutive symbols that codes `pmf` in the fewest bits; `pmf` starts at −[`MAX_TABLE_SYMBOL`].
fn trimmed_table(pmf: &[f64]) -> nwc_entropy::Result<CdfTable> {
    // Every symbol an escape: what a network that has diverged gets.
    let mut best = CdfTable::from_pmf(&[0.5], 0, TABLE_PRECISION)?;
    let mut least_bits = expected_bits(&best, pmf);
    for cut in CUTS {
        let likely = |p: &f64| *p >= 0.5f64.powi(cut);
        let (Some(first), Some(last)) = (pmf.iter().position(likely), pmf.iter().rposition(likely))
        else {
            continue;
        };
        let min_symbol = first as i32 - MAX_TABLE_SYMBOL;
        let table = CdfTable::from_pmf(&pmf[first..=last], min_symbol, TABLE_PRECISION)?;
        let bits = expected_bits(&table, pmf);
        if bits < least_bits {
            (best, least_bits) = (table, bits);
        }
    }
    Ok(best)
}

/// Mean code length of a symbol that `pmf` gives.
fn expected_bits(table: &CdfTable, pmf: &[f64]) -> f64 {
    let symbols = -MAX_TABLE_SYMBOL..;
    pmf.iter()
        .zip(symbols)
        .map(|(p, symbol)| p * table.bits(symbol))
        .sum()
}

fn table_error(table_idx: usize) -> impl Fn(nwc_entropy::Error) -> Error {
    move |source| Error::Table { table_idx, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_cut_where_that_saves_bits() {
        let zero = MAX_TABLE_SYMBOL as usize;
        // A wide body, so that every further symbol takes from many.
        let mut pmf = vec![1e-9; N_SYMBOLS];
        for p in &mut pmf[zero - 100..=zero + 100] {
            *p = 1.0 / 201.0;
        }
        pmf[zero + 110] = 1e-3;
        pmf[zero + 2000] = 1e-5;
        let table = trimmed_table(&pmf).unwrap();
        assert_eq!((table.min_symbol(), table.max_symbol()), (-100, 110));
        for p in &mut pmf[zero - 1000..zero - 100] {
            *p = 1e-4;
        }
        assert_eq!(trimmed_table(&pmf).unwrap().min_symbol(), -1000);
        assert_eq!(
            trimmed_table(&vec![1e-9; N_SYMBOLS]).unwrap().n_symbols(),
            1
        );
    }
}
