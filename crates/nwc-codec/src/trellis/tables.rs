//! The entropy tables: from a formula, or from what was counted.

use nwc_entropy::{CdfTable, TableSet};

use super::points::PointClass;
use super::{Result, TrellisConfig};

/// Part of the analytic density that is Laplacian rather than Gaussian: weights have heavier tails
/// than the normal density, and a symbol that a table thinks impossible is dear.
const LAPLACE_PART: f64 = 0.02;
/// Analytic tables reach this many predicted scales; beyond lies the escape.
const REACH: f64 = 5.5;
/// Counts that the analytic density is worth where it is mixed with what was counted.
const PRIOR_COUNT: f64 = 48.0;
/// Symbols up to this magnitude are counted; larger ones are left to the escape.
pub(super) const MAX_COUNTED: i32 = 4096;

/// How often each symbol was seen under each table.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// `[table][symbol + MAX_COUNTED]`, and what lies outside.
    counts: Vec<Vec<u64>>,
    n_outside: Vec<u64>,
}

impl Histogram {
    pub(super) fn new(n_tables: usize) -> Self {
        Self {
            counts: vec![vec![0; 2 * MAX_COUNTED as usize + 1]; n_tables],
            n_outside: vec![0; n_tables],
        }
    }

    /// Number of tables that are counted for.
    pub(super) fn n_tables(&self) -> usize {
        self.counts.len()
    }

    /// Which tables code at least one symbol in a thousand; rarer ones do not decide about precision.
    fn are_used(&self) -> Vec<bool> {
        let totals = self.counts.iter().zip(&self.n_outside);
        let totals: Vec<u64> = totals
            .map(|(counts, outside)| counts.iter().sum::<u64>() + outside)
            .collect();
        let all: u64 = totals.iter().sum();
        totals
            .into_iter()
            .map(|total| 1000 * total >= all)
            .collect()
    }

    /// Counts `symbol`, and its mirror image: weights of either sign are equally likely.
    pub(super) fn add(&mut self, table: usize, class: PointClass, symbol: i32) {
        if symbol.unsigned_abs() < MAX_COUNTED as u32 {
            self.counts[table][(symbol + MAX_COUNTED) as usize] += 1;
            self.counts[table][(class.mirrored(symbol) + MAX_COUNTED) as usize] += 1;
        } else {
            self.n_outside[table] += 2;
        }
    }
}

/// The tables of `config`, analytic where `counts` is `None`, else mixed with what was counted.
pub(super) fn table_set(config: &TrellisConfig, counts: Option<&Histogram>) -> Result<TableSet> {
    let densities: Vec<_> = (0..config.n_tables())
        .map(|table| mixed_pmf(config, table, counts))
        .collect();
    let are_used = counts.map(Histogram::are_used);
    let is_used = |table: usize| are_used.as_ref().is_none_or(|are_used| are_used[table]);
    let used = densities
        .iter()
        .enumerate()
        .filter(|(table, _)| is_used(*table));
    let precision = precision(used.map(|(_, (_, pmf))| pmf.as_slice()));
    let tables: Result<Vec<_>, _> = densities
        .iter()
        .map(|(first, pmf)| trimmed(*first, pmf, precision))
        .collect();
    Ok(TableSet::new(tables?)?)
}

/// Mass of the symbols `first, first + 1, …`; what is missing to one is the escape's.
fn mixed_pmf(config: &TrellisConfig, table: usize, counts: Option<&Histogram>) -> (i32, Vec<f64>) {
    let (first, analytic) = analytic_pmf(config, table);
    let Some(histogram) = counts else {
        return (first, analytic);
    };
    let counts = &histogram.counts[table];
    let total = counts.iter().sum::<u64>() + histogram.n_outside[table];
    // The histogram counts every symbol twice, as itself and as its mirror image.
    let weight = 2.0 * PRIOR_COUNT;
    let mut pmf = vec![0.0; counts.len()];
    for (slot, &count) in pmf.iter_mut().zip(counts) {
        *slot = count as f64 / (total as f64 + weight);
    }
    let start = (first + MAX_COUNTED) as usize;
    for (slot, mass) in pmf[start..].iter_mut().zip(&analytic) {
        *slot += mass * weight / (total as f64 + weight);
    }
    (-MAX_COUNTED, pmf)
}

/// The discretised analytic density of one table.
fn analytic_pmf(config: &TrellisConfig, table: usize) -> (i32, Vec<f64>) {
    let scale = config.bucket_scale(table / 2);
    let class = PointClass::of_table(table);
    let last = ((0.5 * REACH * scale).ceil() + 1.0).min(f64::from(MAX_COUNTED - 2)) as i32;
    let first = if class == PointClass::Odd {
        -last - 1
    } else {
        -last
    };
    let middle = |a: i32, b: i32| 0.5 * f64::from(class.point(a) + class.point(b));
    let pmf = (first..=last)
        .map(|symbol| {
            let (low, high) = (middle(symbol - 1, symbol), middle(symbol, symbol + 1));
            integral(|x| density(x / scale) / scale, low, high, 0.25 * scale)
        })
        .collect();
    (first, pmf)
}

/// A density of unit variance: mostly Gaussian, a little Laplacian.
fn density(x: f64) -> f64 {
    use std::f64::consts::{SQRT_2, TAU};
    let gauss = (-0.5 * x * x).exp() / TAU.sqrt();
    let laplace = (-SQRT_2 * x.abs()).exp() / SQRT_2;
    (1.0 - LAPLACE_PART) * gauss + LAPLACE_PART * laplace
}

/// Simpson's rule in pieces of at most `piece`.
fn integral(f: impl Fn(f64) -> f64, low: f64, high: f64, piece: f64) -> f64 {
    let n_pieces = ((high - low) / piece).ceil().max(1.0);
    let width = (high - low) / n_pieces;
    (0..n_pieces as usize)
        .map(|idx| {
            let start = low + idx as f64 * width;
            width / 6.0 * (f(start) + 4.0 * f(start + 0.5 * width) + f(start + width))
        })
        .sum()
}

/// Bits of precision that a set of densities needs: each symbol takes at least one unit of mass, so
/// an alphabet of n symbols wastes up to n units.
fn precision<'a>(densities: impl Iterator<Item = &'a [f64]>) -> u32 {
    let likely = |pmf: &[f64]| pmf.iter().filter(|&&mass| mass > 1e-5).count();
    match densities.map(likely).max() {
        Some(0..=48) | None => 12,
        Some(49..=192) => 14,
        Some(_) => 16,
    }
}

/// The table of those symbols that are worth a unit of mass, as many as the precision can tell apart.
fn trimmed(first: i32, pmf: &[f64], precision: u32) -> Result<CdfTable> {
    let worth = 0.5 / f64::from(1_u32 << precision);
    let is_worth = |&mass: &f64| mass >= worth;
    let start = pmf.iter().position(is_worth).unwrap_or(0);
    let end = pmf
        .iter()
        .rposition(is_worth)
        .map_or(pmf.len(), |last| last + 1);
    // A table that few weights use may be wider than what the precision, set by the others, can tell apart: the
    // escape takes its ends.
    let excess = (end - start).saturating_sub((1 << precision) - 1);
    let (start, end) = (start + excess / 2, end - excess.div_ceil(2));
    Ok(CdfTable::from_pmf(
        &pmf[start..end],
        first + start as i32,
        precision,
    )?)
}
