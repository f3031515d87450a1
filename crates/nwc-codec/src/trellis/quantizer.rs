//! From weights to symbols: candidates, prices and the search, column by column.

use std::sync::Arc;

use nwc_chunk::ZeroMask;

use super::points::MAX_POINT;
use super::{Branches, Error, Result, TensorScales, TrellisCodec, TrellisSymbols, Viterbi};

/// Quantises real sequences, whatever they are: columns of scaled weights, latents of a transform.
///
/// Values are in steps. Each has the first table of its bucket, from
/// [`TrellisCodec::first_table`].
#[derive(Debug)]
pub(super) struct SequenceQuantizer<'a> {
    codec: &'a TrellisCodec,
    viterbi: Viterbi,
    branches: Vec<Branches>,
}

impl<'a> SequenceQuantizer<'a> {
    /// A quantiser with the tables, the code and the Lagrangian of `codec`.
    pub(super) fn new(codec: &'a TrellisCodec) -> Self {
        Self {
            codec,
            viterbi: Viterbi::new(codec.code().clone()),
            branches: Vec::new(),
        }
    }

    /// Finds the path that is cheapest in squared error plus Lagrangian times bits.
    ///
    /// All slices are equally long; `values` are finite, in steps, as is `reconstruction`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`]; [`Error::NotFinite`] with the index as row.
    pub(super) fn quantize(
        &mut self,
        values: &[f32],
        first_tables: &[u16],
        symbols: &mut [i32],
        reconstruction: &mut [f32],
    ) -> Result<()> {
        let expected = values.len();
        let lengths = [
            ("number of tables", first_tables.len()),
            ("number of symbols", symbols.len()),
            ("length of the reconstruction", reconstruction.len()),
        ];
        for (what, found) in lengths {
            if found != expected {
                return Err(Error::ShapeMismatch {
                    what,
                    found,
                    expected,
                });
            }
        }
        if let Some(row) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                row,
                col: 0,
                value: values[row],
            });
        }
        let n_tables = self.codec.config().n_tables();
        if let Some(&found) = first_tables
            .iter()
            .find(|&&t| usize::from(t) + 1 >= n_tables)
        {
            return Err(Error::ShapeMismatch {
                what: "first table of a bucket",
                found: usize::from(found),
                expected: n_tables - 2,
            });
        }
        self.branches.clear();
        let branches = values
            .iter()
            .zip(first_tables)
            .map(|(&value, &first)| self.codec.branches(value, first));
        self.branches.extend(branches);
        self.viterbi.search(&self.branches, symbols);
        self.reconstruct(first_tables, symbols, reconstruction);
        Ok(())
    }

    fn reconstruct(&self, first_tables: &[u16], symbols: &[i32], reconstruction: &mut [f32]) {
        let code = self.codec.code();
        let mut state = 0;
        for ((&first, &symbol), value) in first_tables.iter().zip(symbols).zip(reconstruction) {
            let table = usize::from(first) + usize::from(code.parity(state));
            *value = self.codec.levels().value(table, symbol);
            state = code.next(state, symbol);
        }
    }
}

impl TrellisCodec {
    /// The best symbol of each coset for `value`, in steps, with its cost in squared steps.
    #[inline]
    fn branches(&self, value: f32, first_table: u16) -> Branches {
        let value = value.clamp(-MAX_POINT, MAX_POINT);
        let mut branches = Branches::default();
        let n_parities = if self.config().n_states == 1 { 1 } else { 2 };
        for parity in 0..n_parities {
            let pair = self.pair(value, usize::from(first_table) + parity);
            for (bit, (cost, symbol)) in pair.into_iter().enumerate() {
                branches.cost[2 * parity + bit] = cost;
                branches.symbol[2 * parity + bit] = symbol;
            }
        }
        branches
    }

    /// Cost in squared steps and symbol of the best symbol of each coset under `table`, for `value` within [`MAX_POINT`].
    #[inline(always)]
    fn pair(&self, value: f32, table: usize) -> [(f32, i32); 2] {
        let lagrangian = self.config().lagrangian;
        let first = self.levels().class(table).floor_symbol(value) - 1;
        let cost = self
            .levels()
            .four_costs(self.tables(), table, first, value, lagrangian);
        let mut pair = [(0.0, 0); 2];
        for idx in 0..2 {
            let is_upper = cost[idx + 2] < cost[idx];
            let symbol = first + idx as i32 + if is_upper { 2 } else { 0 };
            let cost = if is_upper { cost[idx + 2] } else { cost[idx] };
            pair[(symbol & 1) as usize] = (cost, symbol);
        }
        pair
    }
}

