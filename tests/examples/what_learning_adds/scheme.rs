//! A trellis quantiser whose points and prices are free: what the variants differ in.

use nwc_codec::trellis::{Branches, TrellisCode, Viterbi};
use nwc_entropy::{CdfTable, DEFAULT_PRECISION, TableSet};

use crate::Result;
use crate::data::Matrix;

/// Lagrangian of the product.
pub(crate) const LAGRANGIAN: f32 = 0.2;
/// Symbols are cut to this magnitude: points up to 8192 steps.
const HALF: i32 = 4096;
const STRIDE: usize = 2 * HALF as usize + 1;
/// Lowest predicted scale, quarter-octaves; and how many there are.
const MIN_BUCKET: i32 = -16;
pub(crate) const N_BUCKETS: usize = 57;
/// Counts that the density of no data is worth in a table.
const PRIOR_COUNT: f64 = 48.0;
/// Values that no offset is worth in a reconstruction point.
const POINT_PRIOR: f64 = 256.0;
/// Rounds of quantising with what the round before has counted.
const N_ROUNDS: usize = 3;
/// Weights that the bytes of tables are spread over: all linear weights of the model.
pub(crate) const MODEL_WEIGHTS: f64 = 106_168_320.0;

/// A monotone map of a value before the trellis and back after it; `s` is the predicted deviation in steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Companding {
    None,
    /// `s/b · asinh(b x/s)` for b > 0 (points spread in the tails), `s/|b| · sinh(|b| x/s)` for b < 0.
    Asinh(f32),
    /// `s · sgn x |x/s|^p`.
    Power(f32),
}

impl Companding {
    fn forward(self, x: f32, s: f32) -> f32 {
        match self {
            Self::None => x,
            Self::Asinh(b) if b > 0.0 => s / b * (b * x / s).asinh(),
            Self::Asinh(b) => s / -b * (-b * x / s).clamp(-20.0, 20.0).sinh(),
            Self::Power(p) => s * (x / s).abs().powf(p).copysign(x),
        }
    }

    fn back(self, u: f32, s: f32) -> f32 {
        match self {
            Self::None => u,
            Self::Asinh(b) if b > 0.0 => s / b * (b * u / s).clamp(-20.0, 20.0).sinh(),
            Self::Asinh(b) => s / -b * (-b * u / s).asinh(),
            Self::Power(p) => s * (u / s).abs().powf(1.0 / p).copysign(u),
        }
    }
}

/// Where reconstruction points lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Points {
    /// At the integers.
    Integers,
    /// The product's: an offset for each bucket, parity and four magnitudes.
    Ranks,
    /// One offset for each parity and four magnitudes, whatever the bucket.
    SharedRanks,
    /// A centroid for each symbol of each bucket and parity.
    Centroids,
}

/// What a variant is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) n_states: usize,
    pub(crate) companding: Companding,
    pub(crate) points: Points,
}

impl Variant {
    /// As the product does it.
    pub(crate) const PRODUCT: Self = Self {
        n_states: 8,
        companding: Companding::None,
        points: Points::Ranks,
    };
}

/// A variant with its fitted tables and points.
pub(crate) struct Scheme {
    variant: Variant,
    code: TrellisCode,
    /// `[table][symbol + HALF]`, table `2 * bucket + parity`: values in steps, prices in bits.
    values: Vec<f32>,
    prices: Vec<f32>,
    pub(crate) table_bytes: usize,
}

/// Rate and distortion on a set of matrices.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Point {
    /// Bits a weight, tables counted.
    pub(crate) bits: f64,
    /// Mean squared error in squared steps of the reference.
    pub(crate) error: f64,
}

/// Counts and sums of values by table and symbol.
struct Counts {
    counts: Vec<f64>,
    sums: Vec<f64>,
}

/// A quantised column: table and symbol of each row, and its reconstruction in steps.
#[derive(Default)]
pub(crate) struct Coded {
    pub(crate) tables: Vec<u16>,
    pub(crate) symbols: Vec<i32>,
    pub(crate) values: Vec<f32>,
}

/// First table of a predicted scale.
pub(crate) fn first_table(exponent: i32) -> usize {
    2 * (exponent - MIN_BUCKET).clamp(0, N_BUCKETS as i32 - 1) as usize
}

fn bucket_sigma(bucket: usize) -> f32 {
    ((bucket as i32 + MIN_BUCKET) as f32 / 4.0).exp2()
}

impl Scheme {
    /// Fits tables and points to `matrices`, whose steps are `2^(quarters/4)` times those that they were divided by.
    pub(crate) fn fit(variant: Variant, matrices: &[Matrix], quarters: i32) -> Result<Self> {
        let n = 2 * N_BUCKETS * STRIDE;
        let mut scheme = Self {
            variant,
            code: TrellisCode::new(variant.n_states)?,
            values: Vec::with_capacity(n),
            prices: Vec::with_capacity(n),
            table_bytes: 0,
        };
        for table in 0..2 * N_BUCKETS {
            let pmf = scheme.analytic(table);
            for (symbol, p) in (-HALF..=HALF).zip(pmf) {
                scheme.values.push(scheme.plain_point(table, symbol));
                scheme.prices.push(-(p.max(1e-9).log2()) as f32);
            }
        }
        for _ in 0..N_ROUNDS {
            let counts = scheme.count(matrices, quarters);
            scheme.refit(&counts)?;
        }
        Ok(scheme)
    }

