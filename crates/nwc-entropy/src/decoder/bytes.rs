//! Substreams of one table of bytes: one lookup a symbol, bytes out.

use super::StreamDecoder;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::lookup::DecodeTables;
use crate::simd::{self, Decoded};
use crate::table::CdfTable;
use crate::table_set::TableSet;
use crate::{LANES, STATE_LOW};

/// The precision of tables that [`ByteTable`] takes: a slot's whole bin fits in 32 bits, and all slots in 16 KiB.
pub const BYTE_PRECISION: u32 = 12;

/// Number of slots of a table.
const N_SLOTS: usize = 1 << BYTE_PRECISION;

/// The lookup of one table whose symbols are bytes, prepared once, shared by any number of decoders.
#[derive(Debug, Clone)]
pub struct ByteTable {
    tables: DecodeTables,
    /// Each slot's bin: from bit 20 on its mass (0 for the escape), from bit 12 on its symbol, below that how far
    /// into the bin the slot lies.
    slots: Box<[u32; N_SLOTS]>,
    min_symbol: i32,
    max_symbol: i32,
}

impl ByteTable {
    /// Prepares the lookup of `table`, for the best instructions that this machine has.
    ///
    /// # Errors
    /// [`Error::PrecisionOutOfRange`] unless its precision is [`BYTE_PRECISION`], [`Error::NotBytes`] if a symbol is
    /// no byte.
    pub fn new(table: &CdfTable) -> Result<Self> {
        Self::with_backend(table, Backend::best())
    }

    /// As [`ByteTable::new`], for `backend` or the best there is below it.
    ///
    /// # Errors
    /// As [`ByteTable::new`].
    pub fn with_backend(table: &CdfTable, backend: Backend) -> Result<Self> {
        if table.precision() != BYTE_PRECISION {
            return Err(Error::PrecisionOutOfRange {
                precision: table.precision(),
                min: BYTE_PRECISION,
                max: BYTE_PRECISION,
            });
        }
        let (min_symbol, max_symbol) = (table.min_symbol(), table.max_symbol());
        if min_symbol < 0 || max_symbol > 255 {
            return Err(Error::NotBytes {
                min_symbol,
                max_symbol,
            });
        }
        let mut slots = Box::new([0; N_SLOTS]);
        // The escape's slots stay 0; the mass of a symbol is below 2^12, since the escape has some.
        for (symbol, range) in (min_symbol as u32..).zip(table.cdf().windows(2)) {
            if symbol as i32 > max_symbol {
                break;
            }
            let mass = range[1] - range[0];
            let slots = &mut slots[range[0] as usize..range[1] as usize];
            for (offset, slot) in (0..).zip(slots) {
                *slot = mass << 20 | symbol << 12 | offset;
            }
        }
        let tables = TableSet::new(vec![table.clone()])?;
        Ok(Self {
            tables: DecodeTables::with_backend(&tables, backend),
            slots,
            min_symbol,
            max_symbol,
        })
    }

    /// The largest symbol of the table.
    pub fn max_symbol(&self) -> u8 {
        // A byte, as was checked.
        self.max_symbol as u8
    }
}

/// Decodes one substream of bytes, all of one table, in steps of [`LANES`], the last of them shorter.
///
/// The substream is laid out as every other one, so [`StreamDecoder::decode_bulk`] reads it too. Escapes are not
/// allowed in it.
#[derive(Debug, Clone)]
pub struct ByteDecoder<'a> {
    inner: StreamDecoder<'a>,
    table: &'a ByteTable,
}

impl<'a> ByteDecoder<'a> {
    /// A decoder of `bytes`, one whole substream. Takes no memory besides itself.
    ///
    /// # Errors
    /// As [`StreamDecoder::new`].
    pub fn new(table: &'a ByteTable, bytes: &'a [u8]) -> Result<Self> {
        let inner = StreamDecoder::new(&table.tables, bytes)?;
        Ok(Self { inner, table })
    }

    /// Steps not yet decoded.
    pub fn steps_left(&self) -> u32 {
        self.inner.steps_left()
    }

