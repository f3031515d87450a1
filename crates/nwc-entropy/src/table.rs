//! One integer cumulative distribution over consecutive symbols and the escape.

use crate::error::{Error, Result};
use crate::masses::integer_masses;
use crate::{MAX_PRECISION, MIN_PRECISION, escape};

/// An integer cumulative distribution over the symbols `min_symbol()..=max_symbol()` and, last, the escape.
///
/// A symbol outside of the table is coded as the escape and, beside the stream, how far outside it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdfTable {
    /// Invariant: starts at 0, strictly increasing, ends at `1 << precision`; one entry more than there are bins,
    /// and there are at least two bins, the last of which is the escape.
    cdf: Vec<u32>,
    /// Invariant: `offset + n_symbols − 1` is an `i32`.
    offset: i32,
    /// Invariant: `MIN_PRECISION..=MAX_PRECISION`.
    precision: u32,
}

/// # Constructors
impl CdfTable {
    /// A table of the symbols `offset, offset + 1, …` with probabilities `pmf`, nearly the one of least code length.
    ///
    /// What `pmf` lacks to a sum of 1 goes to the escape; a sum above 1 is scaled to 1. Every symbol and the escape
    /// get at least `2^-precision`.
    ///
    /// # Errors
    /// [`Error::InvalidProbability`], [`Error::InvalidSum`], and those of [`CdfTable::from_cdf`] on the shape.
    pub fn from_pmf(pmf: &[f64], offset: i32, precision: u32) -> Result<Self> {
        for (idx, &value) in pmf.iter().enumerate() {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::InvalidProbability { idx, value });
            }
        }
        let sum: f64 = pmf.iter().sum();
        Self::from_weights(pmf, (1.0 - sum).max(0.0), offset, precision)
    }

    /// A table of the symbols `offset, offset + 1, …` that were seen `counts` times; the escape was never seen.
    ///
    /// Every symbol and the escape get at least `2^-precision`.
    ///
    /// # Errors
    /// [`Error::InvalidSum`] if all counts are 0, and those of [`CdfTable::from_cdf`] on the shape.
    pub fn from_counts(counts: &[u64], offset: i32, precision: u32) -> Result<Self> {
        let weights: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        Self::from_weights(&weights, 0.0, offset, precision)
    }

    /// A table from its cumulative masses: 0 first, `2^precision` last, the escape's mass between the last two.
    ///
    /// # Errors
    /// [`Error::PrecisionOutOfRange`], [`Error::EmptyTable`], [`Error::TooManySymbols`], [`Error::SymbolRange`],
    /// [`Error::InvalidCdf`].
    pub fn from_cdf(cdf: Vec<u32>, offset: i32, precision: u32) -> Result<Self> {
        check_shape(cdf.len().saturating_sub(2), offset, precision)?;
        let total = 1_u32 << precision;
        let last = cdf.len() - 1;
        let mut min = 0;
        for (idx, &found) in cdf.iter().enumerate() {
            // Room is left for one unit of each bin that follows; the first must be 0, the last the total.
            let max = if idx == 0 {
                0
            } else {
                total - (last - idx) as u32
            };
            let min_here = if idx == last { total } else { min };
            if !(min_here <= found && found <= max) {
                return Err(Error::InvalidCdf {
                    idx,
                    found,
                    min: min_here,
                    max,
                });
            }
            min = found + 1;
        }
        Ok(Self {
            cdf,
            offset,
            precision,
        })
    }

    fn from_weights(weights: &[f64], escape: f64, offset: i32, precision: u32) -> Result<Self> {
        check_shape(weights.len(), offset, precision)?;
        let sum: f64 = weights.iter().sum();
        if !sum.is_finite() || sum <= 0.0 {
            return Err(Error::InvalidSum { sum });
        }
        let mut all = weights.to_vec();
        all.push(escape);
        let masses = integer_masses(&all, sum + escape, 1 << precision);
        let mut cdf = Vec::with_capacity(masses.len() + 1);
        cdf.push(0);
        cdf.extend(masses.iter().scan(0, |sum, &mass| {
            *sum += mass;
            Some(*sum)
        }));
        Self::from_cdf(cdf, offset, precision)
    }
}

/// Checks what does not depend on the masses.
pub(crate) fn check_shape(n_symbols: usize, offset: i32, precision: u32) -> Result<()> {
    if !(MIN_PRECISION..=MAX_PRECISION).contains(&precision) {
        return Err(Error::PrecisionOutOfRange {
            precision,
            min: MIN_PRECISION,
            max: MAX_PRECISION,
        });
    }
    let max = (1_usize << precision) - 1;
    if n_symbols == 0 {
        return Err(Error::EmptyTable);
    }
    if n_symbols > max {
        return Err(Error::TooManySymbols {
            n_symbols,
            max,
            precision,
        });
    }
    if i64::from(offset) + n_symbols as i64 - 1 > i64::from(i32::MAX) {
        return Err(Error::SymbolRange { offset, n_symbols });
    }
    Ok(())
}

/// # What it holds
impl CdfTable {
    /// Symbols in the table, without the escape; at least 1.
    pub fn n_symbols(&self) -> usize {
        self.cdf.len() - 2
    }

    /// The smallest symbol of the table.
    pub fn min_symbol(&self) -> i32 {
        self.offset
    }

    /// The largest symbol of the table.
    pub fn max_symbol(&self) -> i32 {
        (i64::from(self.offset) + self.n_symbols() as i64 - 1) as i32
    }

