//! Symbols to substreams and back to weights.
//!
//! The lanes of the entropy coder run across columns: a step codes one row of up to 32 neighbouring
//! columns, each lane with its own trellis state, so 32 states advance side by side and rows come
//! out in order. A substream holds whole groups of 32 columns and about 2^18 weights or more, so
//! that a matrix decodes on many cores. A state starts at 0 at the top of each column.
//!
//! Weights that the mask of [`TensorScales::zeros`] says are zero have no symbol, and the state passes them by: a lane
//! holds the other weights of its column. Lanes of a group are then ordered by how many they have, most first, so that
//! those that are done are always the last ones of a step.

use std::ops::Range;

use ndarray::{ArrayViewMut2, Axis};
use nwc_chunk::Parallelism;
use nwc_entropy::{LANES, StreamDecoder, StreamEncoder};
use rayon::prelude::*;

use super::config::BUCKETS_PER_OCTAVE;
use super::kept::KeptLanes;
use super::{Error, Result, TensorScales, TrellisCodec, TrellisSymbols};
use crate::columns::{column_panels, n_column_panels};

/// Fewer weights than this do not make a substream of their own: its 32 lanes cost up to 128 bytes.
const MIN_SUBSTREAM_WEIGHTS: usize = 1 << 18;

/// Number of substreams of a `rows × cols` matrix; none where it is empty.
pub fn n_substreams(rows: usize, cols: usize) -> usize {
    n_column_panels(rows, cols, MIN_SUBSTREAM_WEIGHTS)
}

/// Checks that so many substreams are as many as code a `rows × cols` matrix.
///
/// Nothing is allocated: where the shape comes from a file, this comes before memory is taken for the matrix.
///
/// # Errors
/// [`Error::ShapeMismatch`].
pub fn check_substreams(found: usize, rows: usize, cols: usize) -> Result<()> {
    let expected = n_substreams(rows, cols);
    if found == expected {
        return Ok(());
    }
    Err(Error::ShapeMismatch {
        what: "number of substreams",
        found,
        expected,
    })
}

/// The columns of each substream of a `rows × cols` matrix, in order; none where it is empty.
pub(super) fn substream_columns(rows: usize, cols: usize) -> Vec<Range<usize>> {
    column_panels(rows, cols, MIN_SUBSTREAM_WEIGHTS)
}

/// Codes the symbols of one matrix, in as many substreams as [`check_substreams`] asks for.
///
/// # Errors
/// Those of [`TensorScales::validate`]; [`Error::ShapeMismatch`]; [`Error::Entropy`].
pub fn encode(
    codec: &TrellisCodec,
    scales: &TensorScales,
    symbols: &TrellisSymbols,
    parallelism: Parallelism,
) -> Result<Vec<Vec<u8>>> {
    scales.validate_for(symbols.rows(), symbols.cols())?;
    let columns = substream_columns(symbols.rows(), symbols.cols());
    let encode = |cols: &Range<usize>| encode_substream(codec, scales, symbols, cols.clone());
    match parallelism {
        Parallelism::Serial => columns.iter().map(encode).collect(),
        Parallelism::Rayon => columns.par_iter().map(encode).collect(),
    }
}

fn encode_substream(
    codec: &TrellisCodec,
    scales: &TensorScales,
    symbols: &TrellisSymbols,
    cols: Range<usize>,
) -> Result<Vec<u8>> {
    let mut encoder = StreamEncoder::new(codec.tables());
    for group in groups(cols) {
        let mut lanes = Lanes::new(codec, scales, group.clone());
        let mut row_symbols = [0; LANES];
        if let Some(zeros) = &scales.zeros {
            let kept = KeptLanes::new(zeros, group.clone());
            lanes.reorder(&kept);
            for step in 0..kept.n_steps() {
                let width = kept.width(step);
                let (mut rms, lane_of) = ([0; LANES], kept.lanes());
                for lane in 0..width {
                    let row = kept.row(lane, step);
                    rms[lane] = scales.row_rms[row];
                    row_symbols[lane] =
                        symbols.at((group.start + lane_of[lane]) * symbols.rows() + row);
                }
                let tables = lanes.tables(rms);
                encoder.push_step(&tables[..width], &row_symbols[..width])?;
                lanes.advance(codec, &row_symbols);
            }
            continue;
        }
        for (row, &row_rms) in scales.row_rms.iter().enumerate() {
            for (lane, symbol) in row_symbols.iter_mut().enumerate().take(lanes.width) {
                *symbol = symbols.at((group.start + lane) * symbols.rows() + row);
            }
            let tables = lanes.tables([row_rms; LANES]);
            encoder.push_step(&tables[..lanes.width], &row_symbols[..lanes.width])?;
            lanes.advance(codec, &row_symbols);
        }
    }
    Ok(encoder.finish())
}

