//! Reading a shard: its table, its sections, and whether they are what was written.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;

use crate::check::check_shard;
use crate::header::{Header, read_header_bytes, slice_header_bytes};
use crate::layout::{DIGEST_KEY, DIGEST_PATTERN, DIGEST_PLACEHOLDER, TABLE_KEY};
use crate::payload::parse_named;
use crate::{
    CodecRecord, Digest, DigestBuilder, Error, Limits, Result, Section, ShardMetadata,
    TensorRecord, table,
};

/// The header of a shard with its table, validated: enough to list what is in it without reading the data.
#[derive(Debug, Clone)]
pub struct ShardHeader {
    header: Header,
    metadata: ShardMetadata,
    by_name: HashMap<String, usize>,
}

impl ShardHeader {
    /// Reads the header at the front of `file_start`, which must hold all of it; the file is `file_bytes` long.
    ///
    /// The header's digest is checked, and that every section the table lists lies in the file as stated.
    ///
    /// # Errors
    /// [`Error::MissingMetadata`] where the file is safetensors but not a shard of ours, [`Error::Version`],
    /// [`Error::HeaderDigest`], and every other format or limit error.
    pub fn parse(file_start: &[u8], file_bytes: u64, limits: &Limits) -> Result<Self> {
        let bytes = slice_header_bytes(file_start, file_bytes, limits)?;
        let header = Header::parse(bytes, file_bytes, limits)?;
        let mut extra = header.metadata().clone();
        let text = extra
            .remove(TABLE_KEY)
            .ok_or(Error::MissingMetadata { key: TABLE_KEY })?;
        let stored = extra
            .remove(DIGEST_KEY)
            .ok_or(Error::MissingMetadata { key: DIGEST_KEY })?;
        let version = table::version(&text)?;
        let found = header_digest(bytes, &stored)?;
        if found.to_string() != stored {
            return Err(Error::HeaderDigest {
                found,
                expected: stored,
            });
        }
        let metadata = table::from_strings(version, &text, extra, limits)?;
        check_shard(&header, &metadata, limits)?;
        let names = metadata.tensors.iter().enumerate();
        let by_name = names
            .map(|(idx, record)| (record.name.clone(), idx))
            .collect();
        Ok(Self {
            header,
            metadata,
            by_name,
        })
    }

    /// Reads only the header from a reader that stands at the start of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] where reading fails; the others as [`Self::parse`].
    pub fn read(reader: impl Read, file_bytes: u64, limits: &Limits) -> Result<Self> {
        Self::parse(
            &read_header_bytes(reader, file_bytes, limits)?,
            file_bytes,
            limits,
        )
    }

    /// The plain safetensors header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The table.
    pub fn metadata(&self) -> &ShardMetadata {
        &self.metadata
    }

    /// The record of the tensor called `name` in the original checkpoint.
    pub fn record(&self, name: &str) -> Option<&TensorRecord> {
        self.by_name
            .get(name)
            .and_then(|&idx| self.metadata.tensors.get(idx))
    }

    /// Where a section's bytes are, counted from the start of the file.
    ///
    /// # Errors
    /// [`Error::Argument`] where `section` is not one of this shard's.
    pub fn section_range(&self, section: &Section) -> Result<Range<u64>> {
        match self.header.entry(&section.name) {
            Some(entry) if entry.n_bytes() == section.bytes => Ok(entry.range.clone()),
            _ => Err(Error::argument(
                "section",
                format!("`{}` of {} bytes", section.name, section.bytes),
                "one of this shard's sections",
            )),
        }
    }
}

/// A whole shard, mapped or in memory: `B` is whatever holds its bytes, a slice, a vector or a mapped file.
///
/// Nothing is copied. The header's digest is checked on opening, a section's whenever it is asked for.
#[derive(Debug, Clone)]
pub struct Shard<B> {
    head: ShardHeader,
    bytes: B,
}

impl<B: AsRef<[u8]>> Shard<B> {
    /// Validates everything but the sections' digests, which [`Self::section`] and [`Self::verify`] check: opening a
    /// file costs no more than its header.
    ///
    /// # Errors
    /// As [`ShardHeader::parse`].
    pub fn parse(bytes: B, limits: &Limits) -> Result<Self> {
        let file = bytes.as_ref();
        let head = ShardHeader::parse(file, file.len() as u64, limits)?;
        Ok(Self { head, bytes })
    }