    /// Rate and distortion on `matrices`, in squared steps of those that they were divided by.
    pub(crate) fn measure(&self, matrices: &[Matrix], quarters: i32) -> Point {
        let (mut bits, mut squares, mut n) = (0.0, 0.0, 0);
        self.each_column(matrices, quarters, |values, coded| {
            for (row, &value) in values.iter().enumerate() {
                let table = usize::from(coded.tables[row]);
                bits += f64::from(self.prices[place(table, coded.symbols[row])]);
                squares += f64::from(value - coded.values[row]).powi(2);
            }
            n += values.len();
        });
        let n = n.max(1) as f64;
        Point {
            bits: bits / n + 8.0 * self.table_bytes as f64 / MODEL_WEIGHTS,
            error: squares / n * (f64::from(quarters) / 2.0).exp2(),
        }
    }

    /// Quantises every column of `matrices`.
    pub(crate) fn each_column(
        &self,
        matrices: &[Matrix],
        quarters: i32,
        mut visit: impl FnMut(&[f32], &Coded),
    ) {
        let mut viterbi = Viterbi::new(self.code.clone());
        let mut branches = Vec::new();
        let mut coded = Coded::default();
        let scale = (-quarters as f32 / 4.0).exp2();
        let mut values = Vec::new();
        for matrix in matrices {
            for col in 0..matrix.cols {
                values.clear();
                values.extend(matrix.column(col).iter().map(|v| v * scale));
                let tables = (0..matrix.rows)
                    .map(|row| first_table(matrix.exponent(row, col) - quarters))
                    .collect::<Vec<_>>();
                branches.clear();
                let pairs = values.iter().zip(&tables);
                branches.extend(pairs.map(|(&value, &table)| self.branches(value, table)));
                coded.symbols.resize(values.len(), 0);
                viterbi.search(&branches, &mut coded.symbols);
                coded.tables.clear();
                coded.values.clear();
                let mut state = 0;
                for (&symbol, table) in coded.symbols.iter().zip(tables) {
                    let table = table + usize::from(self.code.parity(state));
                    coded.tables.push(table as u16);
                    coded.values.push(self.values[place(table, symbol)]);
                    state = self.code.next(state, symbol);
                }
                visit(&values, &coded);
            }
        }
    }

    fn branches(&self, value: f32, first_table: usize) -> Branches {
        let sigma = bucket_sigma(first_table / 2);
        let position = self.variant.companding.forward(value, sigma);
        let mut branches = Branches::default();
        let n_parities = if self.variant.n_states == 1 { 1 } else { 2 };
        for parity in 0..n_parities {
            let table = first_table + parity;
            let floor = (0.5 * (position - parity as f32)).floor();
            let first = (floor as i32 - 1).clamp(-HALF, HALF - 3);
            for bit in 0..2 {
                let symbols = [first + bit, first + bit + 2];
                let costs = symbols.map(|symbol| {
                    let at = place(table, symbol);
                    let error = value - self.values[at];
                    error * error + LAGRANGIAN * self.prices[at]
                });
                let upper = usize::from(costs[1] < costs[0]);
                let branch = 2 * parity + (symbols[0] & 1) as usize;
                branches.cost[branch] = costs[upper];
                branches.symbol[branch] = symbols[upper];
            }
        }
        branches
    }

    /// The point of a symbol where nothing is learned.
    fn plain_point(&self, table: usize, symbol: i32) -> f32 {
        let integer = (2 * symbol) as f32 + (table & 1) as f32;
        let sigma = bucket_sigma(table / 2);
        self.variant.companding.back(integer, sigma)
    }

    /// Symbol probabilities of a Gaussian with 2 % of a Laplacian, roughly integrated.
    fn analytic(&self, table: usize) -> Vec<f64> {
        use std::f64::consts::SQRT_2;
        let sigma = f64::from(bucket_sigma(table / 2));
        let density = |x: f64| {
            0.98 * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
                + 0.02 * (-SQRT_2 * x.abs()).exp() / SQRT_2
        };
        let middle = |symbol: i32| f64::from(self.plain_point(table, symbol));
        let mut pmf: Vec<f64> = (-HALF..=HALF)
            .map(|symbol| {
                let low = 0.5 * (middle(symbol - 1) + middle(symbol));
                let high = 0.5 * (middle(symbol) + middle(symbol + 1));
                let n = (((high - low) / sigma * 4.0).ceil() as usize).clamp(4, 200);
                let width = (high - low) / n as f64;
                let mids = (0..n).map(|k| low + (k as f64 + 0.5) * width);
                mids.map(|x| density(x / sigma) / sigma * width).sum()
            })
            .collect();
        let total: f64 = pmf.iter().sum();
        pmf.iter_mut().for_each(|p| *p /= total.max(1e-300));
        pmf
    }

