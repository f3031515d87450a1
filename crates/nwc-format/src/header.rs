//! The safetensors header: names, dtypes, shapes and places, with nothing of ours in it.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;

use safetensors::tensor::{Metadata, TensorInfo};

use crate::json::count_outside_strings;
use crate::layout::{HEADER_ALIGNMENT, LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY, PADDING};
use crate::raw::RawHeader;
use crate::{DType, Error, Limits, Result};

/// One tensor of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Where its bytes are, counted from the start of the file.
    pub range: Range<u64>,
}

impl Entry {
    /// Its length in bytes.
    pub fn n_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The header of any safetensors file, validated: the entries cover the data without gap or overlap, every length
/// agrees with dtype and shape, and no name is there twice.
#[derive(Debug, Clone)]
pub struct Header {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

/// Length of the header with its length prefix, in bytes, from the first 8 bytes of a file of `file_bytes` bytes.
///
/// # Errors
/// [`Error::Length`] where the file is too short for the header it announces; [`Error::Limit`] where the header is
/// longer than `limits` allow.
pub fn header_bytes(prefix: [u8; LENGTH_BYTES], file_bytes: u64, limits: &Limits) -> Result<u64> {
    let n_json_bytes = u64::from_le_bytes(prefix);
    if n_json_bytes > limits.max_header_bytes {
        return Err(Error::limit(
            "length of the safetensors header in bytes",
            n_json_bytes,
            limits.max_header_bytes,
        ));
    }
    n_json_bytes
        .checked_add(prefix.len() as u64)
        .filter(|&n| n <= file_bytes)
        .ok_or_else(|| Error::Length {
            what: "the file".into(),
            found: file_bytes,
            expected: format!("at least 8 + {n_json_bytes} for the header it announces"),
        })
}

/// Reads the length prefix and the header off a reader, and nothing more.
pub(crate) fn read_header_bytes(
    mut reader: impl Read,
    file_bytes: u64,
    limits: &Limits,
) -> Result<Vec<u8>> {
    let mut prefix = [0; LENGTH_BYTES];
    if file_bytes < prefix.len() as u64 {
        return Err(too_short(file_bytes));
    }
    reader
        .read_exact(&mut prefix)
        .map_err(Error::io("read the header's length"))?;
    let n_bytes = header_bytes(prefix, file_bytes, limits)?;
    let mut bytes = prefix.to_vec();
    let n_json_bytes = n_bytes - prefix.len() as u64;
    // `take` and growth on demand: a wrong `file_bytes` costs no memory.
    reader
        .take(n_json_bytes)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read the header"))?;
    Ok(bytes)
}

/// The prefix and header at the front of `file_start`, for a file of `file_bytes` bytes.
pub(crate) fn slice_header_bytes<'a>(
    file_start: &'a [u8],
    file_bytes: u64,
    limits: &Limits,
) -> Result<&'a [u8]> {
    let prefix = file_start
        .first_chunk()
        .ok_or_else(|| too_short(file_bytes.min(file_start.len() as u64)))?;
    let n_bytes = header_bytes(*prefix, file_bytes, limits)?;
    usize::try_from(n_bytes)
        .ok()
        .and_then(|n| file_start.get(..n))
        .ok_or_else(|| Error::Length {
            what: "the part of the file that was read".into(),
            found: file_start.len() as u64,
            expected: format!("at least {n_bytes} for the header"),
        })
}

fn too_short(file_bytes: u64) -> Error {
    Error::Length {
        what: "the file".into(),
        found: file_bytes,
        expected: "at least 8 for the header's length".into(),
    }
}

impl Header {
    /// Reads the header at the front of `file_start`, which must hold all of it; the file is `file_bytes` long.
    ///
    /// # Errors
    /// Format and limit errors; see the type.
    pub fn parse(file_start: &[u8], file_bytes: u64, limits: &Limits) -> Result<Self> {
        Self::from_bytes(
            slice_header_bytes(file_start, file_bytes, limits)?,
            file_bytes,
            limits,
        )
    }

    /// Reads only the header from a reader that stands at the start of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] where reading fails; format and limit errors as [`Self::parse`].
    pub fn read(reader: impl Read, file_bytes: u64, limits: &Limits) -> Result<Self> {
        Self::parse(
            &read_header_bytes(reader, file_bytes, limits)?,
            file_bytes,
            limits,
        )
    }

    /// `header` is the length prefix and the header, no more.
    fn from_bytes(header: &[u8], file_bytes: u64, limits: &Limits) -> Result<Self> {
        let json = header.get(LENGTH_BYTES..).unwrap_or(&[]);
        // Each tensor is an object, the header another, and so is the metadata where there is any.
        let n_objects = count_outside_strings(json, b'{').saturating_sub(2);
        limits.check_tensors("tensors in the header", n_objects)?;
        let raw: RawHeader = serde_json::from_slice(json).map_err(|source| Error::Json {
            what: "the safetensors header".into(),
            source,
        })?;
        limits.check_tensors("tensors in the header", raw.entries.len())?;
        Self::from_raw(raw, header.len() as u64, file_bytes, limits)
    }

