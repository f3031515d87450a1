//! Bytes of one table with AVX2: four vectors of 8 lanes, one gather each.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::avx2::{load, places, store};
use super::{Decoded, LANES};
use crate::places::EXPAND;

/// Vectors of 8 lanes in a step.
const N: usize = 4;

/// As the portable code in `decoder/bytes.rs`, step for step.
#[target_feature(enable = "avx2")]
pub(super) fn decode(
    slots: &[u32; 1 << 12],
    states: &mut [u32; LANES],
    out: &mut [[u8; LANES]],
    words: &[u8],
) -> Decoded {
    let low_12 = _mm256_set1_epi32(0xfff);
    let low_byte = _mm256_set1_epi32(0xff);
    // Packing interleaves the halves of vectors; this puts groups of four bytes back in order.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let mut state: [__m256i; N] = from_fn(|v| load(&states[8 * v..8 * v + 8]));
    let mut lowest = _mm256_set1_epi32(-1);
    let mut done = Decoded::default();
    for out in out {
        if words.len() - done.n_bytes < 2 * LANES {
            break;
        }
        let mut symbols = [_mm256_setzero_si256(); N];
        for v in 0..N {
            let slot = _mm256_and_si256(state[v], low_12);
            // SAFETY: 12 bits are below the array's length.
            let entry = unsafe { _mm256_i32gather_epi32::<4>(slots.as_ptr().cast(), slot) };
            lowest = _mm256_min_epu32(lowest, entry);
            symbols[v] = _mm256_and_si256(_mm256_srli_epi32::<12>(entry), low_byte);
            let mass = _mm256_srli_epi32::<20>(entry);
            let next = _mm256_add_epi32(
                _mm256_mullo_epi32(mass, _mm256_srli_epi32::<12>(state[v])),
                _mm256_and_si256(entry, low_12),
            );
            let low = _mm256_cmpeq_epi32(_mm256_srli_epi32::<16>(next), _mm256_setzero_si256());
            let low_mask = _mm256_movemask_ps(_mm256_castsi256_ps(low)) as usize;
            // SAFETY: at most 24 words were read in this step, and 32 are there.
            let word = unsafe { _mm_loadu_si128(words.as_ptr().add(done.n_bytes).cast()) };
            let word =
                _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(word), places(&EXPAND[low_mask]));
            let shifted = _mm256_or_si256(_mm256_slli_epi32::<16>(next), word);
            state[v] = _mm256_blendv_epi8(next, shifted, low);
            done.n_bytes += 2 * low_mask.count_ones() as usize;
        }
        let low = _mm256_packus_epi32(symbols[0], symbols[1]);
        let high = _mm256_packus_epi32(symbols[2], symbols[3]);
        let packed = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
        // SAFETY: the array has 32 bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), packed) };
        done.n_steps += 1;
    }
    for (v, state) in state.into_iter().enumerate() {
        store(&mut states[8 * v..8 * v + 8], state);
    }
    let no_mass = _mm256_cmpeq_epi32(_mm256_srli_epi32::<20>(lowest), _mm256_setzero_si256());
    done.escaped = _mm256_movemask_epi8(no_mass) != 0;
    done
}