    fn count(&self, matrices: &[Matrix], quarters: i32) -> Counts {
        let mut counts = Counts {
            counts: vec![0.0; self.values.len()],
            sums: vec![0.0; self.values.len()],
        };
        self.each_column(matrices, quarters, |values, coded| {
            for (row, &value) in values.iter().enumerate() {
                let table = usize::from(coded.tables[row]);
                let symbol = coded.symbols[row];
                // Either sign is equally likely: the mirror image is counted too.
                for (symbol, value) in [(symbol, value), (mirrored(table, symbol), -value)] {
                    let at = place(table, symbol.clamp(-HALF, HALF));
                    counts.counts[at] += 1.0;
                    counts.sums[at] += f64::from(value);
                }
            }
        });
        counts
    }

    fn refit(&mut self, counts: &Counts) -> Result<()> {
        let mut tables = Vec::new();
        let mut n_points = 0;
        for table in 0..2 * N_BUCKETS {
            let range = table * STRIDE..(table + 1) * STRIDE;
            let pmf = mixed(&counts.counts[range.clone()], &self.analytic(table));
            for (price, p) in self.prices[range.clone()].iter_mut().zip(&pmf) {
                *price = -(p.max(1e-9).log2()) as f32;
            }
            if counts.counts[range.clone()].iter().sum::<f64>() > 0.0 {
                tables.push(stored(&pmf)?);
            }
            n_points += self.replace_points(table, counts);
        }
        self.table_bytes = TableSet::new(tables)?.to_bytes().len() + n_points;
        Ok(())
    }

    /// Moves the points of one table to where the values are; the number of stored offsets.
    fn replace_points(&mut self, table: usize, counts: &Counts) -> usize {
        const N_RANKS: usize = 4;
        let shared = self.variant.points == Points::SharedRanks;
        match self.variant.points {
            Points::Integers => return 0,
            Points::Centroids => {
                let mut n_points = 0;
                for symbol in -HALF..=HALF {
                    let at = place(table, symbol);
                    let plain = f64::from(self.plain_point(table, symbol));
                    let n = counts.counts[at];
                    let point = (counts.sums[at] + POINT_PRIOR * plain) / (n + POINT_PRIOR);
                    self.values[at] = point as f32;
                    n_points += usize::from(n > POINT_PRIOR);
                }
                return n_points / 2;
            }
            Points::Ranks | Points::SharedRanks => {}
        }
        let mut sums = [(0.0, 0.0); N_RANKS];
        let first = if shared { table & 1 } else { table };
        let last = if shared { 2 * N_BUCKETS - 1 } else { table };
        for table in (first..=last).step_by(2) {
            for symbol in -HALF..=HALF {
                let at = place(table, symbol);
                let plain = f64::from(self.plain_point(table, symbol));
                let (sum, n) = &mut sums[rank(table, symbol).min(N_RANKS - 1)];
                *sum += plain.signum() * (counts.counts[at] * plain - counts.sums[at]);
                *n += counts.counts[at];
            }
        }
        for symbol in -HALF..=HALF {
            let plain = self.plain_point(table, symbol);
            let (sum, n) = sums[rank(table, symbol).min(N_RANKS - 1)];
            let offset = (sum / (n + POINT_PRIOR)) as f32;
            if plain != 0.0 {
                self.values[place(table, symbol)] = plain - plain.signum() * offset;
            }
        }
        if shared { 0 } else { N_RANKS }
    }
}

/// Probabilities from counts, mixed with those of no data.
pub(crate) fn mixed(counts: &[f64], prior: &[f64]) -> Vec<f64> {
    let total: f64 = counts.iter().sum::<f64>() + 2.0 * PRIOR_COUNT;
    let pairs = counts.iter().zip(prior);
    pairs
        .map(|(n, p)| (n + 2.0 * PRIOR_COUNT * p) / total)
        .collect()
}

/// The table as a codec file would hold it, for its size; `pmf` starts at `-HALF`.
pub(crate) fn stored(pmf: &[f64]) -> Result<CdfTable> {
    let worth = 0.5 / f64::from(1_u32 << DEFAULT_PRECISION);
    let first = pmf.iter().position(|&p| p >= worth).unwrap_or(0);
    let last = pmf.iter().rposition(|&p| p >= worth).unwrap_or(first);
    let offset = first as i32 - HALF;
    Ok(CdfTable::from_pmf(
        &pmf[first..=last],
        offset,
        DEFAULT_PRECISION,
    )?)
}

/// Where `symbol` of `table` lies in what is kept by table and symbol.
pub(crate) fn place(table: usize, symbol: i32) -> usize {
    table * STRIDE + (symbol + HALF) as usize
}

/// Entries of one table.
pub(crate) const fn stride() -> usize {
    STRIDE
}

pub(crate) fn mirrored(table: usize, symbol: i32) -> i32 {
    -symbol - (table & 1) as i32
}

fn rank(table: usize, symbol: i32) -> usize {
    if table & 1 == 1 && symbol < 0 {
        (-symbol - 1) as usize
    } else {
        symbol.unsigned_abs() as usize
    }
}
