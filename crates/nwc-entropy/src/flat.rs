//! Whole sequences at once.

use crate::LANES;
use crate::decoder::StreamDecoder;
use crate::encoder::StreamEncoder;
use crate::error::{Error, Result};
use crate::lookup::DecodeTables;
use crate::table_set::TableSet;

/// Codes `symbols[i]` by table `table_idx[i]` into one substream, in steps of [`LANES`], the last of them shorter.
///
/// # Errors
/// [`Error::LengthMismatch`], [`Error::TableIndexOutOfRange`], [`Error::TooManySteps`].
pub fn encode_symbols(tables: &TableSet, table_idx: &[u16], symbols: &[i32]) -> Result<Vec<u8>> {
    let mut encoder = StreamEncoder::new(tables);
    encoder.push_all(table_idx, symbols)?;
    Ok(encoder.finish())
}

/// Decodes what [`encode_symbols`] coded, one symbol for each of `table_idx`, and checks that nothing is left.
///
/// # Errors
/// Those of [`StreamDecoder::new`], [`StreamDecoder::decode_step`] and [`StreamDecoder::finish`].
pub fn decode_symbols(tables: &DecodeTables, bytes: &[u8], table_idx: &[u16]) -> Result<Vec<i32>> {
    let mut decoder = StreamDecoder::new(tables, bytes)?;
    // Before memory is taken: a substream of other length than the caller thinks is none to decode.
    let n_steps = table_idx.len().div_ceil(LANES);
    if n_steps != decoder.steps_left() as usize {
        return Err(Error::InvalidHeader {
            what: "number of steps",
            found: u64::from(decoder.steps_left()),
            min: n_steps as u64,
            max: n_steps as u64,
        });
    }
    let mut symbols = vec![0; table_idx.len()];
    decoder.decode_all(table_idx, &mut symbols)?;
    decoder.finish()?;
    Ok(symbols)
}

/// Sum of [`CdfTable::bits`](crate::CdfTable::bits): what an ideal coder would take for `symbols`.
///
/// # Errors
/// [`Error::LengthMismatch`], [`Error::TableIndexOutOfRange`].
pub fn ideal_bits(tables: &TableSet, table_idx: &[u16], symbols: &[i32]) -> Result<f64> {
    if symbols.len() != table_idx.len() {
        return Err(Error::LengthMismatch {
            n_table_idx: table_idx.len(),
            n_symbols: symbols.len(),
        });
    }
    let bits =
        symbols
            .iter()
            .zip(table_idx)
            .map(|(&symbol, &idx)| match tables.get(usize::from(idx)) {
                Some(table) => Ok(table.bits(symbol)),
                None => Err(Error::TableIndexOutOfRange {
                    table_idx: idx,
                    n_tables: tables.len(),
                }),
            });
    bits.sum()
}
