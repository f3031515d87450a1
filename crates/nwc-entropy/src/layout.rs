//! Bytes of a substream: header, states, words, escapes (FORMAT-NOTES.md).
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use crate::error::{Error, Result};
use crate::{LANES, STATE_LOW, varint};

/// What stands before the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Steps of at least one symbol.
    pub(crate) n_steps: u32,
    /// How many of them, at the end, lane 0 codes alone. Invariant: at most `n_steps`.
    pub(crate) n_tail_steps: u32,
    /// Lanes whose states are stored. Invariant: 1 if all steps are in the tail, else 2 to 32.
    pub(crate) n_lanes: usize,
}

impl Header {
    #[expect(clippy::cast_possible_truncation, reason = "at most 32")]
    fn lanes_byte(&self) -> u8 {
        self.n_lanes as u8
    }

    /// The state in which the encoder starts lane 0, and the decoder ends it. Its low half could be anything, so
    /// it vouches for the header.
    pub(crate) fn final_state(&self) -> u32 {
        let mix = (self.n_steps)
            .wrapping_add(self.n_tail_steps.wrapping_mul(0x9e37))
            .wrapping_add(u32::from(self.lanes_byte()).wrapping_mul(0x6a09));
        STATE_LOW | (mix & 0xffff)
    }
}

/// A substream's parts, borrowed.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) header: Header,
    /// States of the first `n_lanes` lanes; the others are not normalised and never used.
    pub(crate) states: [u32; LANES],
    /// Words of 16 bits, least significant byte first.
    pub(crate) words: &'a [u8],
    pub(crate) escapes: &'a [u8],
}

/// Puts a substream together; `words` in the order in which the decoder reads them.
pub(crate) fn write(header: &Header, states: &[u32], words: &[u16], escapes: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + 4 * states.len() + 2 * words.len() + escapes.len());
    varint::write(&mut bytes, u64::from(header.n_steps));
    varint::write(&mut bytes, u64::from(header.n_tail_steps));
    bytes.push(header.lanes_byte());
    varint::write(&mut bytes, words.len() as u64);
    bytes.extend(states.iter().flat_map(|state| state.to_le_bytes()));
    let words_start = bytes.len();
    bytes.resize(words_start + 2 * words.len(), 0);
    // Not `extend`, which would go byte by byte.
    for (bytes, word) in bytes[words_start..].as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes.extend_from_slice(escapes);
    bytes
}

/// Takes a substream apart; allocates nothing. `None` is the substream of no steps.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Parts<'_>>> {
    let mut rest = bytes;
    let n_steps = varint::read_u32(&mut rest, "number of steps", u32::MAX)?;
    if n_steps == 0 {
        return match rest.len() {
            0 => Ok(None),
            n_bytes => Err(Error::TrailingBytes {
                what: "substream",
                n_bytes,
            }),
        };
    }
    let n_tail_steps = varint::read_u32(&mut rest, "number of tail steps", n_steps)?;
    let (&found, mut rest) = rest.split_first().ok_or(Error::Truncated {
        what: "number of lanes",
        needed: 1,
        available: 0,
    })?;
    let allowed = if n_tail_steps == n_steps {
        1..=1
    } else {
        2..=LANES as u64
    };
    if !allowed.contains(&u64::from(found)) {
        let (min, max) = allowed.into_inner();
        return Err(Error::InvalidHeader {
            what: "number of lanes",
            found: u64::from(found),
            min,
            max,
        });
    }
    let n_lanes = usize::from(found);
    let n_words = varint::read(&mut rest, "number of words", u64::from(u32::MAX))?;
    let states_bytes = split(&mut rest, "states", 4 * n_lanes as u64)?;
    let words = split(&mut rest, "words", 2 * n_words)?;
    let mut states = [0; LANES];
    for (lane, (state, bytes)) in states
        .iter_mut()
        .zip(states_bytes.as_chunks().0)
        .enumerate()
    {
        *state = u32::from_le_bytes(*bytes);
        if *state < STATE_LOW {
            return Err(Error::StateOutOfRange {
                lane,
                state: *state,
                min: STATE_LOW,
            });
        }
    }
    let header = Header {
        n_steps,
        n_tail_steps,
        n_lanes,
    };
    Ok(Some(Parts {
        header,
        states,
        words,
        escapes: rest,
    }))
}

fn split<'a>(rest: &mut &'a [u8], what: &'static str, needed: u64) -> Result<&'a [u8]> {
    let (front, back) = usize::try_from(needed)
        .ok()
        .and_then(|needed| rest.split_at_checked(needed))
        .ok_or(Error::Truncated {
            what,
            needed,
            available: rest.len(),
        })?;
    *rest = back;
    Ok(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Error) {
        assert_eq!(read(bytes).unwrap_err(), expected);
    }

    #[test]
    fn format_errors() {
        assert!(read(&[0]).unwrap().is_none());
        let truncated = |what, needed, available| Error::Truncated {
            what,
            needed,
            available,
        };
        let lanes = |found, min, max| Error::InvalidHeader {
            what: "number of lanes",
            found,
            min,
            max,
        };
        check(&[], truncated("number of steps", 1, 0));
        check(
            &[0, 1],
            Error::TrailingBytes {
                what: "substream",
                n_bytes: 1,
            },
        );
        check(
            &[5, 6],
            Error::InvalidVarint {
                what: "number of tail steps",
                max: 5,
            },
        );
        check(&[5, 5], truncated("number of lanes", 1, 0));
        check(&[5, 5, 2], lanes(2, 1, 1));
        check(&[5, 4, 1], lanes(1, 2, 32));
        check(&[5, 4, 33], lanes(33, 2, 32));
        check(&[5, 4, 2, 0, 1, 2, 3], truncated("states", 8, 3));
        check(&[5, 5, 1, 1, 0, 0, 1, 0, 9], truncated("words", 2, 1));
        check(
            &[5, 5, 1, 0, 0xff, 0xff, 0, 0],
            Error::StateOutOfRange {
                lane: 0,
                state: 0xffff,
                min: 0x10000,
            },
        );
        check(
            &[5, 5, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            Error::InvalidVarint {
                what: "number of words",
                max: u64::from(u32::MAX),
            },
        );
    }
}