    /// Decodes the next `out.len()` symbols; only the last call may ask for a number that [`LANES`] does not divide.
    ///
    /// # Errors
    /// As [`StreamDecoder::decode_step`], and [`Error::UnexpectedEscape`].
    pub fn decode(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let n_fast = self.fast_steps(out)?;
            let n_symbols = if n_fast > 0 {
                n_fast * LANES
            } else {
                let n_symbols = out.len().min(LANES);
                self.step(&mut out[..n_symbols])?;
                n_symbols
            };
            out = &mut out[n_symbols..];
        }
        Ok(())
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// As [`StreamDecoder::finish`].
    pub fn finish(self) -> Result<()> {
        self.inner.finish()
    }

    /// Decodes whole steps in the lanes while that is possible without a check of each word; returns how many.
    fn fast_steps(&mut self, out: &mut [u8]) -> Result<usize> {
        let inner = &mut self.inner;
        let Some(header) = inner.header else {
            return Ok(0);
        };
        if inner.tail.is_some() || header.n_lanes != LANES {
            return Ok(0);
        }
        let max_steps = inner.steps_left - header.n_tail_steps.min(inner.steps_left);
        let steps = out.as_chunks_mut().0;
        let n_steps = steps.len().min(max_steps as usize);
        let steps = &mut steps[..n_steps];
        let (slots, words) = (&*self.table.slots, inner.words.left);
        let done = match self.table.tables.backend() {
            Backend::Avx2 | Backend::Avx512 => {
                simd::decode_bytes(slots, &mut inner.states, steps, words)
            }
            _ => decode_portable(slots, &mut inner.states, steps, words),
        };
        if done.escaped {
            return Err(Error::UnexpectedEscape);
        }
        if done.n_steps == 0 {
            return Ok(0);
        }
        inner.words.left = &inner.words.left[done.n_bytes..];
        inner.steps_left -= done.n_steps as u32;
        if inner.steps_left == header.n_tail_steps {
            inner.enter_tail(header.n_lanes)?;
        }
        Ok(done.n_steps)
    }

    /// One step of 1 to [`LANES`] symbols.
    fn step(&mut self, out: &mut [u8]) -> Result<()> {
        let mut symbols = [0; LANES];
        let symbols = &mut symbols[..out.len()];
        self.inner.step(&[0; LANES][..out.len()], symbols)?;
        let range = self.table.min_symbol..=self.table.max_symbol;
        for (out, symbol) in out.iter_mut().zip(symbols) {
            if !range.contains(symbol) {
                return Err(Error::UnexpectedEscape);
            }
            *out = *symbol as u8;
        }
        Ok(())
    }
}

