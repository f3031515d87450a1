//! Whole steps with AVX2, AVX-512 and NEON: the crate's only `unsafe` code.
//!
//! Why: 32 lanes are independent of each other but for the words that they share, which is what vectors are made
//! for, and the compiler makes none of it by itself: table lookups need gathers, and the words go to the lanes that
//! want one, in order, by an expansion (AVX-512) or a permutation from a table (AVX2, NEON). Each kernel does exactly
//! what the portable code does, step for step, and stops where it could not.
//!
//! What makes it sound: the kernels are only called with a [`Backend`] that this machine has; each gather's index is
//! below the length of its table by the invariants of [`DecodeTables`] and of the encoder; loads and stores go
//! through slices that were checked to be long enough, noted at each.
#![cfg_attr(
    any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    ),
    expect(
        unsafe_code,
        reason = "gathers and unaligned vector loads take pointers, and target features are chosen at run time"
    )
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;

use crate::LANES;
use crate::backend::Backend;
use crate::lookup::DecodeTables;

/// What a kernel has decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) n_steps: usize,
    /// Bytes of words that were read.
    pub(crate) n_bytes: usize,
    /// The last of the steps has an escape.
    pub(crate) escaped: bool,
}

/// Decodes steps until `out` is full, fewer bytes of `words` are left than a step could read, or a step has an
/// escape. `table_idx` holds valid indices: one a lane (`BULK`) or one a symbol.
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    )),
    expect(unused_variables, reason = "there are no kernels")
)]
pub(crate) fn decode<const BULK: bool>(
    tables: &DecodeTables,
    states: &mut [u32; LANES],
    table_idx: &[u16],
    out: &mut [[i32; LANES]],
    words: &[u8],
) -> Decoded {
    let (steps, rest) = table_idx.as_chunks();
    if out.is_empty() {
        return Decoded::default();
    }
    assert!(BULK && steps.len() == 1 && rest.is_empty() || !BULK && steps.len() >= out.len());
    match tables.backend {
        // SAFETY: by the invariant of the field, the machine has these features.
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => unsafe { avx512::decode::<BULK>(tables, states, steps, out, words) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => unsafe { avx2::decode::<BULK>(tables, states, steps, out, words) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Backend::Neon => unsafe { neon::decode::<BULK>(tables, states, steps, out, words) },
        _ => Decoded::default(),
    }
}

/// Decodes steps of bytes until `out` is full or fewer bytes of `words` are left than a step could read. `slots` is as
/// in [`crate::ByteTable`]. Nothing is decoded on a machine without AVX2.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "there is no kernel")
)]
pub(crate) fn decode_bytes(
    slots: &[u32; 1 << 12],
    states: &mut [u32; LANES],
    out: &mut [[u8; LANES]],
    words: &[u8],
) -> Decoded {
    #[cfg(target_arch = "x86_64")]
    if Backend::Avx2.or_available() == Backend::Avx2 {
        // SAFETY: `or_available` says that the machine has AVX2.
        return unsafe { bytes::decode(slots, states, out, words) };
    }
    Decoded::default()
}

/// Least precision at which the kernels of [`encode`] divide exactly.
pub(crate) const MIN_ENCODE_PRECISION: u32 = 10;

/// Codes `steps` from last to first; their words go before `words[end..]`, and the result is where they start.
///
/// `steps` are indices into `intervals`, checked here; `words` has room for one word a symbol, and at least
/// [`LANES`] before that. `backend` is not the portable one.
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    )),
    expect(unused_variables, reason = "there are no kernels")
)]
pub(crate) fn encode(
    backend: Backend,
    intervals: &[u32],
    precision: u32,
    states: &mut [u32; LANES],
    steps: &[[u32; LANES]],
    words: &mut [u16],
    end: usize,
) -> usize {
    assert!(
        precision >= MIN_ENCODE_PRECISION && end <= words.len() && end >= (steps.len() + 1) * LANES
    );
    match backend.or_available() {
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            // SAFETY: `or_available` says that the machine has these features.
            unsafe { avx512::encode(intervals, precision, states, steps, words, end) }
        }
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => {
            // SAFETY: as above.
            unsafe { avx2::encode(intervals, precision, states, steps, words, end) }
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Backend::Neon => {
            // SAFETY: as above.
            unsafe { neon::encode(intervals, precision, states, steps, words, end) }
        }
        _ => unreachable!("only asked for with a backend that has kernels"),
    }
}
