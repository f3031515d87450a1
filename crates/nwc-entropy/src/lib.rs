//! Integer CDF tables and interleaved rANS streams; no float decides a symbol.
//!
//! # How it is used
//! ```
//! use nwc_entropy::{CdfTable, DecodeTables, TableSet, decode_symbols, encode_symbols};
//!
//! # fn main() -> nwc_entropy::Result<()> {
//! // Symbols -1, 0, 1 with these probabilities; what is missing to 1 is the escape's.
//! let table = CdfTable::from_pmf(&[0.2, 0.5, 0.25], -1, 14)?;
//! let tables = TableSet::new(vec![table])?;
//! let symbols = [0, 0, 1, -1, 0, 7, 0, 1];
//! let table_idx = [0; 8];
//! let bytes = encode_symbols(&tables, &table_idx, &symbols)?;
//! let decode_tables = DecodeTables::new(&tables);
//! assert_eq!(decode_symbols(&decode_tables, &bytes, &table_idx)?, symbols);
//! # Ok(())
//! # }
//! ```
//!
//! # Which precision?
//! A table set has one precision, [`MIN_PRECISION`] to [`MAX_PRECISION`] bits. TL;DR: take [`DEFAULT_PRECISION`].
//! A state is at least `2^16`, so at 16 bits the smallest states cannot tell the slots of a table apart well: that
//! costs about `0.004 · 4^(precision − 16)` bits a symbol (measured in `tests/size.rs`).
//! * 16 bits: 0.0034 bit a symbol lost for a source of 2 bits, 0.0043 for one of 4 bits. More than 0.2 % in all for a
//!   substream of 2^18 symbols of 2 bits; within it from 3 bits on.
//! * 14 bits: 0.0001 bit lost, which with all overhead is 0.08 % of such a substream.
//! * 12 bits: one exact lookup for each slot, a little faster; but each symbol of a table, however rare, takes 1/4096
//!   of the mass: for tables of few symbols.
//!
//! # How fast?
//! Lookups are made once ([`DecodeTables`]). [`StreamDecoder::decode_bulk`] and [`StreamEncoder::push_bulk`], where
//! each lane keeps its table, are the fastest; [`StreamDecoder::decode_all`] takes a table for each symbol; a call for
//! each step costs most. For bytes of one table, [`ByteDecoder`] is faster still: one lookup a symbol.
//! AVX2, AVX-512 and NEON are used where they are found ([`Backend`]), in whole steps of
//! [`LANES`] symbols; encoders do at a precision of 10 bits and more.
//!
//! # Substreams
//! One substream is one call of [`StreamEncoder::finish`], decoded by one [`StreamDecoder`]. Substreams know
//! nothing of each other, so they decode on as many cores as there are. Their layout is normative:
//!
#![doc = include_str!("../FORMAT-NOTES.md")]
//!
//! # References
//! 1. Duda, J.: Asymmetric numeral systems (2013), arXiv 1311.2540.
//! 2. Giesen, F.: Interleaved entropy coders (2014), arXiv 1402.3392.
#![deny(unsafe_code)]

mod backend;
mod decoder;
mod encoder;
mod error;
mod escape;
mod flat;
mod layout;
mod lookup;
mod masses;
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
))]
mod places;
mod simd;
mod table;
mod table_set;
#[cfg(test)]
mod tests;
mod varint;

pub use backend::Backend;
pub use decoder::{BYTE_PRECISION, ByteDecoder, ByteTable, StreamDecoder};
pub use encoder::StreamEncoder;
pub use error::{Error, Result};
pub use flat::{decode_symbols, encode_symbols, ideal_bits};
pub use lookup::DecodeTables;
pub use table::CdfTable;
pub use table_set::TableSet;

/// Lanes of a stream: the most symbols of one step.
pub const LANES: usize = 32;
/// Least number of bits that a table set's probabilities may have.
pub const MIN_PRECISION: u32 = 8;
/// Largest number of bits that a table set's probabilities may have.
pub const MAX_PRECISION: u32 = 16;
/// The precision to take where nothing speaks for another one.
pub const DEFAULT_PRECISION: u32 = 14;
/// Most tables in one set: their indices are `u16`.
pub const MAX_TABLES: usize = 1 << 16;

/// Most bins, over all tables of a set; escapes count.
pub const MAX_BINS: usize = 1 << 24;

/// Least value of a normalised state; states are below `2^32`.
const STATE_LOW: u32 = 1 << 16;
