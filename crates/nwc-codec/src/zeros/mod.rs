//! Which weights of a matrix are exactly zero, as bytes: the part of a sparse matrix that is not weights.
//!
//! A symbol is the zeros of four neighbouring columns in one row, so that two zeros of four (2:4 sparsity) cost what
//! they must, log2(6) / 4 = 0.65 bit a weight, and zeros anywhere the entropy of their density. Where rows and columns
//! differ in density, the sum of a row's and a quad's class picks the table.
//!
//! Parts, in this order; `docs/FORMAT.md` puts them in a section:
//! 1. the tables: one, or one for each class and two more;
//! 2. the classes of rows and quads, coded with those two; empty where there is one table;
//! 3. one substream or more with the symbols.

mod classes;
mod error;

use std::ops::Range;

use nwc_chunk::{Parallelism, ZeroMask};
use nwc_entropy::{CdfTable, DecodeTables, LANES, StreamDecoder, StreamEncoder, TableSet};

use crate::columns::column_panels;
use crate::parallel::map_each;
use classes::Classes;
pub use error::{Error, Result};

/// Fewer weights than this do not make a substream of their own.
const MIN_SUBSTREAM_WEIGHTS: usize = 1 << 20;
/// Columns of a symbol.
const QUAD: usize = 4;
/// Symbols that there are.
const N_SYMBOLS: usize = 1 << QUAD;
/// Bits of the probabilities.
const PRECISION: u32 = 12;
/// Index of the first part that is a substream.
const FIRST_SUBSTREAM: usize = 2;

/// Codes `mask`, in parts.
///
/// # Errors
/// [`Error::Entropy`].
pub fn encode(mask: &ZeroMask, parallelism: Parallelism) -> Result<Vec<Vec<u8>>> {
    let plain = encode_with(mask, None, parallelism)?;
    let classes = Classes::of(mask);
    if classes.n_classes() < 2 {
        return Ok(plain);
    }
    let classed = encode_with(mask, Some(&classes), parallelism)?;
    let n_bytes = |parts: &[Vec<u8>]| parts.iter().map(Vec::len).sum::<usize>();
    Ok(match n_bytes(&classed) < n_bytes(&plain) {
        true => classed,
        false => plain,
    })
}

fn encode_with(
    mask: &ZeroMask,
    classes: Option<&Classes>,
    parallelism: Parallelism,
) -> Result<Vec<Vec<u8>>> {
    let panels = panels(mask.rows(), mask.cols());
    let mut counts = vec![[0_u64; N_SYMBOLS]; classes.map_or(1, Classes::n_classes)];
    for group in panels.iter().flat_map(|panel| groups(panel.clone())) {
        let (symbols, tables) = group_symbols(mask, group, classes);
        for (&symbol, table) in symbols.iter().zip(tables) {
            counts[usize::from(table)][symbol as usize] += 1;
        }
    }
    let mut tables = Vec::with_capacity(counts.len() + 2);
    for counts in &mut counts {
        if counts.iter().all(|&n| n == 0) {
            counts.fill(1);
        }
        tables.push(CdfTable::from_counts(counts, 0, PRECISION)?);
    }
    if let Some(classes) = classes {
        tables.extend(classes.tables()?);
    }
    let tables = TableSet::new(tables)?;
    let listed = match classes {
        Some(classes) => classes.encode(&tables)?,
        None => Vec::new(),
    };
    let encode = |(): &mut (), panel: Range<usize>| -> Result<Vec<u8>> {
        let mut encoder = StreamEncoder::new(&tables);
        for group in groups(panel) {
            let (symbols, tables) = group_symbols(mask, group, classes);
            encoder.push_all(&tables, &symbols)?;
        }
        Ok(encoder.finish())
    };
    let substreams = map_each(panels, parallelism, encode);
    let mut parts = vec![tables.to_bytes(), listed];
    for substream in substreams {
        parts.push(substream?);
    }
    Ok(parts)
}

