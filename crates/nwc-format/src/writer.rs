//! Writing a shard section by section.

use std::collections::HashMap;
use std::io::{Read, Seek, Write};

use crate::check::check_shard;
use crate::header::Header;
use crate::layout::{self, DIGEST_KEY, DIGEST_PLACEHOLDER};
use crate::shard::{digest_place, header_digest};
use crate::stream::Stream;
use crate::{
    CodecRecord, DType, Digest, Error, FORMAT_VERSION, Limits, ROLE_PAYLOAD, ROLE_TENSOR, Result,
    Section, ShardMetadata, table,
};

/// Writes a shard: sections as they come, the header with the table at the end.
///
/// Only the table is held in memory. The same calls give the same bytes. `W` must be empty, and readable too: where the
/// header outgrows its reserve, data is moved. Until [`Self::finish`] the output is no valid file.
#[derive(Debug)]
pub struct ShardWriter<W> {
    stream: Stream<W>,
    digests: HashMap<String, Digest>,
}

impl<W: Read + Write + Seek> ShardWriter<W> {
    /// Leaves `header_reserve_bytes` for the header, rounded up to a multiple of 8.
    ///
    /// A reserve too small costs time, not correctness; one too large costs bytes of the file.
    /// [`crate::HeaderPlan`] gives the least that is always enough.
    ///
    /// # Errors
    /// [`Error::Argument`] where `writer` is not empty or the reserve is above 100 MB; [`Error::Io`].
    pub fn new(writer: W, header_reserve_bytes: usize) -> Result<Self> {
        Ok(Self {
            stream: Stream::new(writer, header_reserve_bytes)?,
            digests: HashMap::new(),
        })
    }

    /// Appends a U8 section that plays `role` for a coded or packed tensor.
    ///
    /// # Errors
    /// [`Error::Argument`] where the role is none, where the section is there already, or where `bytes` disagrees with
    /// dtype and shape; [`Error::Io`].
    pub fn coded(&mut self, tensor: &str, role: &str, bytes: &[u8]) -> Result<Section> {
        self.coded_as(tensor, role, DType::U8, &[bytes.len()], bytes)
    }

    /// Appends a section that plays `role` for a coded or packed tensor, with a dtype that says what its bytes are.
    ///
    /// # Errors
    /// As [`Self::coded`].
    pub fn coded_as(
        &mut self,
        tensor: &str,
        role: &str,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Section> {
        if role == ROLE_TENSOR || !layout::is_valid_id(role) {
            return Err(Error::argument(
                format!("section role of tensor `{tensor}`"),
                format!("`{role}`"),
                "1 to 64 of A-Z a-z 0-9 _ - and inner dots, not `tensor`",
            ));
        }
        if role == ROLE_PAYLOAD && (dtype != DType::U8 || shape.len() != 1) {
            return Err(Error::argument(
                format!("payload of tensor `{tensor}`"),
                format!("{dtype} {shape:?}"),
                "U8 with one dimension",
            ));
        }
        self.push(
            role,
            layout::section_name(tensor, role),
            dtype,
            shape,
            bytes,
        )
    }

    /// Appends a tensor as it is, under its own name, so that ordinary tools read it.
    ///
    /// # Errors
    /// As [`Self::coded`].
    pub fn raw(
        &mut self,
        tensor: &str,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Section> {
        self.push(ROLE_TENSOR, tensor.to_owned(), dtype, shape, bytes)
    }

    /// Appends a codec file.
    ///
    /// # Errors
    /// As [`Self::coded`].
    pub fn codec(&mut self, id: &str, bytes: &[u8]) -> Result<CodecRecord> {
        if !layout::is_valid_id(id) {
            let allowed = "1 to 64 of A-Z a-z 0-9 _ - and inner dots";
            return Err(Error::argument("codec id", format!("`{id}`"), allowed));
        }
        let name = layout::codec_section_name(id);
        let section = self.push(layout::ROLE_CODEC, name, DType::U8, &[bytes.len()], bytes)?;
        Ok(CodecRecord {
            id: id.to_owned(),
            bytes: section.bytes,
            digest: section.digest,
        })
    }

    fn push(
        &mut self,
        role: &str,
        name: String,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Section> {
        self.stream.push(&name, dtype, shape, bytes)?;
        let section = Section {
            role: role.to_owned(),
            name,
            bytes: bytes.len() as u64,
            digest: Digest::of(bytes),
        };
        self.digests.insert(section.name.clone(), section.digest);
        Ok(section)
    }

    /// Writes the header, and gives the writer back, standing at the end.
    ///
    /// # Errors
    /// [`Error::Argument`] where `metadata` does not describe exactly the sections that were written; [`Error::Io`].
    pub fn finish(self, metadata: ShardMetadata) -> Result<W> {
        for listed in metadata.sections() {
            let written = self.digests.get(&listed.name);
            if written.is_some_and(|&digest| digest != listed.digest) {
                return Err(Error::argument(
                    format!("digest of section `{}` in the table", listed.name),
                    listed.digest.to_string(),
                    "that of the bytes written",
                ));
            }
        }
        if metadata.version != FORMAT_VERSION {
            let allowed = FORMAT_VERSION.to_string();
            return Err(Error::argument(
                "version of the table",
                metadata.version.to_string(),
                allowed,
            ));
        }
        let mut strings = table::to_strings(&metadata)?;
        let placeholder = char::from(DIGEST_PLACEHOLDER)
            .to_string()
            .repeat(Digest::HEX_LEN);
        strings.insert(DIGEST_KEY.to_owned(), placeholder.clone());
        let mut header = self.stream.encode_header(&strings)?;
        let file_bytes = header.len() as u64 + self.stream.n_data_bytes();
        Header::parse(&header, file_bytes, &Limits::UNLIMITED)
            .and_then(|plain| check_shard(&plain, &metadata, &Limits::UNLIMITED))
            .map_err(|e| {
                let allowed = "one that describes the sections written";
                Error::argument("shard metadata", e.to_string(), allowed)
            })?;
        let digest = header_digest(&header, &placeholder)?.to_string();
        let place = digest_place(&header, digest.len());
        if let Some(digits) = place.and_then(|place| header.get_mut(place)) {
            digits.copy_from_slice(digest.as_bytes());
        }
        self.stream.finish(&header)
    }
}
