//! Lossless coding of float tensors: a byte of exponent by rANS, the rest raw or coded, whichever is smaller.
//!
//! The exponents of a weight tensor take 2 to 3 of their 8 bits, the mantissas nearly all of theirs; DFloat11 (arXiv
//! 2504.11651) and ZipNN (arXiv 2411.05239) code the first and keep the second. Here, too, an element is split into
//! bytes, each of which is a *plane* of the tensor:
//!
//! | type | plane 0 | plane 1 | planes 2, 3 |
//! |---|---|---|---|
//! | bf16 | exponent | mantissa, sign | |
//! | f32 | exponent | high 7 bits of the mantissa, sign | the rest of the mantissa, high byte first |
//! | f16 | exponent, high 3 bits of the mantissa | the rest of the mantissa, sign | |
//! | f8, i8 | all of it | | |
//!
//! Each plane is constant, coded by a table of the whole tensor, or raw ([`Tables`]). In bf16 and f32, up to
//! [`MAX_MANTISSA_BITS`] bits of the mantissa may be coded together with the exponent: a bell curve falls within each
//! octave, so they are not uniform. What that leaves of plane 1 is packed without gaps.
//!
//! Substreams hold [`SUBSTREAM_ELEMS`] elements each, so they decode on as many cores as there are, and one alone.
//! Nothing depends on the number of threads.
//!
//! ```
//! use nwc_codec::packed::{self, PackedType};
//! use nwc_chunk::Parallelism;
//!
//! let weights: Vec<u8> = (0..4096).flat_map(|i| ((i as f32).sin().to_bits() >> 16).to_le_bytes()[..2].to_vec()).collect();
//! let packed = packed::encode(PackedType::Bf16, &weights, Parallelism::Serial).expect("smaller than raw");
//! let substreams: Vec<&[u8]> = packed.substreams.iter().map(Vec::as_slice).collect();
//! let mut restored = vec![0; weights.len()];
//! packed::decode_into(PackedType::Bf16, &packed.tables, &substreams, &mut restored, Parallelism::Serial)?;
//! assert_eq!(restored, weights);
//! # Ok::<(), packed::Error>(())
//! ```

mod bits;
mod choice;
mod decode;
mod encode;
mod error;
mod format;
mod split;
#[cfg(test)]
mod tests;

pub use decode::decode_into;
pub use encode::{Packed, encode};
pub use error::{Error, Result};
pub use format::Tables;

/// Elements of a substream; the last one of a tensor may have fewer.
///
/// A substream of 32 lanes costs about 75 bytes, 0.02 % of one of this length.
pub const SUBSTREAM_ELEMS: usize = 1 << 18;

/// Most bits of the mantissa that are coded together with the exponent.
///
/// A third bit would save 0.003 bit an element (measured on bf16 weights of a language model), and would leave room
/// for 32 exponents only.
pub const MAX_MANTISSA_BITS: u32 = 2;

/// Elements that are split or merged at once: their planes, the table and the result stay in the first cache.
const PIECE_ELEMS: usize = 2048;

/// The element types that are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackedType {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// One byte an element: f8 of any kind, i8, u8.
    Byte,
}

impl PackedType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bf16, Self::F16, Self::F32, Self::Byte];

    /// Bytes of an element, and so planes.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// Most bits of the mantissa that this type's plane 0 may hold beside its byte.
    fn max_mantissa_bits(self) -> u32 {
        match self {
            Self::Bf16 | Self::F32 => MAX_MANTISSA_BITS,
            Self::F16 | Self::Byte => 0,
        }
    }
}
