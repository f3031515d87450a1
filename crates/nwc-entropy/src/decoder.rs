//! One substream in, symbols out.

mod bytes;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::layout::{self, Header, Parts};
use crate::lookup::DecodeTables;
use crate::{LANES, STATE_LOW, escape, simd};

pub use bytes::{BYTE_PRECISION, ByteDecoder, ByteTable};

/// Decodes one substream, step by step, as it was encoded.
///
/// It is handed the same table indices and step lengths as the encoder. After an error what it decodes is
/// meaningless (and still safe to ask for).
#[derive(Debug, Clone)]
pub struct StreamDecoder<'a> {
    tables: &'a DecodeTables,
    /// `None` for the substream of no steps.
    header: Option<Header>,
    steps_left: u32,
    /// Invariant: those of the first `n_lanes` lanes are normalised, from `2^16` on.
    states: [u32; LANES],
    words: Words<'a>,
    /// The tail's words once the tail is reached: `tail[..n]` from position `tail_at`.
    tail: Option<Tail>,
    escapes: &'a [u8],
    escape_at: usize,
}

/// Words not yet read.
#[derive(Debug, Clone, Copy)]
struct Words<'a> {
    left: &'a [u8],
    n_words: usize,
}

/// The words that the lanes other than 0 end with.
#[derive(Debug, Clone, Copy)]
struct Tail {
    words: [u16; LANES],
    n_words: usize,
    at: usize,
}