/// Decodes the substreams of a matrix of the shape of `weights` straight into it, row-major or not.
///
/// # Errors
/// Those of [`TensorScales::validate`]; [`Error::ShapeMismatch`] where the scales or the number of
/// substreams are those of another shape; [`Error::Substream`] names a damaged substream. What was
/// written before an error is meaningless.
pub fn decode(
    codec: &TrellisCodec,
    scales: &TensorScales,
    substreams: &[&[u8]],
    weights: ArrayViewMut2<'_, f32>,
    parallelism: Parallelism,
) -> Result<()> {
    let (rows, cols) = weights.dim();
    let panels = StoredPanels::new(scales, substreams, rows, cols)?;
    let mut jobs = Vec::with_capacity(panels.columns().len());
    let mut rest = weights;
    for (panel, cols) in panels.columns().iter().enumerate() {
        let (part, right) = rest.split_at(Axis(1), cols.len());
        jobs.push((panel, part));
        rest = right;
    }
    let decode =
        |(panel, part): (usize, ArrayViewMut2<'_, f32>)| panels.decode(codec, scales, panel, part);
    match parallelism {
        Parallelism::Serial => jobs.into_iter().try_for_each(decode),
        Parallelism::Rayon => jobs.into_par_iter().try_for_each(decode),
    }
}

/// The substreams of one matrix, each a panel of whole columns that decodes by itself.
#[derive(Debug)]
pub struct StoredPanels<'a> {
    substreams: Vec<&'a [u8]>,
    columns: Vec<Range<usize>>,
    row_factors: Vec<f32>,
    col_factors: Vec<f32>,
}

impl<'a> StoredPanels<'a> {
    /// The panels of a `rows × cols` matrix with these scales.
    ///
    /// # Errors
    /// Those of [`TensorScales::validate`]; [`Error::ShapeMismatch`] where the scales or the number of
    /// substreams are those of another shape.
    pub fn new(
        scales: &TensorScales,
        substreams: &[&'a [u8]],
        rows: usize,
        cols: usize,
    ) -> Result<Self> {
        scales.validate_for(rows, cols)?;
        check_substreams(substreams.len(), rows, cols)?;
        Ok(Self {
            substreams: substreams.to_vec(),
            columns: substream_columns(rows, cols),
            row_factors: scales.row_factors(),
            col_factors: scales.col_factors(),
        })
    }

    /// The columns of each panel, in order; none where the matrix is empty.
    pub fn columns(&self) -> &[Range<usize>] {
        &self.columns
    }

    /// Decodes panel `panel`, with the scales that this was made of, into `weights`, `[rows, its columns]`.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where there is no such panel or `weights` has another width; [`Error::Substream`].
    pub fn decode(
        &self,
        codec: &TrellisCodec,
        scales: &TensorScales,
        panel: usize,
        weights: ArrayViewMut2<'_, f32>,
    ) -> Result<()> {
        let mismatch = |what, found, expected| Error::ShapeMismatch {
            what,
            found,
            expected,
        };
        let n_panels = self.columns.len();
        let cols = self.columns.get(panel).cloned();
        let cols = cols.ok_or_else(|| mismatch("number of the panel", panel, n_panels))?;
        if weights.ncols() != cols.len() {
            return Err(mismatch("columns of a panel", weights.ncols(), cols.len()));
        }
        let factors = Factors {
            rows: &self.row_factors,
            cols: &self.col_factors,
        };
        let bytes = self.substreams[panel];
        decode_substream(codec, scales, &factors, bytes, cols, weights).map_err(|source| {
            Error::Substream {
                substream: panel,
                source,
            }
        })
    }
}

/// What the steps are made of: weight units of each row, and factors of each column.
struct Factors<'a> {
    rows: &'a [f32],
    cols: &'a [f32],
}

fn decode_substream(
    codec: &TrellisCodec,
    scales: &TensorScales,
    factors: &Factors<'_>,
    bytes: &[u8],
    cols: Range<usize>,
    mut weights: ArrayViewMut2<'_, f32>,
) -> Result<(), nwc_entropy::Error> {
    let mut decoder = StreamDecoder::new(codec.decode_tables(), bytes)?;
    let levels = codec.levels();
    let first_col = cols.start;
    for group in groups(cols) {
        let mut lanes = Lanes::new(codec, scales, group.clone());
        let mut col_factors = [0.0; LANES];
        col_factors[..lanes.width].copy_from_slice(&factors.cols[group.clone()]);
        let mut symbols = [0; LANES];
        let in_part = group.start - first_col..group.end - first_col;
        let mut part = weights.slice_mut(ndarray::s![.., in_part]);
        if let Some(zeros) = &scales.zeros {
            let kept = KeptLanes::new(zeros, group);
            lanes.reorder(&kept);
            part.fill(0.0);
            for step in 0..kept.n_steps() {
                let width = kept.width(step);
                let mut rows = [0; LANES];
                let mut rms = [0; LANES];
                for lane in 0..width {
                    rows[lane] = kept.row(lane, step);
                    rms[lane] = scales.row_rms[rows[lane]];
                }
                let tables = lanes.tables(rms);
                decoder.decode_step(&tables[..width], &mut symbols[..width])?;
                for (lane, &col) in kept.lanes().iter().enumerate().take(width) {
                    let value = levels.value(usize::from(tables[lane]), symbols[lane]);
                    part[[rows[lane], col]] = value * (factors.rows[rows[lane]] * col_factors[col]);
                }
                lanes.advance(codec, &symbols);
            }
            continue;
        }
        let row_exponents = scales.row_rms.iter().zip(factors.rows);
        for ((&row_rms, &row_factor), mut row) in row_exponents.zip(part.rows_mut()) {
            let tables = lanes.tables([row_rms; LANES]);
            decoder.decode_step(&tables[..lanes.width], &mut symbols[..lanes.width])?;
            let mut values = [0.0; LANES];
            for lane in 0..LANES {
                // Lanes beyond the width hold symbol 0 of table 0 and are not written.
                let value = levels.value(usize::from(tables[lane]), symbols[lane]);
                values[lane] = value * (row_factor * col_factors[lane]);
            }
            match row.as_slice_mut() {
                Some(slice) => slice.copy_from_slice(&values[..lanes.width]),
                None => row
                    .iter_mut()
                    .zip(values)
                    .for_each(|(weight, value)| *weight = value),
            }
            lanes.advance(codec, &symbols);
        }
    }
    decoder.finish()
}

