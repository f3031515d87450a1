//! Substreams in, the bytes of a tensor out.

use nwc_chunk::Parallelism;
use nwc_entropy::ByteDecoder;
use pulp::NullaryFnOnce;

use super::error::{Error, Result};
use super::format::{Plane, Tables};
use super::split::{merge_halves, merge_words};
use super::{PIECE_ELEMS, PackedType, SUBSTREAM_ELEMS, bits};
use crate::parallel::map_each;

/// Restores the bytes of a tensor of `kind` from what [`super::encode`] made of them; `out` says how many they are.
///
/// Takes no memory but for the tables and a few pieces a thread. After an error, what is in `out` is meaningless.
///
/// # Errors
/// [`Error::PartElement`] if `out` is of another length than elements can have; those of [`Tables::parse`] and of
/// [`Tables::decode`].
pub fn decode_into(
    kind: PackedType,
    tables: &[u8],
    substreams: &[&[u8]],
    out: &mut [u8],
    parallelism: Parallelism,
) -> Result<()> {
    Tables::parse(kind, tables)?.decode(substreams, out, parallelism)
}

impl Tables {
    /// Restores a whole tensor, or a run of its substreams: `substreams` and `out` may both start at the same multiple
    /// of [`SUBSTREAM_ELEMS`] elements ([`Tables::n_parts`] substreams each), and end at such a one or with the tensor.
    ///
    /// # Errors
    /// [`Error::PartElement`], [`Error::SubstreamCount`], [`Error::SubstreamLength`], [`Error::Substream`]; the first
    /// one in the order of the substreams.
    pub fn decode(
        &self,
        substreams: &[&[u8]],
        out: &mut [u8],
        parallelism: Parallelism,
    ) -> Result<()> {
        let element_bytes = self.kind.n_bytes();
        if !out.len().is_multiple_of(element_bytes) {
            return Err(Error::PartElement {
                n_bytes: out.len(),
                element_bytes,
            });
        }
        let n_elems = out.len() / element_bytes;
        let expected = self.n_substreams(n_elems);
        if substreams.len() != expected {
            return Err(Error::SubstreamCount {
                found: substreams.len(),
                expected,
                n_elems,
            });
        }
        let n_parts = self.n_parts();
        let groups = out.chunks_mut(SUBSTREAM_ELEMS * element_bytes).enumerate();
        let work = groups.map(|(group, out)| {
            let first = group * n_parts;
            (first, &substreams[first..first + n_parts], out)
        });
        let results = map_each(
            work.collect(),
            parallelism,
            |buffers: &mut Buffers, (first, parts, out)| {
                self.decode_group(first, parts, out, buffers)
            },
        );
        results.into_iter().collect()
    }

    /// Restores the elements of one substream of each plane, the first of which is number `first`.
    fn decode_group(
        &self,
        first: usize,
        parts: &[&[u8]],
        out: &mut [u8],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let n_elems = out.len() / self.kind.n_bytes();
        let mut parts = (first..).zip(parts.iter().copied());
        let mut readers = Vec::with_capacity(self.planes.len());
        for (plane, buffer) in self.planes.iter().zip(&mut buffers.0) {
            let n_high = match readers.len() {
                1 => self.alphabet.n_mantissa_bits,
                _ => 0,
            };
            readers.push(Reader::new(plane, n_high, n_elems, &mut parts, buffer)?);
        }
        for piece in out.chunks_mut(PIECE_ELEMS * self.kind.n_bytes()) {
            if let (PackedType::Byte, Source::Coded(decoder)) = (self.kind, &mut readers[0].source)
            {
                let result = decoder.decode(piece);
                result.map_err(|source| readers[0].error(source))?;
                continue;
            }
            for reader in &mut readers {
                reader.advance(piece.len() / self.kind.n_bytes())?;
            }
            pulp::Arch::new().dispatch(Merge {
                tables: self,
                readers: &mut readers,
                out: piece,
            });
        }
        readers.into_iter().try_for_each(Reader::finish)
    }
}

/// A piece of each plane, where it is not raw.
struct Buffers([[u8; PIECE_ELEMS]; 4]);

impl Default for Buffers {
    fn default() -> Self {
        Self([[0; PIECE_ELEMS]; 4])
    }
}

