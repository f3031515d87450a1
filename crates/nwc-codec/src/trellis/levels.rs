//! Value and price of every symbol under every table, looked up instead of computed.

use nwc_entropy::TableSet;

use super::points::PointClass;
use super::{Error, Reconstruction, Result, TrellisConfig};

/// Symbols up to this magnitude are tabulated; what lies beyond is computed.
const MAX_TABULATED: i32 = 4096;

/// For each table: its class of points, the value of each symbol in steps, its price in bits.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    reconstruction: Reconstruction,
    classes: Vec<PointClass>,
    half: i32,
    stride: usize,
    /// `[table][symbol + half]`, in steps.
    values: Vec<f32>,
    /// `[table][symbol + half]`, in bits.
    prices: Vec<f32>,
}

impl Levels {
    /// Tabulates `tables`, of which there are two a bucket.
    pub(super) fn new(
        config: &TrellisConfig,
        tables: &TableSet,
        reconstruction: &Reconstruction,
    ) -> Result<Self> {
        let expected = config.n_tables();
        if tables.len() != expected {
            return Err(Error::ShapeMismatch {
                what: "number of entropy tables",
                found: tables.len(),
                expected,
            });
        }
        if reconstruction.n_buckets() != usize::from(config.n_buckets) {
            return Err(Error::ShapeMismatch {
                what: "number of reconstruction buckets",
                found: reconstruction.n_buckets(),
                expected: usize::from(config.n_buckets),
            });
        }
        let classes: Vec<_> = (0..expected).map(PointClass::of_table).collect();
        let half = (0..expected)
            .filter_map(|table| tables.get(table))
            .map(|table| {
                table
                    .max_symbol()
                    .saturating_abs()
                    .max(table.min_symbol().saturating_abs())
            })
            .max()
            .unwrap_or(0)
            .min(MAX_TABULATED);
        let stride = 2 * half as usize + 1;
        let mut values = Vec::with_capacity(expected * stride);
        let mut prices = Vec::with_capacity(expected * stride);
        for (table_idx, &class) in classes.iter().enumerate() {
            for symbol in -half..=half {
                values.push(reconstruction.value(table_idx, class, symbol));
                prices.push(price(tables, table_idx, symbol));
            }
        }
        Ok(Self {
            reconstruction: reconstruction.clone(),
            classes,
            half,
            stride,
            values,
            prices,
        })
    }

    /// The class of points of a table.
    pub(super) fn class(&self, table: usize) -> PointClass {
        self.classes[table]
    }

    /// Reconstruction of a symbol, in steps.
    #[inline(always)]
    pub(super) fn value(&self, table: usize, symbol: i32) -> f32 {
        match self.position(table, symbol) {
            Some(position) => self.values[position],
            None => self
                .reconstruction
                .value(table, self.classes[table], symbol),
        }
    }

    /// Price of a symbol in bits.
    pub(super) fn price(&self, tables: &TableSet, table: usize, symbol: i32) -> f32 {
        match self.position(table, symbol) {
            Some(position) => self.prices[position],
            None => price(tables, table, symbol),
        }
    }

    /// Squared error in steps plus `lagrangian` times bits, for coding `value` as each of four symbols from `first` on.
    #[inline(always)]
    pub(super) fn four_costs(
        &self,
        tables: &TableSet,
        table: usize,
        first: i32,
        value: f32,
        lagrangian: f32,
    ) -> [f32; 4] {
        let column = first.wrapping_add(self.half) as u32 as usize;
        if column < self.stride.saturating_sub(3) {
            let start = table * self.stride + column;
            let values = self.values[start..].first_chunk();
            let prices = self.prices[start..].first_chunk();
            if let (Some(values), Some(prices)) = (values, prices) {
                // Straight from the tables: a copy on the stack would be read across its two stores, and wait.
                return costs(values, prices, value, lagrangian);
            }
        }
        self.four_costs_beyond(tables, table, first, value, lagrangian)
    }

    #[cold]
    fn four_costs_beyond(
        &self,
        tables: &TableSet,
        table: usize,
        first: i32,
        value: f32,
        lagrangian: f32,
    ) -> [f32; 4] {
        let symbols: [i32; 4] = std::array::from_fn(|idx| first.wrapping_add(idx as i32));
        let values = symbols.map(|symbol| self.value(table, symbol));
        let prices = symbols.map(|symbol| self.price(tables, table, symbol));
        costs(&values, &prices, value, lagrangian)
    }

    #[inline(always)]
    fn position(&self, table: usize, symbol: i32) -> Option<usize> {
        // A symbol below the range wraps to a huge number.
        let column = symbol.wrapping_add(self.half) as u32 as usize;
        (column < self.stride).then_some(table * self.stride + column)
    }
}

#[inline(always)]
fn costs(values: &[f32; 4], prices: &[f32; 4], value: f32, lagrangian: f32) -> [f32; 4] {
    std::array::from_fn(|idx| {
        let error = value - values[idx];
        error * error + lagrangian * prices[idx]
    })
}

fn price(tables: &TableSet, table: usize, symbol: i32) -> f32 {
    // Levels::new has checked that every table of the configuration is there.
    tables
        .get(table)
        .map_or(0.0, |table| table.bits(symbol) as f32)
}
