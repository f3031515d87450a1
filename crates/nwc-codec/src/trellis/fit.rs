//! Fitting tables and reconstruction points to the weights that are to be compressed.

use ndarray::ArrayView2;

use super::reconstruction::OffsetSums;
use super::stream::for_each_symbol;
use super::tables::{Histogram, table_set};
use super::{
    Error, Reconstruction, Result, TensorScales, TrellisCodec, TrellisConfig, TrellisQuantizer,
    TrellisSymbols,
};

/// Rounds of quantising the sample with the tables of the round before.
const N_ROUNDS: usize = 3;

/// Columns of one matrix that a codec is fitted to.
#[derive(Debug, Clone, Copy)]
pub struct FitSample<'a> {
    /// The matrix, `[rows, cols]`, in weight units.
    pub weights: ArrayView2<'a, f32>,
    /// Its scales.
    pub scales: &'a TensorScales,
    /// Which columns to look at; buckets are taken from all.
    pub columns: &'a [usize],
}

/// How often each symbol was used under each table; refits a codec's tables to what it has coded.
#[derive(Debug, Clone)]
pub struct SymbolCounts {
    histogram: Histogram,
}

impl SymbolCounts {
    /// Nothing seen yet, for symbols of `codec`.
    pub fn new(codec: &TrellisCodec) -> Self {
        Self {
            histogram: Histogram::new(codec.config().n_tables()),
        }
    }

    /// Counts the symbols of one matrix; `codec` is the one of [`SymbolCounts::new`].
    ///
    /// # Errors
    /// Those of [`TensorScales::validate`]; [`Error::ShapeMismatch`].
    pub fn add(
        &mut self,
        codec: &TrellisCodec,
        scales: &TensorScales,
        symbols: &TrellisSymbols,
    ) -> Result<()> {
        scales.validate_for(symbols.rows(), symbols.cols())?;
        let expected = codec.config().n_tables();
        let found = self.histogram.n_tables();
        if found != expected {
            return Err(Error::ShapeMismatch {
                what: "number of counted tables",
                found,
                expected,
            });
        }
        let histogram = &mut self.histogram;
        for_each_symbol(codec, scales, symbols, |table, symbol| {
            histogram.add(table, codec.levels().class(table), symbol);
        });
        Ok(())
    }
}

impl TrellisCodec {
    /// A codec fitted to `samples`: tables and reconstruction points, over the buckets in use.
    ///
    /// `config` gives the widest range of buckets that may result. The samples are quantised
    /// without feedback, a few times over, with the tables of the round before.
    ///
    /// # Errors
    /// [`Error::Config`]; what [`TrellisQuantizer`] finds wrong with a sample.
    pub fn fit(config: TrellisConfig, samples: &[FitSample<'_>]) -> Result<Self> {
        config.validate()?;
        for sample in samples {
            let (rows, cols) = sample.weights.dim();
            sample.scales.validate_for(rows, cols)?;
        }
        let mut codec = Self::parametric(narrowed(config, samples))?;
        for _ in 0..N_ROUNDS {
            codec = codec.refitted(samples)?;
        }
        Ok(codec)
    }

    /// The same codec with tables made for `counts`; what was quantised stays valid, since values
    /// do not depend on tables.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where `counts` are those of another codec.
    pub fn with_counts(&self, counts: &SymbolCounts) -> Result<Self> {
        let expected = self.config().n_tables();
        let found = counts.histogram.n_tables();
        if found != expected {
            return Err(Error::ShapeMismatch {
                what: "number of counted tables",
                found,
                expected,
            });
        }
        let tables = table_set(self.config(), Some(&counts.histogram))?;
        Self::new(self.config().clone(), tables, self.reconstruction().clone())
    }

    fn refitted(&self, samples: &[FitSample<'_>]) -> Result<Self> {
        let n_tables = self.config().n_tables();
        let mut histogram = Histogram::new(n_tables);
        let mut sums = OffsetSums::new(n_tables);
        for sample in samples {
            let (rows, cols) = sample.weights.dim();
            let mut quantizer = TrellisQuantizer::new(self, sample.scales, rows, cols)?;
            let mut reconstruction = vec![0.0; rows];
            for &col in sample.columns {
                if col >= cols {
                    return Err(Error::Column { col, cols });
                }
                let target = sample.weights.column(col).to_vec();
                quantizer.quantize_column(col, &target, &mut reconstruction)?;
                let mut state = 0;
                for (value, first, symbol) in quantizer.last_column() {
                    let table = usize::from(first) + usize::from(self.code().parity(state));
                    let class = self.levels().class(table);
                    histogram.add(table, class, symbol);
                    sums.add(table, class, symbol, value);
                    state = self.code().next(state, symbol);
                }
            }
        }
        let reconstruction: Reconstruction = sums.offsets();
        let tables = table_set(self.config(), Some(&histogram))?;
        Self::new(self.config().clone(), tables, reconstruction)
    }
}

/// Buckets kept on either side of those that the samples use: an octave, so that a codec fitted at one step still
/// codes at its neighbours.
const MARGIN_BUCKETS: usize = 4;

/// `config` without the buckets that no weight of the samples' matrices comes near.
fn narrowed(config: TrellisConfig, samples: &[FitSample<'_>]) -> TrellisConfig {
    let range = |exponents: &[i8]| {
        let exponents = exponents.iter().map(|&e| i32::from(e));
        Some((exponents.clone().min()?, exponents.max()?))
    };
    let ranges = samples.iter().filter_map(|sample| {
        let (rows, cols) = (
            range(&sample.scales.row_rms)?,
            range(&sample.scales.col_rms)?,
        );
        Some((rows.0 + cols.0, rows.1 + cols.1))
    });
    let Some((low, high)) = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return config;
    };
    let first = (config.first_table(low) / 2).saturating_sub(MARGIN_BUCKETS);
    let end = usize::from(config.n_buckets) - 1;
    let last = (config.first_table(high) / 2 + MARGIN_BUCKETS).min(end);
    TrellisConfig {
        min_bucket: config.min_bucket + first as i16,
        n_buckets: (last - first + 1) as u16,
        ..config
    }
}
