//! Writing safetensors files tensor by tensor, when the header is known only at the end.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

use crate::layout::{HEADER_ALIGNMENT, LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY};
use crate::{DType, Error, Result, header};

/// Block in which data moves when the header outgrew its reserve.
const MOVE_BLOCK_BYTES: usize = 1 << 20;

/// A tensor that was written: name, dtype, shape, and place relative to the start of the data.
pub(crate) type Written = (String, DType, Vec<usize>, Range<u64>);

/// Data goes out behind room left for the header; the header follows at the end.
#[derive(Debug)]
pub(crate) struct Stream<W> {
    writer: W,
    reserve: usize,
    written: Vec<Written>,
    names: HashSet<String>,
    n_data_bytes: u64,
}

impl<W: Read + Write + Seek> Stream<W> {
    pub(crate) fn new(mut writer: W, header_reserve_bytes: usize) -> Result<Self> {
        let n_bytes = writer
            .seek(SeekFrom::End(0))
            .map_err(Error::io("seek in the output"))?;
        if n_bytes != 0 {
            return Err(Error::argument(
                "length of the output",
                n_bytes.to_string(),
                "0",
            ));
        }
        let reserve = header_reserve_bytes
            .checked_next_multiple_of(HEADER_ALIGNMENT)
            .filter(|&n| n as u64 <= MAX_HEADER_BYTES)
            .ok_or_else(|| {
                Error::argument(
                    "header reserve in bytes",
                    header_reserve_bytes.to_string(),
                    format!("at most {MAX_HEADER_BYTES}"),
                )
            })?;
        // Zeros, so that a file cut off before `finish` announces an empty header and is refused.
        writer
            .write_all(&vec![0; LENGTH_BYTES + reserve])
            .map_err(Error::io("write the header's reserve"))?;
        Ok(Self {
            writer,
            reserve,
            written: Vec::new(),
            names: HashSet::new(),
            n_data_bytes: 0,
        })
    }

    pub(crate) fn push(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<()> {
        let n_bytes = bytes.len() as u64;
        if name == METADATA_KEY || self.names.contains(name) {
            return Err(Error::argument(
                "section name",
                format!("`{name}`"),
                "a name that is not `__metadata__` and not there yet",
            ));
        }
        if dtype.n_bytes(shape) != Some(n_bytes) {
            return Err(Error::argument(
                format!("data of section `{name}`"),
                format!("{n_bytes} bytes"),
                match dtype.n_bytes(shape) {
                    Some(n) => format!("{n} bytes for {dtype} {shape:?}"),
                    None => format!("a shape that fits, not {dtype} {shape:?}"),
                },
            ));
        }
        let doing = || format!("write section `{name}`");
        self.writer.write_all(bytes).map_err(|source| Error::Io {
            doing: doing(),
            source,
        })?;
        let end = self.n_data_bytes + n_bytes;
        self.written.push((
            name.to_owned(),
            dtype,
            shape.to_vec(),
            self.n_data_bytes..end,
        ));
        self.names.insert(name.to_owned());
        self.n_data_bytes = end;
        Ok(())
    }

    /// Bytes of data so far: where the next tensor starts relative to the data's start.
    pub(crate) fn n_data_bytes(&self) -> u64 {
        self.n_data_bytes
    }

    /// The finished header, padded to the reserve; not written yet.
    pub(crate) fn encode_header(&self, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        header::encode(&self.written, metadata, self.reserve)
    }

    /// Writes the header, moving the data first where it outgrew the reserve.
    pub(crate) fn finish(mut self, header: &[u8]) -> Result<W> {
        let reserved = LENGTH_BYTES + self.reserve;
        let from = reserved as u64;
        let to = header.len() as u64;
        if to > from {
            self.move_data(from, to)
                .map_err(Error::io("make room for the header"))?;
        }
        let write = |writer: &mut W| {
            writer.seek(SeekFrom::Start(0))?;
            writer.write_all(header)?;
            writer.seek(SeekFrom::End(0))?;
            writer.flush()
        };
        write(&mut self.writer).map_err(Error::io("write the header"))?;
        Ok(self.writer)
    }

    /// Moves all data from offset `from` up to `to`, last block first, so that nothing is overwritten before it moved.
    fn move_data(&mut self, from: u64, to: u64) -> std::io::Result<()> {
        let mut block = vec![0; MOVE_BLOCK_BYTES];
        let mut n_left = self.n_data_bytes;
        while n_left > 0 {
            let n = n_left.min(MOVE_BLOCK_BYTES as u64);
            n_left -= n;
            let Some(block) = usize::try_from(n).ok().and_then(|n| block.get_mut(..n)) else {
                break;
            };
            self.writer.seek(SeekFrom::Start(from + n_left))?;
            self.writer.read_exact(block)?;
            self.writer.seek(SeekFrom::Start(to + n_left))?;
            self.writer.write_all(block)?;
        }
        Ok(())
    }
}

/// Writes an ordinary safetensors file tensor by tensor, as decompression needs it.
///
/// `W` must be empty, and readable too: where the header outgrows its reserve, data is moved.
#[derive(Debug)]
pub struct PlainWriter<W>(Stream<W>);

impl<W: Read + Write + Seek> PlainWriter<W> {
    /// Leaves `header_reserve_bytes` for the header; [`plain_header_bytes`] gives the exact number.
    ///
    /// # Errors
    /// [`Error::Argument`] where `writer` is not empty; [`Error::Io`].
    pub fn new(writer: W, header_reserve_bytes: usize) -> Result<Self> {
        Stream::new(writer, header_reserve_bytes).map(Self)
    }

    /// Appends a tensor; `bytes` are its elements, row-major, little-endian.
    ///
    /// # Errors
    /// [`Error::Argument`] where the name is taken or `bytes` disagrees with dtype and shape; [`Error::Io`].
    pub fn tensor(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<()> {
        self.0.push(name, dtype, shape, bytes)
    }

    /// Writes the header with `metadata` under `__metadata__`, and gives the writer back, standing at the end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self, metadata: &BTreeMap<String, String>) -> Result<W> {
        let header = self.0.encode_header(metadata)?;
        self.0.finish(&header)
    }
}

/// Bytes to reserve for the header of a plain file that will hold `tensors` in this order: exact.
///
/// # Errors
/// [`Error::Argument`] where a shape overflows.
pub fn plain_header_bytes(
    tensors: &[(String, DType, Vec<usize>)],
    metadata: &BTreeMap<String, String>,
) -> Result<usize> {
    let mut start = 0u64;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, dtype, shape) in tensors {
        let end = dtype
            .n_bytes(shape)
            .and_then(|n| start.checked_add(n))
            .ok_or_else(|| {
                Error::argument(
                    format!("shape of tensor `{name}`"),
                    format!("{shape:?}"),
                    "a whole number of bytes below 2^61",
                )
            })?;
        entries.push((name.clone(), *dtype, shape.clone(), start..end));
        start = end;
    }
    Ok(header::encode(&entries, metadata, 0)?.len() - LENGTH_BYTES)
}