impl<'a> StreamDecoder<'a> {
    /// A decoder of `bytes`, one whole substream. Takes no memory besides itself.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::InvalidVarint`], [`Error::InvalidHeader`], [`Error::StateOutOfRange`],
    /// [`Error::TrailingBytes`].
    pub fn new(tables: &'a DecodeTables, bytes: &'a [u8]) -> Result<Self> {
        let words = |left: &'a [u8]| Words {
            left,
            n_words: left.len() / 2,
        };
        let mut decoder = Self {
            tables,
            header: None,
            steps_left: 0,
            states: [STATE_LOW; LANES],
            words: words(&[]),
            tail: None,
            escapes: &[],
            escape_at: 0,
        };
        if let Some(Parts {
            header,
            states,
            words: left,
            escapes,
        }) = layout::read(bytes)?
        {
            decoder.steps_left = header.n_steps;
            decoder.states = states;
            decoder.words = words(left);
            decoder.escapes = escapes;
            if header.n_lanes == 1 {
                decoder.tail = Some(Tail {
                    words: [0; LANES],
                    n_words: 0,
                    at: 0,
                });
            }
            decoder.header = Some(header);
        }
        Ok(decoder)
    }

    /// Steps not yet decoded.
    pub fn steps_left(&self) -> u32 {
        self.steps_left
    }

    /// Decodes one step: `out[l]` by table `table_idx[l]` from lane `l`. A step of no symbols is no step.
    ///
    /// # Errors
    /// The caller's: [`Error::StepTooLong`], [`Error::LengthMismatch`], [`Error::TableIndexOutOfRange`]. The bytes':
    /// [`Error::StepsExhausted`], [`Error::StepTooWide`], [`Error::WordsExhausted`], [`Error::InvalidEscape`],
    /// [`Error::FinalState`], [`Error::WordsLeft`].
    pub fn decode_step(&mut self, table_idx: &[u16], out: &mut [i32]) -> Result<()> {
        if out.len() > LANES {
            return Err(Error::StepTooLong {
                len: out.len(),
                max: LANES,
            });
        }
        self.decode_all(table_idx, out)
    }

    /// Decodes `out` in steps of [`LANES`], the last of which may be shorter; `table_idx` has one table a symbol.
    ///
    /// # Errors
    /// As [`StreamDecoder::decode_step`].
    pub fn decode_all(&mut self, table_idx: &[u16], out: &mut [i32]) -> Result<()> {
        if table_idx.len() != out.len() {
            return Err(Error::LengthMismatch {
                n_table_idx: table_idx.len(),
                n_symbols: out.len(),
            });
        }
        self.check_tables(table_idx)?;
        self.decode::<false>(table_idx, out)
    }

    /// As [`StreamDecoder::decode_all`], where lane `l` uses table `table_of_lane[l]` in every step: the fastest way.
    ///
    /// # Errors
    /// As [`StreamDecoder::decode_step`].
    pub fn decode_bulk(&mut self, table_of_lane: &[u16; LANES], out: &mut [i32]) -> Result<()> {
        self.check_tables(table_of_lane)?;
        self.decode::<true>(table_of_lane, out)
    }

    /// Decodes `out` by valid table indices: one for each lane (`BULK`), or one for each symbol.
    fn decode<const BULK: bool>(
        &mut self,
        mut table_idx: &[u16],
        mut out: &mut [i32],
    ) -> Result<()> {
        while !out.is_empty() {
            let n_fast = self.fast_steps::<BULK>(table_idx, out)?;
            let n_symbols = if n_fast > 0 {
                n_fast * LANES
            } else {
                let n_symbols = out.len().min(LANES);
                self.step(&table_idx[..n_symbols], &mut out[..n_symbols])?;
                n_symbols
            };
            out = &mut out[n_symbols..];
            if !BULK {
                table_idx = &table_idx[n_symbols..];
            }
        }
        Ok(())
    }

    /// Decodes whole steps in the lanes while that is possible without a check of each word; returns how many.
    fn fast_steps<const BULK: bool>(
        &mut self,
        table_idx: &[u16],
        out: &mut [i32],
    ) -> Result<usize> {
        let Some(header) = self.header else {
            return Ok(0);
        };
        let max_steps = self.steps_left - header.n_tail_steps.min(self.steps_left);
        if self.tail.is_some()
            || header.n_lanes != LANES
            || self.tables.backend == Backend::Portable
        {
            return Ok(0);
        }
        let steps = out.as_chunks_mut().0;
        let n_steps = steps.len().min(max_steps as usize);
        let done = simd::decode::<BULK>(
            self.tables,
            &mut self.states,
            table_idx,
            &mut steps[..n_steps],
            self.words.left,
        );
        if done.n_steps == 0 {
            return Ok(0);
        }
        self.words.left = &self.words.left[done.n_bytes..];
        self.steps_left -= done.n_steps as u32;
        if done.escaped {
            // Steps end with the first escape.
            let last = LANES * (done.n_steps - 1)..LANES * done.n_steps;
            let table_idx = if BULK {
                table_idx
            } else {
                &table_idx[last.clone()]
            };
            self.read_escapes(table_idx, &mut out[last])?;
        }
        if self.steps_left == header.n_tail_steps {
            self.enter_tail(header.n_lanes)?;
        }
        Ok(done.n_steps)
    }

    fn check_tables(&self, table_idx: &[u16]) -> Result<()> {
        let n_tables = self.tables.n_tables();
        // The largest first: this compiles to a vector loop.
        let largest = table_idx.iter().copied().max().unwrap_or(0);
        if usize::from(largest) >= n_tables {
            return Err(Error::TableIndexOutOfRange {
                table_idx: largest,
                n_tables,
            });
        }
        Ok(())
    }

    /// One step of 1 to `LANES` symbols with valid table indices.
    #[inline]
    fn step(&mut self, table_idx: &[u16], out: &mut [i32]) -> Result<()> {
        let header = match self.header {
            Some(header) if self.steps_left > 0 => header,
            _ => {
                return Err(Error::StepsExhausted {
                    n_steps: self.header.map_or(0, |h| h.n_steps),
                });
            }
        };
        if self.tail.is_some() {
            self.step_in_tail(table_idx, out)?;
            self.steps_left -= 1;
            return Ok(());
        }
        if out.len() > header.n_lanes {
            return Err(Error::StepTooWide {
                len: out.len(),
                n_lanes: header.n_lanes,
            });
        }
        self.step_in_lanes(table_idx, out)?;
        self.steps_left -= 1;
        if self.steps_left == header.n_tail_steps {
            self.enter_tail(header.n_lanes)?;
        }
        Ok(())
    }

    fn step_in_lanes(&mut self, table_idx: &[u16], out: &mut [i32]) -> Result<()> {
        let mut n_read = 0;
        // A whole step's words if that many are left; else what is left, and then zeros that are noticed below.
        let mut last = [0; 2 * LANES];
        let words: &[u8; 2 * LANES] = self.words.left.first_chunk().unwrap_or_else(|| {
            last[..self.words.left.len()].copy_from_slice(self.words.left);
            &last
        });
        let mut escaped = false;
        for ((state, &idx), out) in self.states.iter_mut().zip(table_idx).zip(out.iter_mut()) {
            let (symbol, is_escape, next) = self.tables.pop(idx, *state);
            escaped |= is_escape;
            *out = symbol;
            let word = u16::from_le_bytes([
                words[(2 * n_read) % (2 * LANES)],
                words[(2 * n_read + 1) % (2 * LANES)],
            ]);
            let low = next < STATE_LOW;
            *state = if low {
                next << 16 | u32::from(word)
            } else {
                next
            };
            n_read += usize::from(low);
        }
        match self.words.left.get(2 * n_read..) {
            Some(left) => self.words.left = left,
            None => {
                return Err(Error::WordsExhausted {
                    n_words: self.words.n_words,
                });
            }
        }
        if escaped {
            self.read_escapes(table_idx, out)
        } else {
            Ok(())
        }
    }

    /// Replaces the escapes among `out` by the symbols that they stand for.
    #[cold]
    fn read_escapes(&mut self, table_idx: &[u16], out: &mut [i32]) -> Result<()> {
        for (out, &idx) in out.iter_mut().zip(table_idx) {
            let range = &self.tables.ranges[usize::from(idx)];
            // What the lookup gives for the escape is no symbol of the table.
            if *out == range.max_symbol().wrapping_add(1) {
                *out = escape::read(
                    self.escapes,
                    &mut self.escape_at,
                    range.min_symbol,
                    range.max_symbol(),
                )?;
            }
        }
        Ok(())
    }

    /// The lanes end: what the low halves of their states hold are the words of the tail.
    fn enter_tail(&mut self, n_lanes: usize) -> Result<()> {
        if !self.words.left.is_empty() {
            return Err(Error::WordsLeft {
                n_words: self.words.left.len() / 2,
            });
        }
        let mut words = [0; LANES];
        for (lane, &found) in self.states.iter().enumerate().take(n_lanes).skip(1) {
            if found >> 16 != STATE_LOW >> 16 {
                return Err(Error::FinalState {
                    lane,
                    found,
                    expected: STATE_LOW,
                });
            }
            words[lane - 1] = found as u16;
        }
        self.tail = Some(Tail {
            words,
            n_words: n_lanes - 1,
            at: 0,
        });
        Ok(())
    }

    fn step_in_tail(&mut self, table_idx: &[u16], out: &mut [i32]) -> Result<()> {
        let mut escaped = false;
        for (&idx, out) in table_idx.iter().zip(out.iter_mut()) {
            let (symbol, is_escape, next) = self.tables.pop(idx, self.states[0]);
            escaped |= is_escape;
            *out = symbol;
            self.states[0] = if next < STATE_LOW {
                next << 16 | u32::from(self.next_tail_word()?)
            } else {
                next
            };
        }
        if escaped {
            self.read_escapes(table_idx, out)
        } else {
            Ok(())
        }
    }

    fn next_tail_word(&mut self) -> Result<u16> {
        let exhausted = Error::WordsExhausted {
            n_words: self.words.n_words,
        };
        let tail = self.tail.as_mut().ok_or(exhausted.clone())?;
        if tail.n_words > 0 {
            // Lanes were used: theirs are all the words there are.
            let word = tail.words[..tail.n_words]
                .get(tail.at)
                .copied()
                .ok_or(exhausted)?;
            tail.at += 1;
            return Ok(word);
        }
        let (&word, left) = self.words.left.split_first_chunk().ok_or(exhausted)?;
        self.words.left = left;
        Ok(u16::from_le_bytes(word))
    }

    /// Checks that the substream was decoded to its end and ended as it must: every step, word and escape used, every
    /// lane back in its first state.
    ///
    /// # Errors
    /// [`Error::StepsLeft`], [`Error::FinalState`], [`Error::WordsLeft`], [`Error::TrailingBytes`].
    pub fn finish(self) -> Result<()> {
        let Some(header) = self.header else {
            return Ok(());
        };
        if self.steps_left > 0 {
            return Err(Error::StepsLeft {
                steps_left: self.steps_left,
                n_steps: header.n_steps,
            });
        }
        let (found, expected) = (self.states[0], header.final_state());
        if found != expected {
            return Err(Error::FinalState {
                lane: 0,
                found,
                expected,
            });
        }
        // Lanes that had no word of the tail to hold started with a zero.
        if let Some(tail) = self.tail {
            for (lane, &word) in (1..).zip(&tail.words[..tail.n_words]).skip(tail.at) {
                if word != 0 {
                    let found = STATE_LOW | u32::from(word);
                    return Err(Error::FinalState {
                        lane,
                        found,
                        expected: STATE_LOW,
                    });
                }
            }
        }
        if !self.words.left.is_empty() {
            return Err(Error::WordsLeft {
                n_words: self.words.left.len() / 2,
            });
        }
        match self.escapes.len() - self.escape_at {
            0 => Ok(()),
            n_bytes => Err(Error::TrailingBytes {
                what: "escapes",
                n_bytes,
            }),
        }
    }
}
