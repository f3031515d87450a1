//! Tables of one precision, and their bytes.
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use crate::error::{Error, Result};
use crate::table::{CdfTable, check_shape};
use crate::{MAX_BINS, MAX_TABLES, varint};

/// First byte of a serialised set.
const VERSION: u8 = 1;

/// Tables of one precision, which a step's table indices refer to.
#[derive(Debug, Clone)]
pub struct TableSet {
    /// Invariant: 1 to [`MAX_TABLES`] tables of `precision` with at most [`MAX_BINS`] bins in all.
    tables: Vec<CdfTable>,
    precision: u32,
    flat: FlatBins,
}

/// The bins of all tables one after the other, as encoder and decoder want them.
#[derive(Debug, Clone)]
pub(crate) struct FlatBins {
    /// Each table's symbols, and where its bins start.
    pub(crate) ranges: Vec<TableRange>,
    /// Start of the bin in the low half, mass in the high half; both are less than `2^16`, as there are two bins.
    pub(crate) intervals: Vec<u32>,
    /// `⌊2^(32 + precision) / mass⌋ + 1`: `(state · reciprocal) >> (32 + precision)` is `state / mass`, exactly, for
    /// every state below `mass << (32 − precision)`. Proof: the reciprocal is (2^k + e) / mass with 0 < e ≤ mass, so
    /// the product exceeds state · 2^k / mass by at most state < 2^k / mass; and it stays below 2^64.
    pub(crate) reciprocals: Vec<u64>,
}

/// Where one table's symbols and bins are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TableRange {
    pub(crate) min_symbol: i32,
    /// Also the escape's bin, counted from `bin_base`.
    pub(crate) n_symbols: u32,
    /// The table's first bin among those of all tables.
    pub(crate) bin_base: u32,
}

impl TableRange {
    /// The largest symbol.
    pub(crate) fn max_symbol(&self) -> i32 {
        self.min_symbol.wrapping_add(self.n_symbols as i32 - 1)
    }
}

impl FlatBins {
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^24 bins")]
    fn new(tables: &[CdfTable], precision: u32) -> Self {
        let n_bins = tables.iter().map(|t| t.n_symbols() + 1).sum();
        let mut flat = Self {
            ranges: Vec::with_capacity(tables.len()),
            intervals: Vec::with_capacity(n_bins),
            reciprocals: Vec::with_capacity(n_bins),
        };
        for table in tables {
            flat.ranges.push(TableRange {
                min_symbol: table.min_symbol(),
                n_symbols: table.n_symbols() as u32,
                bin_base: flat.intervals.len() as u32,
            });
            for pair in table.cdf().windows(2) {
                let mass = pair[1] - pair[0];
                flat.intervals.push(pair[0] | mass << 16);
                flat.reciprocals
                    .push((1 << (32 + precision)) / u64::from(mass) + 1);
            }
        }
        flat
    }
}

impl PartialEq for TableSet {
    fn eq(&self, other: &Self) -> bool {
        self.tables == other.tables
    }
}
impl Eq for TableSet {}

impl TableSet {
    /// A set of `tables`, indexed in this order.
    ///
    /// # Errors
    /// [`Error::TableCount`], [`Error::BinCount`], [`Error::PrecisionMismatch`].
    pub fn new(tables: Vec<CdfTable>) -> Result<Self> {
        let expected = match tables.first() {
            Some(table) if tables.len() <= MAX_TABLES => table.precision(),
            _ => {
                return Err(Error::TableCount {
                    n_tables: tables.len(),
                    max: MAX_TABLES,
                });
            }
        };
        let n_bins = tables.iter().map(|t| t.n_symbols() + 1).sum();
        if n_bins > MAX_BINS {
            return Err(Error::BinCount {
                n_bins,
                max: MAX_BINS,
            });
        }
        for (table_idx, table) in tables.iter().enumerate() {
            let found = table.precision();
            if found != expected {
                return Err(Error::PrecisionMismatch {
                    table_idx,
                    found,
                    expected,
                });
            }
        }
        let flat = FlatBins::new(&tables, expected);
        Ok(Self {
            tables,
            precision: expected,
            flat,
        })
    }

