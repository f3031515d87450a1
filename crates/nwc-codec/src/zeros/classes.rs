//! Classes of rows and quads by their share of zeros.

use nwc_chunk::ZeroMask;
use nwc_entropy::{CdfTable, DecodeTables, StreamDecoder, StreamEncoder, TableSet};

use super::{Error, PRECISION, QUAD, Result};

/// Most tables that classes pick from.
const MAX_CLASSES: i32 = 16;
/// Classes of a row, or a quad, on either side of the mean.
const REACH: i32 = 8;
/// Width of a class, in nats of log odds.
const WIDTH: f64 = 0.5;

/// The classes of one mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Classes {
    /// From 0.
    rows: Vec<i32>,
    quads: Vec<i32>,
    n_classes: i32,
}

impl Classes {
    /// Those of `mask`.
    pub(super) fn of(mask: &ZeroMask) -> Self {
        let n_all = mask.rows() * mask.cols();
        let mean = log_odds(mask.n_zeros(), n_all);
        let class = |zeros, of| ((log_odds(zeros, of) - mean) / WIDTH).round() as i32;
        let class = |zeros, of| class(zeros, of).clamp(-REACH, REACH);
        let kept = mask.kept_in_rows();
        let rows: Vec<i32> = kept
            .iter()
            .map(|kept| class(mask.cols() - kept, mask.cols()))
            .collect();
        let kept = mask.kept_in_cols();
        let quads: Vec<i32> = kept
            .chunks(QUAD)
            .map(|kept| {
                let of = kept.len() * mask.rows();
                class(of - kept.iter().sum::<usize>(), of)
            })
            .collect();
        let range = |classes: &[i32]| {
            let (min, max) = (classes.iter().min(), classes.iter().max());
            (min.copied().unwrap_or(0), max.copied().unwrap_or(0))
        };
        let (rows_range, quads_range) = (range(&rows), range(&quads));
        let lowest = rows_range.0 + quads_range.0;
        let n_classes = (rows_range.1 + quads_range.1 - lowest + 1).min(MAX_CLASSES);
        // Where there are more classes than tables, the middle ones stay apart.
        let first = match rows_range.1 + quads_range.1 - lowest + 1 > MAX_CLASSES {
            true => -MAX_CLASSES / 2,
            false => lowest,
        };
        Self {
            rows: rows.iter().map(|class| class - first).collect(),
            quads,
            n_classes,
        }
    }

    /// Tables that there are, at least 1.
    pub(super) fn n_classes(&self) -> usize {
        self.n_classes as usize
    }

    /// The table of the symbol of a row and a quad.
    #[inline]
    pub(super) fn table(&self, row: usize, quad: usize) -> u16 {
        (self.rows[row] + self.quads[quad]).clamp(0, self.n_classes - 1) as u16
    }

    /// The tables of classes of rows and of quads.
    pub(super) fn tables(&self) -> Result<[CdfTable; 2]> {
        let table = |classes: &[i32]| -> Result<CdfTable> {
            let min = classes.iter().copied().min().unwrap_or(0);
            let max = classes.iter().copied().max().unwrap_or(0);
            let mut counts = vec![0_u64; (max - min + 1) as usize];
            for class in classes {
                counts[(class - min) as usize] += 1;
            }
            if classes.is_empty() {
                counts.fill(1);
            }
            Ok(CdfTable::from_counts(&counts, min, PRECISION)?)
        };
        Ok([table(&self.rows)?, table(&self.quads)?])
    }

    /// The classes as bytes; `tables` ends in those of [`Classes::tables`].
    pub(super) fn encode(&self, tables: &TableSet) -> Result<Vec<u8>> {
        let mut encoder = StreamEncoder::new(tables);
        let first = self.n_classes as u16;
        for (table, classes) in (first..).zip([&self.rows, &self.quads]) {
            encoder.push_all(&vec![table; classes.len()], classes)?;
        }
        Ok(encoder.finish())
    }

    /// The classes of a matrix `[rows, cols]` in `bytes`; `None` where one table serves all.
    pub(super) fn decode(
        tables: &TableSet,
        decode_tables: &DecodeTables,
        bytes: &[u8],
        rows: usize,
        cols: usize,
    ) -> Result<Option<Self>> {
        let n_classes = match tables.len() {
            1 if bytes.is_empty() => return Ok(None),
            1 => {
                return Err(Error::Classes {
                    what: "bytes of classes",
                    found: bytes.len(),
                    expected: "0 beside one table",
                });
            }
            found @ (2 | 3) => {
                return Err(Error::Classes {
                    what: "tables",
                    found,
                    expected: "1, or 4 to 18",
                });
            }
            n if n <= MAX_CLASSES as usize + 2 => n as i32 - 2,
            found => {
                return Err(Error::Classes {
                    what: "tables",
                    found,
                    expected: "1, or 4 to 18",
                });
            }
        };
        let mut decoder = StreamDecoder::new(decode_tables, bytes)?;
        let lengths = [rows, cols.div_ceil(QUAD)];
        let n_steps = |n: usize| n.div_ceil(nwc_entropy::LANES);
        if decoder.steps_left() as usize != n_steps(lengths[0]) + n_steps(lengths[1]) {
            return Err(Error::Classes {
                what: "steps of classes",
                found: decoder.steps_left() as usize,
                expected: "one for every 32 rows and for every 128 columns",
            });
        }
        let first = n_classes as u16;
        let mut lists = [Vec::new(), Vec::new()];
        for ((table, list), n) in (first..).zip(&mut lists).zip(lengths) {
            list.resize(n, 0);
            decoder.decode_all(&vec![table; n], list)?;
            if let Some(&found) = list.iter().find(|class| class.abs() > 4 * REACH) {
                return Err(Error::Symbol { found });
            }
        }
        decoder.finish()?;
        let [rows, quads] = lists;
        Ok(Some(Self {
            rows,
            quads,
            n_classes,
        }))
    }
}

/// Log odds of a zero among `of` weights, finite for none and for all.
fn log_odds(zeros: usize, of: usize) -> f64 {
    ((zeros as f64 + 0.5) / ((of - zeros) as f64 + 0.5)).ln()
}
