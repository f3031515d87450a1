//! Probability tables from densities or from counted symbols.

use std::ops::Range;

use nwc_chunk::QualityLevel;
use nwc_chunk::ndarray::ArrayView2;
use nwc_entropy::{CdfTable, TableSet};

use crate::{CodecConfig, Result};

/// Precision of the tables that this crate freezes, bits; a codec file may hold another one.
///
/// Differs from the paper: it has 16. At 16 bits the coder itself loses 0.003 bit a symbol, at 14 bits 0.0002;
/// coarser masses take back a part of it. N(0, 1) at 2, 4, 6 bits is stored in 2.0062, 4.0069, 6.0066 bits with
/// 16 and in 2.0030, 4.0030, 6.0036 with 14.
pub const TABLE_PRECISION: u32 = nwc_entropy::DEFAULT_PRECISION;

/// Symbols beyond this magnitude are escaped: no table grows past 2 · 2047 + 1 symbols.
pub const MAX_TABLE_SYMBOL: i32 = 2047;

/// How often each symbol occurred at one quality level in one latent channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SymbolHistogram {
    /// The symbol that `counts[0]` counts.
    pub min_symbol: i32,
    /// Counts of consecutive symbols.
    pub counts: Vec<u64>,
}

/// Counts `symbols`, `[n_chunks, latent_dim]`, by quality level and channel.
///
/// The result holds one histogram a table, in the order of [`CodecConfig::n_tables`], each as wide as its symbols;
/// with a trellis, what is counted is the part of a symbol that its state does not tell.
/// Symbols beyond [`MAX_TABLE_SYMBOL`] are left out.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) where `symbols` is not `[levels.len(), latent_dim]`; [`Error::Level`](crate::Error::Level).
pub(super) fn count_symbols(
    config: &CodecConfig,
    symbols: ArrayView2<'_, i32>,
    levels: &[QualityLevel],
) -> Result<Vec<SymbolHistogram>> {
    config.check_symbols(symbols, levels)?;
    let counted = || {
        let coded = symbols
            .indexed_iter()
            .map(|((chunk_idx, channel), &s)| config.coded_as(levels[chunk_idx], channel, s));
        coded.filter(|(_, symbol)| (-MAX_TABLE_SYMBOL..=MAX_TABLE_SYMBOL).contains(symbol))
    };
    let mut ranges = vec![(i32::MAX, i32::MIN); config.n_tables()];
    for (table, symbol) in counted() {
        let range = &mut ranges[table];
        *range = (range.0.min(symbol), range.1.max(symbol));
    }
    let mut histograms: Vec<SymbolHistogram> = ranges
        .into_iter()
        .map(|(min, max)| match min <= max {
            true => SymbolHistogram {
                min_symbol: min,
                counts: vec![0; (max - min) as usize + 1],
            },
            false => SymbolHistogram::default(),
        })
        .collect();
    for (table, symbol) in counted() {
        let histogram = &mut histograms[table];
        histogram.counts[(symbol - histogram.min_symbol) as usize] += 1;
    }
    Ok(histograms)
}

/// Tables of [`crate::TABLE_PRECISION`] bits from one histogram a table, in the tables' order.
///
/// A histogram without symbols becomes a table of the symbol 0. Symbols at the ends that are so rare that a place
/// in the table would cost more than escaping them are left to the escape.
///
/// # Errors
/// [`Error::Entropy`](crate::Error::Entropy) where a histogram has too many symbols for the precision.
pub(super) fn freeze_from_counts(histograms: &[SymbolHistogram]) -> Result<TableSet> {
    let mut tables = Vec::with_capacity(histograms.len());
    for histogram in histograms {
        let total: u64 = histogram.counts.iter().sum();
        let kept = worth_a_place(&histogram.counts, total);
        let pmf: Vec<f64> = histogram.counts[kept.clone()]
            .iter()
            .map(|&count| count as f64 / total as f64)
            .collect();
        tables.push(if pmf.is_empty() {
            CdfTable::from_pmf(&[1.0], 0, TABLE_PRECISION)?
        } else {
            let min_symbol = histogram.min_symbol.saturating_add(kept.start as i32);
            CdfTable::from_pmf(&pmf, min_symbol, TABLE_PRECISION)?
        });
    }
    Ok(TableSet::new(tables)?)
}

/// The counts from the first to the last one that is worth a place.
///
/// A place takes at least `2^-precision` of the mass, which costs the other symbols `2^-precision / ln 2` bits each;
/// an escape costs its symbol about 12 bits more.
fn worth_a_place(counts: &[u64], total: u64) -> Range<usize> {
    let least = total as f64 / f64::from(1u32 << TABLE_PRECISION) / std::f64::consts::LN_2 / 12.0;
    let worth = |count: &u64| *count > 0 && *count as f64 >= least;
    match (
        counts.iter().position(worth),
        counts.iter().rposition(worth),
    ) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}

