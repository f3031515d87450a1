//! What a reader allows a file to ask for.

use crate::{Coding, DType, Error, Result, TensorRecord};

/// Upper bounds checked before memory is taken.
///
/// A number read from a file is compared with these before it sizes an allocation or a loop. Whoever decodes files of
/// strangers in a small process lowers [`Self::max_decoded_bytes`] to what the process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a safetensors header. Default 48 MiB; a coded tensor takes about 400 bytes of it.
    pub max_header_bytes: u64,
    /// Tensors, sections or codecs in one shard. Default 2¹⁷; the largest models have that many in all their shards.
    pub max_tensors: usize,
    /// Bytes of an index file. Default 100,000,000.
    pub max_index_bytes: u64,
    /// Entries of an index file. Default 2¹⁹.
    pub max_index_entries: usize,
    /// Dimensions of one tensor. Default 32; the format has 255 at most.
    pub max_dims: usize,
    /// Bytes of one tensor, stored or decoded. Default 2³⁶ (64 GiB); the largest published expert stacks are 8 GiB.
    pub max_decoded_bytes: u64,
    /// Elements of a coded tensor for each byte that is stored of it. Default 2¹⁴, eight times what a tensor of one
    /// value takes in the families there are: a substream of 2¹⁸ symbols has 128 bytes of states.
    pub max_elements_per_byte: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_header_bytes: 48 << 20,
            max_tensors: 1 << 17,
            max_index_bytes: 100_000_000,
            max_index_entries: 1 << 19,
            max_dims: 32,
            max_decoded_bytes: 1 << 36,
            max_elements_per_byte: 1 << 14,
        }
    }
}

impl Limits {
    /// A writer's own header needs no protection from itself, but for what no reader would open.
    pub(crate) const UNLIMITED: Self = Self {
        max_header_bytes: crate::layout::MAX_HEADER_BYTES,
        max_tensors: usize::MAX,
        max_index_bytes: u64::MAX,
        max_index_entries: usize::MAX,
        max_dims: crate::layout::MAX_DIMS,
        max_decoded_bytes: u64::MAX,
        max_elements_per_byte: u64::MAX,
    };

    /// Bytes of a dense tensor called `tensor` with this dtype and shape, where they are within the limits.
    ///
    /// # Errors
    /// [`Error::Limit`]; [`Error::Record`] where the size overflows or is no whole number of bytes.
    pub(crate) fn check_decoded(&self, tensor: &str, dtype: DType, shape: &[usize]) -> Result<u64> {
        if shape.len() > self.max_dims {
            return Err(Error::limit(
                format!("number of dimensions of tensor `{tensor}`"),
                shape.len() as u64,
                self.max_dims as u64,
            ));
        }
        let n_bytes = dtype.n_bytes(shape).ok_or_else(|| {
            Error::record(
                tensor,
                format!("dtype {dtype} and shape {shape:?}"),
                "a whole number of bytes below 2^61",
            )
        })?;
        if n_bytes > self.max_decoded_bytes {
            return Err(Error::limit(
                format!("decoded size of tensor `{tensor}` in bytes"),
                n_bytes,
                self.max_decoded_bytes,
            ));
        }
        Ok(n_bytes)
    }

    /// Checks a record of the table: its size, and for a coded tensor its number of elements against its sections.
    pub(crate) fn check_record(&self, record: &TensorRecord) -> Result<()> {
        self.check_decoded(&record.name, record.dtype, &record.shape)?;
        if !matches!(record.coding, Coding::Coded { base: false, .. }) {
            return Ok(());
        }
        // The product of a shape whose bytes do not overflow.
        let n_elems = record
            .shape
            .iter()
            .fold(1u64, |n, &dim| n.saturating_mul(dim as u64));
        let allowed = record
            .stored_bytes()
            .max(1)
            .saturating_mul(self.max_elements_per_byte);
        if n_elems > allowed {
            return Err(Error::limit(
                format!(
                    "number of elements of tensor `{}` in {} bytes",
                    record.name,
                    record.stored_bytes()
                ),
                n_elems,
                allowed,
            ));
        }
        Ok(())
    }

    pub(crate) fn check_tensors(&self, what: &str, found: usize) -> Result<()> {
        if found <= self.max_tensors {
            return Ok(());
        }
        Err(Error::limit(
            format!("number of {what}"),
            found as u64,
            self.max_tensors as u64,
        ))
    }
}