    /// The header with the table.
    pub fn header(&self) -> &ShardHeader {
        &self.head
    }

    /// The table.
    pub fn metadata(&self) -> &ShardMetadata {
        &self.head.metadata
    }

    /// What holds the bytes.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The record of the tensor called `name` in the original checkpoint.
    pub fn record(&self, name: &str) -> Option<&TensorRecord> {
        self.head.record(name)
    }

    /// The bytes of a section, its digest checked.
    ///
    /// # Errors
    /// [`Error::SectionDigest`] where they are not what was written; [`Error::Argument`] where `section` is not one of
    /// this shard's.
    pub fn section(&self, section: &Section) -> Result<&[u8]> {
        let bytes = self.section_unchecked(section)?;
        let found = Digest::of(bytes);
        if found == section.digest {
            Ok(bytes)
        } else {
            Err(Error::SectionDigest {
                section: section.name.clone(),
                found,
                expected: section.digest,
            })
        }
    }

    /// The bytes of a section, without reading them.
    ///
    /// # Errors
    /// [`Error::Argument`] where `section` is not one of this shard's.
    pub fn section_unchecked(&self, section: &Section) -> Result<&[u8]> {
        let range = self.section_range(section)?;
        let file = self.bytes.as_ref();
        file.get(range.clone()).ok_or_else(|| Error::Length {
            what: format!("the file with section `{}`", section.name),
            found: file.len() as u64,
            expected: format!("at least {}", range.end),
        })
    }

    /// Where a section's bytes are in [`Self::bytes`].
    ///
    /// # Errors
    /// [`Error::Argument`] where `section` is not one of this shard's.
    pub fn section_range(&self, section: &Section) -> Result<Range<usize>> {
        let range = self.head.section_range(section)?;
        // The header was checked against the file's length, which is a `usize`.
        let to_usize = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(to_usize(range.start)..to_usize(range.end))
    }

    /// The substreams of a payload section, its digest checked.
    ///
    /// # Errors
    /// As [`Self::section`], and [`Error::Payload`] where it is not laid out as [`crate::encode_payload`] does.
    pub fn payload(&self, section: &Section) -> Result<Vec<&[u8]>> {
        parse_named(self.section(section)?, &section.name)
    }

    /// The bytes of a codec file, its digest checked.
    ///
    /// # Errors
    /// As [`Self::section`].
    pub fn codec(&self, codec: &CodecRecord) -> Result<&[u8]> {
        self.section(&codec.section())
    }

    /// Checks the digest of every section: with the header's, that is every byte of the file.
    ///
    /// # Errors
    /// [`Error::SectionDigest`], naming the first section that is damaged.
    pub fn verify(&self) -> Result<()> {
        self.metadata()
            .sections()
            .try_for_each(|section| self.section(&section).map(drop))
    }
}

/// The digest of `header` (length prefix and all) with zeros in the place of `stored`.
pub(crate) fn header_digest(header: &[u8], stored: &str) -> Result<Digest> {
    let place = digest_place(header, stored.len()).ok_or_else(|| Error::Table {
        what: format!("number of places of `{DIGEST_KEY}` in the header's text"),
        found: "not 1".into(),
        expected: "1, without white space, of 64 digits".into(),
    })?;
    let (before, rest) = header
        .split_at_checked(place.start)
        .unwrap_or((header, &[]));
    let after = rest.get(place.len()..).unwrap_or(&[]);
    let mut builder = DigestBuilder::new();
    builder.update(before);
    builder.update(&[DIGEST_PLACEHOLDER; Digest::HEX_LEN]);
    builder.update(after);
    Ok(builder.finish())
}

/// Where the digest's digits are; `None` unless there is exactly one place of the right length.
pub(crate) fn digest_place(header: &[u8], n_digits: usize) -> Option<Range<usize>> {
    let pattern = DIGEST_PATTERN.as_bytes();
    let mut places = header
        .windows(pattern.len())
        .enumerate()
        .filter_map(|(idx, window)| (window == pattern).then_some(idx + pattern.len()));
    let start = places.next()?;
    let end = start.checked_add(Digest::HEX_LEN)?;
    let is_one = places.next().is_none() && header.get(end) == Some(&b'"');
    (is_one && n_digits == Digest::HEX_LEN).then_some(start..end)
}