/// Reads a plane of one group piece by piece.
struct Reader<'a> {
    /// For errors.
    substream_idx: usize,
    source: Source<'a>,
    buffer: &'a mut [u8; PIECE_ELEMS],
    /// Raw bytes of the current piece, packed or not.
    raw: &'a [u8],
}

enum Source<'a> {
    Constant,
    /// What is left, and how many high bits are unused.
    Raw(&'a [u8], u32),
    Coded(Box<ByteDecoder<'a>>),
}

impl<'a> Reader<'a> {
    /// A reader of `plane`, which takes its substream, if it has one, from `parts`.
    fn new(
        plane: &'a Plane,
        n_high: u32,
        n_elems: usize,
        parts: &mut impl Iterator<Item = (usize, &'a [u8])>,
        buffer: &'a mut [u8; PIECE_ELEMS],
    ) -> Result<Self> {
        let mut substream_idx = 0;
        let mut next_part = || {
            // Their number was checked.
            let (idx, part) = parts.next().unwrap_or_default();
            substream_idx = idx;
            part
        };
        let source = match plane {
            Plane::Constant(value) => {
                buffer.fill(*value);
                Source::Constant
            }
            Plane::Raw => {
                let part = next_part();
                let expected = match n_high {
                    0 => n_elems,
                    n_high => bits::packed_len(n_elems, n_high),
                };
                if part.len() != expected {
                    return Err(Error::SubstreamLength {
                        substream_idx,
                        found: part.len(),
                        expected,
                    });
                }
                Source::Raw(part, n_high)
            }
            Plane::Coded(table) => {
                let part = next_part();
                let decoder = ByteDecoder::new(table, part).map_err(|source| Error::Substream {
                    substream_idx,
                    source,
                })?;
                Source::Coded(Box::new(decoder))
            }
        };
        Ok(Self {
            substream_idx,
            source,
            buffer,
            raw: &[],
        })
    }

    fn error(&self, source: nwc_entropy::Error) -> Error {
        Error::Substream {
            substream_idx: self.substream_idx,
            source,
        }
    }

    /// Goes to the next `n` elements.
    fn advance(&mut self, n: usize) -> Result<()> {
        match &mut self.source {
            Source::Constant => Ok(()),
            Source::Raw(left, n_high) => {
                let len = match *n_high {
                    0 => n,
                    n_high => bits::packed_len(n, n_high),
                };
                // Pieces but the last are whole groups, so their lengths add up to the part's, which was checked.
                (self.raw, *left) = left.split_at(len);
                Ok(())
            }
            Source::Coded(decoder) => {
                let result = decoder.decode(&mut self.buffer[..n]);
                result.map_err(|source| self.error(source))
            }
        }
    }

    /// The current piece's `n` bytes.
    #[inline(always)]
    fn piece(&mut self, n: usize) -> &[u8] {
        let buffer = &mut self.buffer[..n];
        match self.source {
            Source::Raw(_, 0) => return self.raw,
            Source::Raw(_, 1) => bits::unpack::<1>(self.raw, buffer),
            Source::Raw(..) => bits::unpack::<2>(self.raw, buffer),
            Source::Constant | Source::Coded(..) => (),
        }
        buffer
    }

    fn finish(self) -> Result<()> {
        match self.source {
            Source::Coded(decoder) => decoder.finish().map_err(|source| Error::Substream {
                substream_idx: self.substream_idx,
                source,
            }),
            Source::Constant | Source::Raw(..) => Ok(()),
        }
    }
}

/// Merges the readers' pieces, with the machine's longest vectors.
struct Merge<'m, 'a> {
    tables: &'m Tables,
    readers: &'m mut [Reader<'a>],
    out: &'m mut [u8],
}

impl NullaryFnOnce for Merge<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let n = self.out.len() / self.tables.kind.n_bytes();
        let alphabet = self.tables.alphabet;
        match self.readers {
            [top, second] => {
                merge_halves(alphabet, top.piece(n), second.piece(n), self.out);
            }
            [top, second, third, fourth] => {
                let planes = [
                    top.piece(n),
                    second.piece(n),
                    third.piece(n),
                    fourth.piece(n),
                ];
                merge_words(alphabet, planes, self.out);
            }
            [only] => self.out.copy_from_slice(only.piece(n)),
            _ => (),
        }
    }
}