/// What [`simd::decode_bytes`] does, on every machine: steps until `out` is full or fewer bytes of `words` are left
/// than a step could read. After an escape what it decodes is meaningless.
fn decode_portable(
    slots: &[u32; N_SLOTS],
    states: &mut [u32; LANES],
    out: &mut [[u8; LANES]],
    words: &[u8],
) -> Decoded {
    let mut done = Decoded::default();
    let mut lowest = u32::MAX;
    for out in out {
        let Some(left) = words[done.n_bytes..].first_chunk::<{ 2 * LANES }>() else {
            break;
        };
        let mut n_read = 0;
        for (state, out) in states.iter_mut().zip(out) {
            let slot = slots[(*state & (N_SLOTS as u32 - 1)) as usize];
            lowest = lowest.min(slot);
            *out = (slot >> 12) as u8;
            let next = (slot >> 20) * (*state >> BYTE_PRECISION) + (slot & 0xfff);
            // At most one word was read for each lane before this one, so the remainder changes nothing.
            let at = n_read % (2 * LANES);
            let word = u32::from(u16::from_le_bytes([left[at], left[(at + 1) % (2 * LANES)]]));
            let low = next < STATE_LOW;
            *state = if low { next << 16 | word } else { next };
            n_read += 2 * usize::from(low);
        }
        done.n_bytes += n_read;
        done.n_steps += 1;
    }
    done.escaped = lowest >> 20 == 0;
    done
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{StreamEncoder, decode_symbols};

    /// A table of the bytes from `min` on.
    fn table(counts: &[u64], min: u8) -> CdfTable {
        CdfTable::from_counts(counts, i32::from(min), BYTE_PRECISION).expect("valid")
    }

    fn decode(table: &CdfTable, backend: Backend, bytes: &[u8], n: usize) -> Result<Vec<u8>> {
        let table = ByteTable::with_backend(table, backend)?;
        let mut decoder = ByteDecoder::new(&table, bytes)?;
        let mut out = vec![0; n];
        // In two calls: a decoder goes on where it stopped.
        let (front, back) = out.split_at_mut(n / 2 / LANES * LANES);
        decoder.decode(front)?;
        decoder.decode(back)?;
        decoder.finish()?;
        Ok(out)
    }

    fn arbitrary() -> impl Strategy<Value = (CdfTable, Vec<u8>)> {
        let counts = prop::collection::vec(prop_oneof![0..5_u64, 0..5000_u64], 1..200);
        let symbols = prop::collection::vec(any::<u8>(), 0..6000);
        (counts, 0..56_u8, symbols).prop_map(|(mut counts, min, mut symbols)| {
            counts[0] += 1;
            for symbol in &mut symbols {
                // Small symbols are more frequent, so that states are of every size.
                *symbol = min + (u16::from(*symbol).pow(2) / 256) as u8 % counts.len() as u8;
            }
            (table(&counts, min), symbols)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_backend_agrees((table, symbols) in arbitrary()) {
            let tables = TableSet::new(vec![table.clone()]).unwrap();
            let mut encoder = StreamEncoder::new(&tables);
            encoder.push_bytes(0, &symbols).unwrap();
            let bytes = encoder.finish();
            for &backend in Backend::ALL {
                prop_assert_eq!(decode(&table, backend, &bytes, symbols.len()), Ok(symbols.clone()));
            }
            let wide = decode_symbols(&DecodeTables::new(&tables), &bytes, &vec![0; symbols.len()]).unwrap();
            prop_assert!(wide.iter().eq(symbols.iter().map(|&s| i32::from(s)).collect::<Vec<_>>().iter()));
        }

        #[test]
        fn damage_is_no_panic_and_the_same_for_every_backend(
            (table, symbols) in arbitrary(),
            at in any::<prop::sample::Index>(),
            flip in 1..=u8::MAX,
            n in 0..7000_usize,
        ) {
            let tables = TableSet::new(vec![table.clone()]).unwrap();
            let mut encoder = StreamEncoder::new(&tables);
            encoder.push_bytes(0, &symbols).unwrap();
            let mut bytes = encoder.finish();
            *at.get_mut(&mut bytes) ^= flip;
            let portable = decode(&table, Backend::Portable, &bytes, n);
            for &backend in Backend::ALL {
                prop_assert_eq!(decode(&table, backend, &bytes, n).ok(), portable.clone().ok());
            }
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), n in 0..300_usize) {
            let _ = decode(&table(&[1, 2, 3, 4000], 0), Backend::best(), &bytes, n);
        }
    }

    #[test]
    fn an_escape_is_refused_wherever_it_is() {
        let table = table(&[1, 1], 7);
        let tables = TableSet::new(vec![table.clone()]).unwrap();
        for at in [0, 5000, 9999] {
            let mut symbols = vec![7; 10000];
            symbols[at] = 9;
            let mut encoder = StreamEncoder::new(&tables);
            encoder.push_bulk(&[0; LANES], &symbols).unwrap();
            let bytes = encoder.finish();
            for &backend in Backend::ALL {
                assert_eq!(
                    decode(&table, backend, &bytes, 10000),
                    Err(Error::UnexpectedEscape)
                );
            }
        }
    }

    #[test]
    fn tables_of_other_kinds_are_refused() {
        let other = |offset, precision| CdfTable::from_counts(&[1, 1], offset, precision).unwrap();
        assert_eq!(
            ByteTable::new(&other(0, 14)).unwrap_err(),
            Error::PrecisionOutOfRange {
                precision: 14,
                min: 12,
                max: 12
            }
        );
        for min_symbol in [-1, 255] {
            assert_eq!(
                ByteTable::new(&other(min_symbol, 12)).unwrap_err(),
                Error::NotBytes {
                    min_symbol,
                    max_symbol: min_symbol + 1
                }
            );
        }
    }
}
