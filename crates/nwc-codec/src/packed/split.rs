//! Elements to planes and back; every loop here is one that the compiler makes vectors of.

use super::PackedType;

/// An element of two bytes with its sign moved from the highest to the lowest bit.
#[inline(always)]
fn sign_last(bits: u16) -> u16 {
    bits.rotate_left(1)
}

/// The two high bytes of element `idx` (the one byte of a [`PackedType::Byte`]), the sign last: what plane 0 and 1
/// are made of.
#[inline(always)]
pub(super) fn high_half<const N_BYTES: usize>(element: &[u8; N_BYTES]) -> u16 {
    if N_BYTES == 1 {
        return u16::from(element[0]) << 8;
    }
    sign_last(u16::from_le_bytes([
        element[N_BYTES - 2],
        element[N_BYTES - 1],
    ]))
}

/// Where plane 0's symbols come from: the high bits of a half, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Alphabet {
    /// Bits of the mantissa that follow plane 0's byte.
    pub(super) n_mantissa_bits: u32,
    /// A value `v` of these 8 + `n_mantissa_bits` bits has symbol `v − base`, and 0 has symbol 0.
    ///
    /// The largest symbol stands for a value of as many bits at most.
    pub(super) base: u16,
}

impl Alphabet {
    /// Number of values.
    pub(super) fn n_values(n_mantissa_bits: u32) -> usize {
        256 << n_mantissa_bits
    }

    /// The symbol of a half, and what of plane 1 it does not say.
    #[inline(always)]
    pub(super) fn split(self, half: u16) -> (u8, u8) {
        let n_low = 8 - self.n_mantissa_bits;
        let value = half >> n_low;
        let symbol = if value == 0 {
            0
        } else {
            value.wrapping_sub(self.base)
        };
        (symbol as u8, (half & ((1 << n_low) - 1)) as u8)
    }

    /// The half that [`Alphabet::split`] was given.
    #[inline(always)]
    pub(super) fn merge(self, symbol: u8, low: u8) -> u16 {
        let base = if symbol == 0 { 0 } else { self.base };
        ((u16::from(symbol) + base) << (8 - self.n_mantissa_bits)) | u16::from(low)
    }
}

/// Splits `elements` into planes: `planes[p][i]` is plane `p` of element `i`.
pub(super) fn split(
    kind: PackedType,
    alphabet: Alphabet,
    elements: &[u8],
    planes: &mut [Vec<u8>; 4],
) {
    for plane in planes.iter_mut() {
        plane.clear();
    }
    let [top, second, third, fourth] = planes;
    match kind {
        PackedType::Byte => top.extend_from_slice(elements),
        PackedType::Bf16 | PackedType::F16 => {
            let elements = elements.as_chunks::<2>().0;
            top.extend(elements.iter().map(|e| alphabet.split(high_half(e)).0));
            second.extend(elements.iter().map(|e| alphabet.split(high_half(e)).1));
        }
        PackedType::F32 => {
            let elements = elements.as_chunks::<4>().0;
            top.extend(elements.iter().map(|e| alphabet.split(high_half(e)).0));
            second.extend(elements.iter().map(|e| alphabet.split(high_half(e)).1));
            third.extend(elements.iter().map(|e| e[1]));
            fourth.extend(elements.iter().map(|e| e[0]));
        }
    }
}

/// Puts elements of two bytes together.
#[inline(always)]
pub(super) fn merge_halves(alphabet: Alphabet, top: &[u8], second: &[u8], out: &mut [u8]) {
    for ((out, &top), &second) in out.as_chunks_mut().0.iter_mut().zip(top).zip(second) {
        *out = alphabet.merge(top, second).rotate_right(1).to_le_bytes();
    }
}

/// Puts elements of four bytes together.
#[inline(always)]
pub(super) fn merge_words(
    alphabet: Alphabet,
    [top, second, third, fourth]: [&[u8]; 4],
    out: &mut [u8],
) {
    let high = top.iter().zip(second);
    let low = third.iter().zip(fourth);
    for ((out, (&top, &second)), (&third, &fourth)) in
        out.as_chunks_mut().0.iter_mut().zip(high).zip(low)
    {
        let half = alphabet.merge(top, second).rotate_right(1);
        let word = u32::from(half) << 16 | u32::from(third) << 8 | u32::from(fourth);
        *out = word.to_le_bytes();
    }
}
