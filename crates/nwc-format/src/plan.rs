//! How much room a shard's header needs, before its sections are known.

use std::ops::Range;

use crate::layout::{self, DIGEST_KEY, LENGTH_BYTES, ROLE_CODEC, ROLE_TENSOR};
use crate::stream::Written;
use crate::{CodecRecord, Coding, DType, Digest, Result, Section, ShardMetadata, header, table};

/// A number whose decimal text is as long as it gets: a sign, 17 digits, a point and an exponent of three digits.
const LONGEST_NUMBER: f64 = -f64::MIN_POSITIVE;

/// What a shard's sections may come to: the calls of a [`crate::ShardWriter`], with the largest shapes instead of bytes.
///
/// ```
/// use nwc_format::{DType, Digest, HeaderPlan, ShardMetadata};
///
/// let mut plan = HeaderPlan::new();
/// let codec = plan.codec("trellis", 30_000);
/// let payload = plan.coded("w", "payload", DType::U8, &[1 << 20]);
/// # let metadata = ShardMetadata::new("doc test", Digest::of(b""));
/// let reserve = plan.reserve(&metadata)?;
/// # Ok::<(), nwc_format::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct HeaderPlan {
    entries: Vec<Written>,
    n_data_bytes: u64,
}

impl HeaderPlan {
    /// No sections yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A section that plays `role` for a coded tensor, with the largest shape that it may have.
    pub fn coded(&mut self, tensor: &str, role: &str, dtype: DType, shape: &[usize]) -> Section {
        self.push(role, layout::section_name(tensor, role), dtype, shape)
    }

    /// A tensor as it is.
    pub fn raw(&mut self, tensor: &str, dtype: DType, shape: &[usize]) -> Section {
        self.push(ROLE_TENSOR, tensor.to_owned(), dtype, shape)
    }

    /// A codec file.
    pub fn codec(&mut self, id: &str, n_bytes: usize) -> CodecRecord {
        let name = layout::codec_section_name(id);
        let section = self.push(ROLE_CODEC, name, DType::U8, &[n_bytes]);
        CodecRecord {
            id: id.to_owned(),
            bytes: section.bytes,
            digest: section.digest,
        }
    }

    fn push(&mut self, role: &str, name: String, dtype: DType, shape: &[usize]) -> Section {
        let n_bytes = dtype.n_bytes(shape).unwrap_or(u64::MAX);
        let section = Section {
            role: role.to_owned(),
            name: name.clone(),
            bytes: n_bytes,
            digest: Digest::of(&[]),
        };
        let range = self.place(n_bytes);
        self.entries.push((name, dtype, shape.to_vec(), range));
        section
    }

    fn place(&mut self, n_bytes: u64) -> Range<u64> {
        let start = self.n_data_bytes;
        self.n_data_bytes = start.saturating_add(n_bytes);
        start..self.n_data_bytes
    }

    /// Bytes to reserve for the header: no shard whose sections come in the order of the plan and are no larger has a
    /// longer one.
    ///
    /// `metadata` is the table with the sections that the plan's calls gave, and with every parameter that a coding may
    /// have. What is measured while coding is planned at its longest text, whatever value it has here: parameters, and
    /// the figures `bits_estimated` and `nmse` of coded and packed tensors.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] where the header would be longer than a file can have.
    pub fn reserve(&self, metadata: &ShardMetadata) -> Result<usize> {
        let mut planned = metadata.clone();
        for record in &mut planned.tensors {
            if let Coding::Coded { parameters, .. } | Coding::Packed { parameters, .. } =
                &mut record.coding
            {
                parameters.values_mut().for_each(|v| *v = LONGEST_NUMBER);
                record.bits_estimated = Some(-LONGEST_NUMBER);
                record.nmse = Some(-LONGEST_NUMBER);
            }
        }
        let mut strings = table::to_strings(&planned)?;
        strings.insert(DIGEST_KEY.to_owned(), "0".repeat(Digest::HEX_LEN));
        Ok(header::encode(&self.entries, &strings, 0)?.len() - LENGTH_BYTES)
    }
}