/// Tables of [`crate::TABLE_PRECISION`] bits from a probability mass function a quality level, channel and parity.
///
/// `pmf(level, channel, parity)`, parity 0 where there is no trellis, gives the smallest symbol and the probabilities of
/// consecutive symbols; what they lack to one is the escape's.
///
/// # Errors
/// [`Error::Entropy`](crate::Error::Entropy) where a function is not one: a negative number, NaN, too many symbols.
pub fn freeze_from_pmf(
    config: &CodecConfig,
    mut pmf: impl FnMut(usize, usize, usize) -> (i32, Vec<f64>),
) -> Result<TableSet> {
    config.validate()?;
    let mut tables = Vec::with_capacity(config.n_tables());
    for level in 0..config.n_quality_levels() {
        for channel in 0..config.latent_dim {
            for parity in 0..config.n_parities() {
                let (min_symbol, pmf) = pmf(level, channel, parity);
                tables.push(CdfTable::from_pmf(&pmf, min_symbol, TABLE_PRECISION)?);
            }
        }
    }
    Ok(TableSet::new(tables)?)
}

/// Tables of N(0, 1) weights quantised with `steps[level]`; channels beyond `chunk_len` are always zero.
pub(super) fn normal_tables(config: &CodecConfig, steps: &[f32]) -> Result<TableSet> {
    let n_parities = config.n_parities();
    let pmfs: Vec<(i32, Vec<f64>)> = steps
        .iter()
        .flat_map(|&step| (0..n_parities).map(move |parity| (f64::from(step), parity)))
        .map(|(step, parity)| normal_pmf(step, parity, n_parities))
        .collect();
    freeze_from_pmf(config, |level, channel, parity| {
        if channel < config.chunk_len {
            pmfs[level * n_parities + parity].clone()
        } else {
            (0, vec![1.0])
        }
    })
}

/// Probabilities of every `n_parities`-th multiple of `step`, from the one at `parity` on, when N(0, 1) goes to the
/// nearest of them; out to 4.5 standard deviations.
///
/// What lies further out, 7e-6 of the samples, is escaped: a wider table would pay more for the least mass
/// that each of its symbols takes.
fn normal_pmf(step: f64, parity: usize, n_parities: usize) -> (i32, Vec<f64>) {
    let width = step * n_parities as f64;
    let edge = ((4.5 / width).ceil() as i32).clamp(1, MAX_TABLE_SYMBOL);
    let shift = step * parity as f64;
    let pmf = (-edge..=edge).map(|symbol| normal_mass(f64::from(symbol) * width + shift, width));
    (-edge, pmf.collect())
}

/// Mass of N(0, 1) in the interval of length `width` around `centre`, by Simpson's rule on pieces below 0.05.
fn normal_mass(centre: f64, width: f64) -> f64 {
    let from = (centre - width / 2.0).clamp(-40.0, 40.0);
    let to = (centre + width / 2.0).clamp(-40.0, 40.0);
    let n_pieces = ((to - from) / 0.05).ceil().max(1.0) as usize;
    let piece = (to - from) / n_pieces as f64;
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    (0..n_pieces)
        .map(|idx| from + idx as f64 * piece)
        .map(|x| (density(x) + 4.0 * density(x + piece / 2.0) + density(x + piece)) * piece / 6.0)
        .sum()
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::array;

    use super::*;
    use crate::Error;

    #[test]
    fn the_normal_distribution_has_its_masses() {
        assert!((normal_mass(0.0, 2.0) - 0.682_689_492_137_086).abs() < 1e-7);
        assert!((normal_mass(2.0, 2.0) - 0.157_305_355_900_6).abs() < 1e-6);
        assert!((normal_mass(0.0, 1e30) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn symbols_are_counted_by_level_and_channel() {
        let config = CodecConfig {
            chunk_len: 2,
            latent_dim: 2,
            rate_coefficients: vec![1.0, 0.5],
            ..CodecConfig::tiny(30.0)
        };
        let symbols = array![[1, -1], [3, 0], [i32::MAX, 5], [1, 7]];
        let levels = [0, 0, 1, 0].map(QualityLevel);
        let histogram = |min_symbol, counts: &[u64]| SymbolHistogram {
            min_symbol,
            counts: counts.to_vec(),
        };
        assert_eq!(
            count_symbols(&config, symbols.view(), &levels).unwrap(),
            [
                histogram(1, &[2, 0, 1]),
                histogram(-1, &[1, 1, 0, 0, 0, 0, 0, 0, 1]),
                histogram(0, &[]),
                histogram(5, &[1]),
            ]
        );
        let histograms = count_symbols(&config, symbols.view(), &levels).unwrap();
        assert_eq!(freeze_from_counts(&histograms).unwrap().len(), 4);
        let rare = histogram(-7, &[1, 0, 0, 1_000_000, 5, 1_000_000, 100, 1]);
        let tables = freeze_from_counts(&[rare]).unwrap();
        let table = tables.get(0).unwrap();
        assert_eq!((table.min_symbol(), table.max_symbol()), (-4, -1));
        let error = count_symbols(&config, symbols.view(), &[QualityLevel(2); 4]).unwrap_err();
        assert!(matches!(error, Error::Level { found: 2, .. }), "{error}");
    }
}
