//! Tensors coded without loss: `nwc_codec::packed` in the container's terms.

use std::ops::Range;

use nwc_chunk::Parallelism;
#[cfg(feature = "encode")]
use nwc_codec::packed;
use nwc_codec::packed::{PackedType, SUBSTREAM_ELEMS, Tables};
use nwc_format::{DType, Payload};

use crate::error::TensorError;

/// Name of the method in records.
pub(crate) const METHOD: &str = "planes";

/// Shorter tensors are stored as they are: a table of probabilities and a longer record eat what there is to save.
#[cfg(feature = "encode")]
const MIN_BYTES: usize = 4096;
/// Share of a tensor that must be saved to be worth decoding it.
#[cfg(feature = "encode")]
const MIN_SAVING: f64 = 0.01;

/// Whether a tensor of `dtype` with so many bytes may come out smaller.
#[cfg(feature = "encode")]
pub(crate) fn is_candidate(dtype: DType, n_bytes: usize) -> bool {
    packed_type(dtype).is_some() && n_bytes >= MIN_BYTES
}

/// The payload of a tensor's bytes; `None` where nothing that counts is saved.
#[cfg(feature = "encode")]
pub(crate) fn pack(dtype: DType, bytes: &[u8]) -> Option<Vec<u8>> {
    if !is_candidate(dtype, bytes.len()) {
        return None;
    }
    let packed = packed::encode(packed_type(dtype)?, bytes, Parallelism::Rayon)?;
    let mut parts = vec![packed.tables];
    parts.extend(packed.substreams);
    let payload = nwc_format::encode_payload(&parts);
    let most = bytes.len() as f64 * (1.0 - MIN_SAVING);
    ((payload.len() as f64) < most).then_some(payload)
}

/// A packed tensor, ready to be restored in whole or in part.
#[derive(Debug)]
pub(crate) struct StoredPlanes<'a> {
    tables: Tables,
    substreams: Vec<&'a [u8]>,
    n_elems: usize,
    element_bytes: usize,
}

impl<'a> StoredPlanes<'a> {
    /// The tensor of `n_elems` elements in `payload`.
    ///
    /// # Errors
    /// [`TensorError::Record`] for another method or a dtype that is not packed, [`TensorError::Codec`] for a payload
    /// of another number of elements.
    pub(crate) fn parse(
        method: &str,
        dtype: DType,
        n_elems: usize,
        payload: &'a [u8],
    ) -> Result<Self, TensorError> {
        if method != METHOD {
            return Err(TensorError::Record {
                what: "method of a packed tensor",
                found: method.into(),
                expected: METHOD.into(),
            });
        }
        let kind = packed_type(dtype).ok_or_else(|| TensorError::Record {
            what: "dtype of a packed tensor",
            found: dtype.to_string(),
            expected: "one of 8, 16 or 32 bits that is split into planes".into(),
        })?;
        let parts = Payload::parse(payload)?;
        let (tables, substreams) = parts.split_first().ok_or_else(|| TensorError::Record {
            what: "tables of a packed tensor",
            found: "missing".into(),
            expected: "the first part of its payload".into(),
        })?;
        let tables = Tables::parse(kind, tables)?;
        let expected = tables.n_substreams(n_elems);
        if substreams.len() != expected {
            return Err(TensorError::Record {
                what: "number of substreams",
                found: substreams.len().to_string(),
                expected: expected.to_string(),
            });
        }
        Ok(Self {
            tables,
            substreams: substreams.to_vec(),
            n_elems,
            element_bytes: kind.n_bytes(),
        })
    }

    /// All of the tensor's bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TensorError> {
        let mut bytes = vec![0; self.n_elems * self.element_bytes];
        self.tables
            .decode(&self.substreams, &mut bytes, Parallelism::Rayon)?;
        Ok(bytes)
    }

    /// Restores the bytes of all elements into `out`, which is as long as they are.
    pub(crate) fn read_into(&self, out: &mut [u8]) -> Result<(), TensorError> {
        Ok(self
            .tables
            .decode(&self.substreams, out, Parallelism::Rayon)?)
    }

    /// The bytes of the elements `elems`, which lie within the tensor, and of others before them: as many as the second
    /// value says, in elements. Only the substreams that hold some of them are decoded.
    pub(crate) fn part(&self, elems: &Range<usize>) -> Result<(Vec<u8>, usize), TensorError> {
        let groups = elems.start / SUBSTREAM_ELEMS..elems.end.div_ceil(SUBSTREAM_ELEMS);
        let start = groups.start * SUBSTREAM_ELEMS;
        let end = (groups.end * SUBSTREAM_ELEMS).min(self.n_elems);
        let n_parts = self.tables.n_parts();
        let substreams = &self.substreams[groups.start * n_parts..groups.end * n_parts];
        let mut bytes = vec![0; end.saturating_sub(start) * self.element_bytes];
        self.tables
            .decode(substreams, &mut bytes, Parallelism::Rayon)?;
        Ok((bytes, elems.start - start))
    }

    /// Decodes the first substreams: a sample.
    #[cfg(feature = "encode")]
    pub(crate) fn check_sample(&self) -> Result<(), TensorError> {
        self.part(&(0..self.n_elems.min(SUBSTREAM_ELEMS))).map(drop)
    }
}

/// How elements of `dtype` are split into planes; `None` where they are not.
fn packed_type(dtype: DType) -> Option<PackedType> {
    match dtype {
        DType::BF16 => Some(PackedType::Bf16),
        DType::F16 => Some(PackedType::F16),
        DType::F32 => Some(PackedType::F32),
        DType::U8
        | DType::I8
        | DType::F8E5M2
        | DType::F8E4M3
        | DType::F8E8M0
        | DType::F8E4M3Fnuz
        | DType::F8E5M2Fnuz => Some(PackedType::Byte),
        _ => None,
    }
}