    /// Number of tables, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Table number `idx`.
    pub fn get(&self, idx: usize) -> Option<&CdfTable> {
        self.tables.get(idx)
    }

    /// The tables in order.
    pub fn tables(&self) -> &[CdfTable] {
        &self.tables
    }

    /// Bits of the probabilities of all tables.
    pub fn precision(&self) -> u32 {
        self.precision
    }

    pub(crate) fn flat(&self) -> &FlatBins {
        &self.flat
    }

    /// The set's one serialised form; FORMAT-NOTES.md gives its layout.
    #[expect(clippy::cast_possible_truncation, reason = "a precision is at most 16")]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.precision as u8];
        varint::write(&mut bytes, self.tables.len() as u64);
        for table in &self.tables {
            varint::write(&mut bytes, varint::zigzag(table.min_symbol()));
            varint::write(&mut bytes, table.n_symbols() as u64);
            // The escape's mass is what the others leave.
            for pair in table.cdf().windows(2).take(table.n_symbols()) {
                varint::write(&mut bytes, u64::from(pair[1] - pair[0] - 1));
            }
        }
        bytes
    }

    /// Reads what [`TableSet::to_bytes`] wrote; accepts no other form. Memory is bounded by a constant times the
    /// number of bytes.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`], [`Error::Truncated`], [`Error::InvalidVarint`], [`Error::TrailingBytes`], and
    /// those of [`CdfTable::from_cdf`] and [`TableSet::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let &[found, precision, ref rest @ ..] = bytes else {
            return Err(Error::Truncated {
                what: "table set",
                needed: 2,
                available: bytes.len(),
            });
        };
        if found != VERSION {
            return Err(Error::UnsupportedVersion {
                found,
                supported: VERSION,
            });
        }
        let mut rest = rest;
        let precision = u32::from(precision);
        // Also checks the precision, before it is used as a shift.
        check_shape(1, 0, precision)?;
        #[expect(clippy::cast_possible_truncation, reason = "2^16")]
        let n_tables = varint::read_u32(&mut rest, "number of tables", MAX_TABLES as u32)?;
        // A table takes three bytes at least.
        check_room("tables", 3 * u64::from(n_tables), rest)?;
        let mut tables = Vec::with_capacity(n_tables as usize);
        for _ in 0..n_tables {
            tables.push(read_table(&mut rest, precision)?);
        }
        if !rest.is_empty() {
            return Err(Error::TrailingBytes {
                what: "table set",
                n_bytes: rest.len(),
            });
        }
        Self::new(tables)
    }
}

fn read_table(rest: &mut &[u8], precision: u32) -> Result<CdfTable> {
    let offset = varint::unzigzag(varint::read_u32(rest, "smallest symbol", u32::MAX)?);
    let n_symbols = varint::read_u32(rest, "number of symbols", u32::MAX)?;
    // A symbol takes one byte at least.
    check_room("masses", n_symbols.into(), rest)?;
    let n_symbols = n_symbols as usize;
    check_shape(n_symbols, offset, precision)?;
    let total = 1_u32 << precision;
    let mut cdf = Vec::with_capacity(n_symbols + 2);
    let mut sum = 0;
    cdf.push(sum);
    for _ in 0..n_symbols {
        sum += varint::read_u32(rest, "mass", total - 1)? + 1;
        if sum >= total {
            return Err(Error::InvalidCdf {
                idx: cdf.len(),
                found: sum,
                min: 1,
                max: total - 1,
            });
        }
        cdf.push(sum);
    }
    cdf.push(total);
    CdfTable::from_cdf(cdf, offset, precision)
}

