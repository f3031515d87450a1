//! How much room a shard's header needs, before its sections are known.

use std::io::{Read, Seek, Write};

use crate::layout::{DIGEST_KEY, LENGTH_BYTES, TABLE_KEY};
use crate::{Coding, DType, Digest, Result, ShardMetadata, ShardWriter, TensorRecord, header};

/// Figures whose decimal text is as long as it gets for a bit count and for an error.
const LONG_BITS: f64 = 12_345_678.123_456_789;
const LONG_NMSE: f64 = 1.234_567_890_123_456_7e-5;
/// A coded section takes no more than the decoded tensor and this: what its length may be planned at.
const SMALL_SECTION_BYTES: u64 = 9_999;

impl<W: Read + Write + Seek> ShardWriter<W> {
    /// Bytes to reserve for the header of a shard with this table: an upper bound, about 30 bytes a tensor above what
    /// it comes to, from the records as planned: `sections` filled in with right roles and names, lengths and digests
    /// of any value; `reason` as it will be.
    ///
    /// # Errors
    /// [`crate::Error::Json`] never in practice.
    pub fn header_reserve_for(planned: &ShardMetadata) -> Result<usize> {
        let mut planned = planned.clone();
        planned.tensors.iter_mut().for_each(plan_figures);
        let mut strings = planned.extra.clone();
        strings.insert(TABLE_KEY.to_owned(), planned.to_json()?);
        strings.insert(DIGEST_KEY.to_owned(), "0".repeat(Digest::HEX_LEN));
        // Offsets are planned at their largest: the sum of all lengths.
        let end = planned
            .sections()
            .fold(0u64, |end, s| end.saturating_add(s.bytes));
        let of_codecs = planned.codecs.iter().map(|codec| {
            let section = codec.section();
            (
                section.name,
                DType::U8,
                vec![to_usize(section.bytes)],
                end..end,
            )
        });
        let of_tensors = planned.tensors.iter().flat_map(|tensor| {
            tensor
                .sections
                .iter()
                .map(move |section| match tensor.coding {
                    Coding::Lossless => (
                        section.name.clone(),
                        tensor.dtype,
                        tensor.shape.clone(),
                        end..end,
                    ),
                    _ => (
                        section.name.clone(),
                        DType::BF16,
                        vec![to_usize(section.bytes)],
                        end..end,
                    ),
                })
        });
        let entries: Vec<_> = of_codecs.chain(of_tensors).collect();
        Ok(header::encode(&entries, &strings, 0)?.len() - LENGTH_BYTES)
    }
}

fn plan_figures(record: &mut TensorRecord) {
    if matches!(record.coding, Coding::Coded { .. }) {
        record.bits_estimated.get_or_insert(LONG_BITS);
        record.nmse.get_or_insert(LONG_NMSE);
    }
    let decoded = record.dtype.n_bytes(&record.shape).unwrap_or(u64::MAX);
    for section in &mut record.sections {
        section.bytes = section.bytes.min(decoded.max(SMALL_SECTION_BYTES));
    }
}

fn to_usize(n_bytes: u64) -> usize {
    usize::try_from(n_bytes).unwrap_or(usize::MAX)
}