    fn from_raw(raw: RawHeader, data_start: u64, file_bytes: u64, limits: &Limits) -> Result<Self> {
        let mut entries = Vec::with_capacity(raw.entries.len());
        for (name, entry) in raw.entries {
            let dtype: DType = entry.dtype.parse().map_err(|_| Error::UnknownDType {
                tensor: name.clone(),
                found: entry.dtype.clone(),
            })?;
            let shape = entry.shape.0;
            let n_bytes = limits.check_decoded(&name, dtype, &shape)?;
            let (start, end) = entry.data_offsets;
            if end.checked_sub(start) != Some(n_bytes) {
                return Err(Error::Section {
                    section: name,
                    found: format!("lies at {start}..{end}"),
                    expected: format!("{n_bytes} bytes for {dtype} {shape:?}"),
                });
            }
            let in_file = |offset: u64| data_start.checked_add(offset);
            let (Some(start), Some(end)) = (in_file(start), in_file(end)) else {
                return Err(Error::Section {
                    section: name,
                    found: format!("lies at {start}..{end}"),
                    expected: "offsets below 2^64".into(),
                });
            };
            entries.push(Entry {
                name,
                dtype,
                shape,
                range: start..end,
            });
        }
        entries.sort_by_key(|entry| (entry.range.start, entry.range.end));
        check_contiguous(&entries, data_start, file_bytes)?;
        check_with_safetensors(&entries, data_start)?;
        let by_name = entries
            .iter()
            .enumerate()
            .map(|(idx, e)| (e.name.clone(), idx))
            .collect();
        Ok(Self {
            entries,
            by_name,
            metadata: raw.metadata,
        })
    }

    /// The tensors, in the order of their bytes.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tensor called `name`.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.by_name
            .get(name)
            .and_then(|&idx| self.entries.get(idx))
    }

    /// The strings under `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// No gap, no overlap, nothing after the last one: no byte escapes the digests.
fn check_contiguous(entries: &[Entry], data_start: u64, file_bytes: u64) -> Result<()> {
    let mut next = data_start;
    for entry in entries {
        if entry.range.start != next {
            return Err(Error::Section {
                section: entry.name.clone(),
                found: format!("starts at byte {} of the file", entry.range.start),
                expected: format!("{next}, where the one before it ends"),
            });
        }
        next = entry.range.end;
    }
    if next != file_bytes {
        return Err(Error::Length {
            what: "the file".into(),
            found: file_bytes,
            expected: format!("{next}, where the last tensor ends"),
        });
    }
    Ok(())
}

/// The safetensors crate's own validation, so that what we accept it accepts too.
fn check_with_safetensors(entries: &[Entry], data_start: u64) -> Result<()> {
    let place = |offset: u64| usize::try_from(offset - data_start).unwrap_or(usize::MAX);
    let infos = entries.iter().map(|entry| {
        let info = TensorInfo {
            dtype: entry.dtype.to_plain(),
            shape: entry.shape.clone(),
            data_offsets: (place(entry.range.start), place(entry.range.end)),
        };
        (entry.name.clone(), info)
    });
    Metadata::new(None, infos.collect())
        .map(drop)
        .map_err(|source| Error::Safetensors { source })
}

/// The bytes of a header: length prefix, compact JSON with `__metadata__` first and entries in the order given, padded
/// to at least `reserve` bytes after the prefix. Offsets are relative to the start of the data, so the header's own
/// length changes none of them.
pub(crate) fn encode(
    entries: &[(String, DType, Vec<usize>, Range<u64>)],
    metadata: &BTreeMap<String, String>,
    reserve: usize,
) -> Result<Vec<u8>> {
    let json_error = |source| Error::Json {
        what: "the safetensors header".into(),
        source,
    };
    let mut out = vec![0; LENGTH_BYTES];
    out.push(b'{');
    if !metadata.is_empty() {
        serde_json::to_writer(&mut out, METADATA_KEY).map_err(json_error)?;
        out.push(b':');
        serde_json::to_writer(&mut out, metadata).map_err(json_error)?;
    }
    for (name, dtype, shape, range) in entries {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, name).map_err(json_error)?;
        let shape = serde_json::to_string(shape).map_err(json_error)?;
        let (start, end) = (range.start, range.end);
        out.extend_from_slice(
            format!(r#":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
                .as_bytes(),
        );
    }
    out.push(b'}');
    let n_json_bytes = (out.len() - LENGTH_BYTES)
        .max(reserve)
        .next_multiple_of(HEADER_ALIGNMENT);
    if n_json_bytes as u64 > MAX_HEADER_BYTES {
        return Err(Error::argument(
            "length of the header in bytes",
            n_json_bytes.to_string(),
            format!("at most {MAX_HEADER_BYTES}, which takes fewer tensors in a file"),
        ));
    }
    out.resize(LENGTH_BYTES + n_json_bytes, PADDING);
    if let Some(prefix) = out.first_chunk_mut() {
        *prefix = (n_json_bytes as u64).to_le_bytes();
    }
    Ok(out)
}