    /// Bits of the probabilities: they sum to `2^precision`.
    pub fn precision(&self) -> u32 {
        self.precision
    }

    /// Cumulative masses, `n_symbols() + 2` of them, from 0 to `2^precision`; the last bin is the escape.
    pub fn cdf(&self) -> &[u32] {
        &self.cdf
    }

    /// Ideal cost of `symbol` in bits: −log2 of its probability; for a symbol outside of the table −log2 of the
    /// escape's, and 8 for each byte that is stored beside the stream.
    pub fn bits(&self, symbol: i32) -> f64 {
        let bin = self.bin(symbol);
        let mass = self.cdf[bin + 1] - self.cdf[bin];
        let escape_bytes = if bin == self.n_symbols() {
            escape::n_bytes(symbol, self.min_symbol(), self.max_symbol())
        } else {
            0
        };
        f64::from(self.precision) - f64::from(mass).log2() + f64::from(8 * escape_bytes)
    }

    /// The bin that codes `symbol`: its place in the table, or the last one.
    #[inline]
    pub(crate) fn bin(&self, symbol: i32) -> usize {
        // A symbol below the table wraps around to a large number.
        (symbol.wrapping_sub(self.offset) as u32 as usize).min(self.n_symbols())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: Result<CdfTable>, expected: &[u32]) {
        assert_eq!(table.map(|t| t.cdf), Ok(expected.to_vec()));
    }

    #[test]
    fn masses() {
        check(CdfTable::from_pmf(&[0.25, 0.5], 0, 8), &[0, 64, 192, 256]);
        check(
            CdfTable::from_pmf(&[1.0, 2.0, 1.0], 0, 8),
            &[0, 64, 191, 255, 256],
        );
        check(
            CdfTable::from_pmf(&[0.0, 1.0, 0.0], -1, 8),
            &[0, 1, 254, 255, 256],
        );
        check(
            CdfTable::from_counts(&[0, 3, 1], 5, 8),
            &[0, 1, 191, 255, 256],
        );
        check(
            CdfTable::from_counts(&[u64::MAX; 255], 0, 8),
            &(0..=256).collect::<Vec<u32>>(),
        );
        check(
            CdfTable::from_cdf(vec![0, 255, 256], i32::MAX, 8),
            &[0, 255, 256],
        );
    }

    #[test]
    fn bits_count_the_escape() {
        let table = CdfTable::from_cdf(vec![0, 64, 192, 256], 10, 8).unwrap();
        assert_eq!(
            (table.min_symbol(), table.max_symbol(), table.n_symbols()),
            (10, 11, 2)
        );
        let costs =
            [9, 10, 11, 12, 12 + 63, 12 + 64, i32::MAX, i32::MIN].map(|symbol| table.bits(symbol));
        assert_eq!(costs, [10.0, 2.0, 1.0, 10.0, 10.0, 18.0, 42.0, 42.0]);
    }

    #[test]
    fn argument_errors() {
        let pmf = |pmf: &[f64]| CdfTable::from_pmf(pmf, 0, 8).unwrap_err();
        let cdf = |cdf: &[u32]| CdfTable::from_cdf(cdf.to_vec(), 0, 8).unwrap_err();
        assert_eq!(pmf(&[]), Error::EmptyTable);
        assert_eq!(
            pmf(&[0.1; 256]),
            Error::TooManySymbols {
                n_symbols: 256,
                max: 255,
                precision: 8
            }
        );
        assert_eq!(
            pmf(&[0.5, -0.1]),
            Error::InvalidProbability {
                idx: 1,
                value: -0.1
            }
        );
        assert!(matches!(
            pmf(&[f64::NAN]),
            Error::InvalidProbability { idx: 0, .. }
        ));
        assert_eq!(pmf(&[0.0, 0.0]), Error::InvalidSum { sum: 0.0 });
        assert_eq!(
            pmf(&[f64::MAX, f64::MAX]),
            Error::InvalidSum { sum: f64::INFINITY }
        );
        assert_eq!(
            CdfTable::from_counts(&[0], 0, 8).unwrap_err(),
            Error::InvalidSum { sum: 0.0 }
        );
        assert_eq!(cdf(&[0, 256]), Error::EmptyTable);
        assert_eq!(cdf(&[]), Error::EmptyTable);
        assert_eq!(
            cdf(&[1, 2, 256]),
            Error::InvalidCdf {
                idx: 0,
                found: 1,
                min: 0,
                max: 0
            }
        );
        assert_eq!(
            cdf(&[0, 0, 256]),
            Error::InvalidCdf {
                idx: 1,
                found: 0,
                min: 1,
                max: 255
            }
        );
        assert_eq!(
            cdf(&[0, 256, 256]),
            Error::InvalidCdf {
                idx: 1,
                found: 256,
                min: 1,
                max: 255
            }
        );
        assert_eq!(
            cdf(&[0, 9, 255]),
            Error::InvalidCdf {
                idx: 2,
                found: 255,
                min: 256,
                max: 256
            }
        );
        for precision in [0, 7, 17, u32::MAX] {
            let found = CdfTable::from_pmf(&[1.0], 0, precision).unwrap_err();
            assert_eq!(
                found,
                Error::PrecisionOutOfRange {
                    precision,
                    min: 8,
                    max: 16
                }
            );
        }
        let found = CdfTable::from_pmf(&[1.0, 1.0], i32::MAX, 8).unwrap_err();
        assert_eq!(
            found,
            Error::SymbolRange {
                offset: i32::MAX,
                n_symbols: 2
            }
        );
    }
}
