//! The tables section: how each plane is stored, and the probabilities of those that are coded.
//!
//! | field | type | meaning |
//! |---|---|---|
//! | version | u8 | 1 |
//! | mantissa bits | u8 | k, 0 to 2; not 0 in bf16 and f32 only, where plane 0 is coded and plane 1 raw |
//! | base | u16, little endian | symbol s > 0 of plane 0 stands for value s + base, less than 2^(8+k); 0 unless plane 0 is coded and an element has more bytes |
//! | for each plane: | | |
//! | mode | u8 | 0 raw, 1 constant, 2 coded |
//! | value | u8 | of constant planes only |
//! | tables | the rest | if any plane is coded: a table set with one table of bytes for each, of 12 bits |
//!
//! A substream is made for each [`super::SUBSTREAM_ELEMS`] elements and each plane that is not constant: those of
//! the first elements first, in the order of the planes. Plane 1 beside k mantissa bits in plane 0 has k unused high
//! bits, packed away as `bits.rs` says.

use nwc_entropy::{ByteTable, CdfTable, TableSet};

use super::error::{Error, Result};
use super::split::Alphabet;
use super::{PackedType, SUBSTREAM_ELEMS};

/// First byte of the section.
const VERSION: u8 = 1;

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const CODED: u8 = 2;

/// How one plane is stored.
#[derive(Debug, Clone)]
pub(super) enum Plane {
    /// Its bytes as they are, packed if high bits are unused.
    Raw,
    /// Every byte is this one; it has no substreams.
    Constant(u8),
    /// By rANS.
    Coded(Box<ByteTable>),
}

/// What the tables section says, ready to decode with.
#[derive(Debug, Clone)]
pub struct Tables {
    pub(super) kind: PackedType,
    pub(super) alphabet: Alphabet,
    /// As many as an element has bytes.
    pub(super) planes: Vec<Plane>,
}

/// How a plane is to be stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    Raw,
    Constant(u8),
    Coded(CdfTable),
}

/// The section's bytes.
pub(super) fn write(alphabet: Alphabet, plans: &[Plan]) -> Vec<u8> {
    let mut bytes = vec![VERSION, alphabet.n_mantissa_bits as u8];
    bytes.extend(alphabet.base.to_le_bytes());
    let mut tables = Vec::new();
    for plan in plans {
        match plan {
            Plan::Raw => bytes.push(RAW),
            Plan::Constant(value) => bytes.extend([CONSTANT, *value]),
            Plan::Coded(table) => {
                bytes.push(CODED);
                tables.push(table.clone());
            }
        }
    }
    if let Ok(tables) = TableSet::new(tables) {
        bytes.extend(tables.to_bytes());
    }
    bytes
}

impl Tables {
    /// Reads a tables section; memory is bounded by a constant times the length of `bytes`.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Field`], [`Error::Tables`].
    pub fn parse(kind: PackedType, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        reader.field("version", VERSION, VERSION)?;
        let max_bits = kind.max_mantissa_bits() as u8;
        let n_mantissa_bits = u32::from(reader.field("number of mantissa bits", 0, max_bits)?);
        let base = u16::from_le_bytes([reader.byte("base")?, reader.byte("base")?]);
        let mut modes = Vec::with_capacity(kind.n_bytes());
        for _ in 0..kind.n_bytes() {
            let mode = reader.field("plane mode", RAW, CODED)?;
            let value = match mode {
                CONSTANT => reader.byte("constant")?,
                _ => 0,
            };
            modes.push((mode, value));
        }
        if n_mantissa_bits > 0 {
            check("mode of plane 0", modes[0].0, CODED)?;
            check("mode of plane 1", modes[1].0, RAW)?;
        }
        let rest = &bytes[reader.at..];
        let n_coded = modes.iter().filter(|&&(mode, _)| mode == CODED).count();
        let tables = read_tables(rest, n_coded)?;
        let max_base = match tables.first() {
            Some(table) if modes[0].0 == CODED && kind != PackedType::Byte => {
                (Alphabet::n_values(n_mantissa_bits) - 1) as u64 - u64::from(table.max_symbol())
            }
            _ => 0,
        };
        if u64::from(base) > max_base {
            return Err(Error::Field {
                field: "base",
                found: base.into(),
                min: 0,
                max: max_base,
            });
        }
        let mut tables = tables.into_iter();
        let planes = modes.into_iter().map(|(mode, value)| match mode {
            CONSTANT => Plane::Constant(value),
            // There are as many tables as coded planes.
            CODED => tables
                .next()
                .map_or(Plane::Raw, |table| Plane::Coded(Box::new(table))),
            _ => Plane::Raw,
        });
        Ok(Self {
            kind,
            alphabet: Alphabet {
                n_mantissa_bits,
                base,
            },
            planes: planes.collect(),
        })
    }

    /// Substreams of each [`SUBSTREAM_ELEMS`] elements.
    pub fn n_parts(&self) -> usize {
        let is_stored = |plane: &&Plane| !matches!(plane, Plane::Constant(_));
        self.planes.iter().filter(is_stored).count()
    }

    /// Substreams of a tensor of `n_elems` elements.
    pub fn n_substreams(&self, n_elems: usize) -> usize {
        n_elems.div_ceil(SUBSTREAM_ELEMS) * self.n_parts()
    }
}

/// The tables of `n_coded` planes, which are all of `bytes`.
fn read_tables(bytes: &[u8], n_coded: usize) -> Result<Vec<ByteTable>> {
    if n_coded == 0 {
        return match bytes.len() {
            0 => Ok(Vec::new()),
            n_bytes => Err(nwc_entropy::Error::TrailingBytes {
                what: "tables of a packed tensor",
                n_bytes,
            }
            .into()),
        };
    }
    let set = TableSet::from_bytes(bytes)?;
    if set.len() != n_coded {
        return Err(Error::Field {
            field: "number of tables",
            found: set.len() as u64,
            min: n_coded as u64,
            max: n_coded as u64,
        });
    }
    let tables = set.tables().iter();
    tables.map(|table| Ok(ByteTable::new(table)?)).collect()
}

fn check(field: &'static str, found: u8, expected: u8) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Field {
        field,
        found: found.into(),
        min: expected.into(),
        max: expected.into(),
    })
}

/// Reads bytes from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self, what: &'static str) -> Result<u8> {
        let &byte = self.bytes.get(self.at).ok_or(Error::Truncated {
            what,
            n_bytes: self.bytes.len(),
        })?;
        self.at += 1;
        Ok(byte)
    }

    fn field(&mut self, field: &'static str, min: u8, max: u8) -> Result<u8> {
        let found = self.byte(field)?;
        if (min..=max).contains(&found) {
            return Ok(found);
        }
        Err(Error::Field {
            field,
            found: found.into(),
            min: min.into(),
            max: max.into(),
        })
    }
}