/// Decodes what [`encode`] made of a mask of a matrix `[rows, cols]`.
///
/// # Errors
/// [`Error`] for parts that are not those of such a matrix, before memory is taken for one.
pub fn decode(
    parts: &[&[u8]],
    rows: usize,
    cols: usize,
    parallelism: Parallelism,
) -> Result<ZeroMask> {
    let panels = panels(rows, cols);
    let expected = FIRST_SUBSTREAM + panels.len();
    if parts.len() != expected {
        return Err(Error::Parts {
            found: parts.len(),
            expected,
        });
    }
    let tables = TableSet::from_bytes(parts[0])?;
    let decode_tables = DecodeTables::new(&tables);
    let mut decoders = Vec::with_capacity(panels.len());
    for (substream, (panel, bytes)) in panels.iter().zip(&parts[FIRST_SUBSTREAM..]).enumerate() {
        let named = |source| Error::Substream { substream, source };
        let decoder = StreamDecoder::new(&decode_tables, bytes).map_err(named)?;
        let (found, expected) = (decoder.steps_left() as usize, n_steps(panel, rows));
        if found != expected {
            return Err(Error::Steps {
                substream,
                found,
                expected,
            });
        }
        decoders.push(decoder);
    }
    let classes = Classes::decode(&tables, &decode_tables, parts[1], rows, cols)?;
    let mut mask = ZeroMask::none(rows, cols);
    let decode = |_: &mut (), (panel, decoder): (Range<usize>, StreamDecoder<'_>)| {
        decode_panel(decoder, panel, rows, classes.as_ref())
    };
    let work: Vec<_> = panels.iter().cloned().zip(decoders).collect();
    for (substream, (panel, words)) in panels
        .into_iter()
        .zip(map_each(work, parallelism, decode))
        .enumerate()
    {
        let words = words.map_err(|e| e.in_substream(substream))?;
        for (group, words) in groups(panel).zip(words.chunks(rows.max(1))) {
            mask.group_mut(group.start / ZeroMask::GROUP)
                .copy_from_slice(words);
        }
    }
    Ok(mask)
}

/// Steps of the entropy coder in the substream of a panel.
fn n_steps(panel: &Range<usize>, rows: usize) -> usize {
    let of_group = |width: usize| rows.saturating_mul(width.div_ceil(QUAD)).div_ceil(LANES);
    let (whole, rest) = (panel.len() / ZeroMask::GROUP, panel.len() % ZeroMask::GROUP);
    of_group(ZeroMask::GROUP)
        .saturating_mul(whole)
        .saturating_add(of_group(rest))
}

/// The words of the groups of one panel, group after group.
fn decode_panel(
    mut decoder: StreamDecoder<'_>,
    panel: Range<usize>,
    rows: usize,
    classes: Option<&Classes>,
) -> Result<Vec<u32>> {
    let named = |source| Error::Substream {
        substream: 0,
        source,
    };
    let mut words = Vec::with_capacity(panel.len().div_ceil(ZeroMask::GROUP) * rows);
    for group in groups(panel) {
        let n_quads = group.len().div_ceil(QUAD);
        let tables = group_tables(rows, group.clone(), classes);
        let mut symbols = vec![0; tables.len()];
        decoder.decode_all(&tables, &mut symbols).map_err(named)?;
        let beyond = match group.len() {
            ZeroMask::GROUP => 0,
            width => u32::MAX << width,
        };
        for symbols in symbols.chunks(n_quads) {
            let mut word = 0;
            for (quad, &symbol) in symbols.iter().enumerate() {
                if !(0..N_SYMBOLS as i32).contains(&symbol) {
                    return Err(Error::Symbol { found: symbol });
                }
                word |= (symbol as u32) << (quad * QUAD);
            }
            if word & beyond != 0 {
                return Err(Error::Beyond { cols: group.end });
            }
            words.push(word);
        }
    }
    decoder.finish().map_err(named)?;
    Ok(words)
}

/// The symbols of a group of columns, row after row, with the table of each.
fn group_symbols(
    mask: &ZeroMask,
    group: Range<usize>,
    classes: Option<&Classes>,
) -> (Vec<i32>, Vec<u16>) {
    let n_quads = group.len().div_ceil(QUAD);
    let words = mask.group(group.start / ZeroMask::GROUP);
    let symbols = words
        .iter()
        .flat_map(|word| (0..n_quads).map(move |quad| (word >> (quad * QUAD) & 0xF) as i32));
    (symbols.collect(), group_tables(mask.rows(), group, classes))
}

/// The table of each symbol of a group of columns.
fn group_tables(rows: usize, group: Range<usize>, classes: Option<&Classes>) -> Vec<u16> {
    let quads = group.start / QUAD..group.end.div_ceil(QUAD);
    match classes {
        None => vec![0; rows * quads.len()],
        Some(classes) => (0..rows)
            .flat_map(|row| quads.clone().map(move |quad| classes.table(row, quad)))
            .collect(),
    }
}

fn panels(rows: usize, cols: usize) -> Vec<Range<usize>> {
    column_panels(rows, cols, MIN_SUBSTREAM_WEIGHTS)
}

/// Groups of columns that share a word.
fn groups(panel: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = panel.end;
    panel
        .step_by(ZeroMask::GROUP)
        .map(move |start| start..(start + ZeroMask::GROUP).min(end))
}

#[cfg(test)]
mod tests;