/// Bits that [`encode`] would need for the symbols with an ideal entropy coder.
///
/// # Errors
/// As [`encode`].
pub fn ideal_bits(
    codec: &TrellisCodec,
    scales: &TensorScales,
    symbols: &TrellisSymbols,
) -> Result<f64> {
    scales.validate_for(symbols.rows(), symbols.cols())?;
    let mut bits = 0.0;
    for_each_symbol(codec, scales, symbols, |table, symbol| {
        bits += f64::from(codec.levels().price(codec.tables(), table, symbol));
    });
    Ok(bits)
}

/// Calls `visit(table, symbol)` for every symbol, column after column.
pub(super) fn for_each_symbol(
    codec: &TrellisCodec,
    scales: &TensorScales,
    symbols: &TrellisSymbols,
    mut visit: impl FnMut(usize, i32),
) {
    for (col, &col_rms) in scales.col_rms.iter().enumerate() {
        let mut state = 0;
        let mut visit_row = |row: usize| {
            let symbol = symbols.at(col * symbols.rows() + row);
            let first = codec.first_table(i32::from(scales.row_rms[row]) + i32::from(col_rms));
            let parity = codec.code().parity(state);
            visit(usize::from(first) + usize::from(parity), symbol);
            state = codec.code().next(state, symbol);
        };
        match &scales.zeros {
            Some(zeros) => zeros.kept_rows(col).for_each(&mut visit_row),
            None => (0..symbols.rows()).for_each(&mut visit_row),
        }
    }
}

/// Groups of at most [`LANES`] columns.
fn groups(cols: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    cols.clone()
        .step_by(LANES)
        .map(move |start| start..(start + LANES).min(cols.end))
}

/// Trellis states of a group of columns, one a lane.
struct Lanes {
    width: usize,
    states: [u8; LANES],
    /// Predicted-scale exponent of each column less the lowest bucket's.
    col_exponents: [i32; LANES],
    last_bucket: i32,
}

impl Lanes {
    fn new(codec: &TrellisCodec, scales: &TensorScales, cols: Range<usize>) -> Self {
        let mut col_exponents = [0; LANES];
        for (exponent, &col_rms) in col_exponents.iter_mut().zip(&scales.col_rms[cols.clone()]) {
            *exponent = i32::from(col_rms) - i32::from(codec.config().min_bucket);
        }
        Self {
            width: cols.len(),
            states: [0; LANES],
            col_exponents,
            last_bucket: i32::from(codec.config().n_buckets) - 1,
        }
    }

    /// Puts the columns in the order of `kept`.
    fn reorder(&mut self, kept: &KeptLanes) {
        let of_column = self.col_exponents;
        for (exponent, &lane) in self.col_exponents.iter_mut().zip(kept.lanes()) {
            *exponent = of_column[lane];
        }
    }

    /// Table of each lane at a row of its predicted-scale exponent.
    #[inline(always)]
    fn tables(&self, row_rms: [i8; LANES]) -> [u16; LANES] {
        std::array::from_fn(|lane| {
            let exponent = i32::from(row_rms[lane]) + self.col_exponents[lane];
            let bucket = exponent.clamp(0, self.last_bucket) as u16;
            // The parity of a state is its lowest bit (see `TrellisCode`).
            2 * bucket + u16::from(self.states[lane] & 1)
        })
    }

    #[inline(always)]
    fn advance(&mut self, codec: &TrellisCodec, symbols: &[i32; LANES]) {
        let code = codec.code();
        for (state, &symbol) in self.states.iter_mut().zip(symbols) {
            *state = code.next(*state, symbol);
        }
    }
}

// The exponents of scales and the buckets are in the same unit.
const _: () = assert!(BUCKETS_PER_OCTAVE == 4);
