//! The symbols of one matrix, kept small between quantisation and coding.

use std::collections::BTreeMap;

/// Marks a symbol that is kept apart because it does not fit 16 bits.
const WIDE: i16 = i16::MIN;

/// The symbols of a `rows × cols` matrix, column after column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrellisSymbols {
    rows: usize,
    cols: usize,
    /// `[cols][rows]`.
    narrow: Vec<i16>,
    /// Symbols outside of 16 bits by their index in `narrow`.
    wide: BTreeMap<usize, i32>,
}

impl TrellisSymbols {
    /// All zeros.
    pub(super) fn zeros(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            narrow: vec![0; rows * cols],
            wide: BTreeMap::new(),
        }
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The symbol at (row, col); `None` outside of the matrix.
    pub fn get(&self, row: usize, col: usize) -> Option<i32> {
        (row < self.rows && col < self.cols).then(|| self.at(col * self.rows + row))
    }

    /// The symbol at `row` of the column that starts at `col * rows`.
    #[inline(always)]
    pub(super) fn at(&self, index: usize) -> i32 {
        match self.narrow[index] {
            WIDE => self.wide.get(&index).copied().unwrap_or(i32::from(WIDE)),
            narrow => i32::from(narrow),
        }
    }

    /// Sets the symbols of the rows `rows` of column `col`.
    pub(super) fn set_column(&mut self, col: usize, rows: &[usize], symbols: &[i32]) {
        let start = col * self.rows;
        for (&idx, &symbol) in rows.iter().zip(symbols) {
            self.narrow[start + idx] = match i16::try_from(symbol) {
                Ok(narrow) if narrow != WIDE => narrow,
                _ => {
                    self.wide.insert(start + idx, symbol);
                    WIDE
                }
            };
        }
    }
}