/// Quantises the columns of one matrix, in any order, and keeps the symbols.
#[derive(Debug)]
pub struct TrellisQuantizer<'a> {
    sequence: SequenceQuantizer<'a>,
    row_factors: Vec<f32>,
    col_factors: Vec<f32>,
    row_rms: Vec<i8>,
    col_rms: Vec<i8>,
    zeros: Option<Arc<ZeroMask>>,
    // Of the last column: the rows that have a symbol, and what belongs to each.
    kept: Vec<usize>,
    values: Vec<f32>,
    first_tables: Vec<u16>,
    path: Vec<i32>,
    found: Vec<f32>,
    symbols: TrellisSymbols,
    is_done: Vec<bool>,
}

impl<'a> TrellisQuantizer<'a> {
    /// A quantiser for a `rows × cols` matrix with these scales.
    ///
    /// # Errors
    /// Those of [`TensorScales::validate`], and [`Error::ShapeMismatch`] where the scales are those
    /// of another matrix.
    pub fn new(
        codec: &'a TrellisCodec,
        scales: &TensorScales,
        rows: usize,
        cols: usize,
    ) -> Result<Self> {
        scales.validate_for(rows, cols)?;
        Ok(Self {
            sequence: SequenceQuantizer::new(codec),
            row_factors: scales.row_factors(),
            col_factors: scales.col_factors(),
            row_rms: scales.row_rms.clone(),
            col_rms: scales.col_rms.clone(),
            zeros: scales.zeros.clone(),
            kept: Vec::with_capacity(rows),
            values: Vec::with_capacity(rows),
            first_tables: Vec::with_capacity(rows),
            path: Vec::with_capacity(rows),
            found: Vec::with_capacity(rows),
            symbols: TrellisSymbols::zeros(rows, cols),
            is_done: vec![false; cols],
        })
    }

    /// Quantises column `col`; each column once.
    ///
    /// `target` and `reconstruction` are `[rows]`, in weight units; the reconstruction is what
    /// [`super::decode`] will give, 0 where the mask of zeros says so, whatever the target is.
    ///
    /// # Errors
    /// [`Error::Column`], [`Error::ShapeMismatch`], [`Error::NotFinite`]; the column then counts as
    /// not coded.
    pub fn quantize_column(
        &mut self,
        col: usize,
        target: &[f32],
        reconstruction: &mut [f32],
    ) -> Result<()> {
        let cols = self.is_done.len();
        if self.is_done.get(col) != Some(&false) {
            return Err(Error::Column { col, cols });
        }
        let expected = self.row_factors.len();
        for (what, found) in [
            ("target", target.len()),
            ("reconstruction", reconstruction.len()),
        ] {
            if found != expected {
                return Err(Error::ShapeMismatch {
                    what,
                    found,
                    expected,
                });
            }
        }
        if let Some(row) = target.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                row,
                col,
                value: target[row],
            });
        }
        let codec = self.sequence.codec;
        self.kept.clear();
        match &self.zeros {
            Some(zeros) => self.kept.extend(zeros.kept_rows(col)),
            None => self.kept.extend(0..expected),
        }
        self.values.clear();
        self.first_tables.clear();
        for &row in &self.kept {
            let step = self.row_factors[row] * self.col_factors[col];
            // A quotient that overflows is cut like any other value that is far too large.
            self.values
                .push((target[row] / step).clamp(-MAX_POINT, MAX_POINT));
            let exponent = i32::from(self.row_rms[row]) + i32::from(self.col_rms[col]);
            self.first_tables.push(codec.first_table(exponent));
        }
        let n_kept = self.kept.len();
        self.path.resize(n_kept, 0);
        self.found.resize(n_kept, 0.0);
        self.sequence.quantize(
            &self.values,
            &self.first_tables,
            &mut self.path,
            &mut self.found,
        )?;
        if n_kept < expected {
            reconstruction.fill(0.0);
        }
        for (&row, &value) in self.kept.iter().zip(&self.found) {
            reconstruction[row] = value * (self.row_factors[row] * self.col_factors[col]);
        }
        self.symbols.set_column(col, &self.kept, &self.path);
        self.is_done[col] = true;
        Ok(())
    }

    /// The symbols of all columns.
    ///
    /// # Errors
    /// [`Error::Unfinished`] where a column was left out.
    pub fn finish(self) -> Result<TrellisSymbols> {
        let expected = self.is_done.len();
        let found = self.is_done.iter().filter(|&&done| done).count();
        if found != expected {
            return Err(Error::Unfinished { found, expected });
        }
        Ok(self.symbols)
    }

    /// Values of the last column in steps, zeros left out, with their tables and symbols; what a fit counts.
    pub(super) fn last_column(&self) -> impl Iterator<Item = (f32, u16, i32)> + '_ {
        let values = self.values.iter().zip(&self.first_tables).zip(&self.path);
        values.map(|((&value, &first), &symbol)| (value, first, symbol))
    }
}