fn check_room(what: &'static str, needed: u64, rest: &[u8]) -> Result<()> {
    if needed > rest.len() as u64 {
        return Err(Error::Truncated {
            what,
            needed,
            available: rest.len(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::arbitrary_tables;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

        #[test]
        fn round_trip(tables in arbitrary_tables()) {
            prop_assert_eq!(TableSet::from_bytes(&tables.to_bytes()), Ok(tables));
        }

        #[test]
        fn accepts_only_the_canonical_form(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60),
            small in any::<bool>(),
        ) {
            if small && bytes.len() > 3 {
                bytes[..3].copy_from_slice(&[VERSION, 8, 1]);
            }
            if let Ok(tables) = TableSet::from_bytes(&bytes) {
                prop_assert_eq!(tables.to_bytes(), bytes);
            }
        }

        #[test]
        fn flips_are_no_panic(tables in arbitrary_tables(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX) {
            let mut bytes = tables.to_bytes();
            *at.get_mut(&mut bytes) ^= flip;
            prop_assert_ne!(TableSet::from_bytes(&bytes), Ok(tables));
        }
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Error) {
        assert_eq!(TableSet::from_bytes(bytes).unwrap_err(), expected);
    }

    #[test]
    fn golden_bytes() {
        let tables = TableSet::new(vec![
            CdfTable::from_cdf(vec![0, 1, 201, 256], -2, 8).unwrap(),
            CdfTable::from_cdf(vec![0, 100, 256], 300, 8).unwrap(),
        ]);
        let bytes = tables.unwrap().to_bytes();
        assert_eq!(bytes, [1, 8, 2, 3, 2, 0, 0xc7, 1, 0xd8, 4, 1, 99]);
    }

    #[test]
    fn format_errors() {
        check(
            &[1],
            Error::Truncated {
                what: "table set",
                needed: 2,
                available: 1,
            },
        );
        check(
            &[2, 8, 1, 0, 1, 0],
            Error::UnsupportedVersion {
                found: 2,
                supported: 1,
            },
        );
        check(
            &[1, 7, 1, 0, 1, 0],
            Error::PrecisionOutOfRange {
                precision: 7,
                min: 8,
                max: 16,
            },
        );
        check(
            &[1, 8, 0],
            Error::TableCount {
                n_tables: 0,
                max: MAX_TABLES,
            },
        );
        check(
            &[1, 8, 9, 0, 1, 0],
            Error::Truncated {
                what: "tables",
                needed: 27,
                available: 3,
            },
        );
        check(
            &[1, 8, 1, 0, 9, 0],
            Error::Truncated {
                what: "masses",
                needed: 9,
                available: 1,
            },
        );
        check(&[1, 8, 1, 0, 0, 0], Error::EmptyTable);
        check(
            &[1, 8, 1, 0, 1, 0x80, 2],
            Error::InvalidVarint {
                what: "mass",
                max: 255,
            },
        );
        check(
            &[1, 8, 1, 0, 1, 0xff, 1],
            Error::InvalidCdf {
                idx: 1,
                found: 256,
                min: 1,
                max: 255,
            },
        );
        check(
            &[1, 8, 1, 0, 1, 0, 0],
            Error::TrailingBytes {
                what: "table set",
                n_bytes: 1,
            },
        );
        let table = |precision| CdfTable::from_pmf(&[1.0], 0, precision).unwrap();
        assert_eq!(
            TableSet::new(vec![table(8), table(9)]).unwrap_err(),
            Error::PrecisionMismatch {
                table_idx: 1,
                found: 9,
                expected: 8
            }
        );
        assert_eq!(
            TableSet::new(vec![
                CdfTable::from_cdf((0..=1 << 16).collect(), 0, 16)
                    .unwrap();
                257
            ])
            .unwrap_err(),
            Error::BinCount {
                n_bins: 257 << 16,
                max: MAX_BINS
            }
        );
    }
}
