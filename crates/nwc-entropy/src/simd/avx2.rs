//! Whole steps with AVX2: four vectors of 8 lanes.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::{DecodeTables, Decoded, LANES};
use crate::places::{COMPRESS, EXPAND};

/// Vectors of 8 lanes in a step.
const N: usize = 4;

#[target_feature(enable = "avx2")]
pub(super) fn decode<const BULK: bool>(
    tables: &DecodeTables,
    states: &mut [u32; LANES],
    table_idx: &[[u16; LANES]],
    out: &mut [[i32; LANES]],
    words: &[u8],
) -> Decoded {
    let precision = _mm_cvtsi32_si128(tables.precision as i32);
    let bucket_shift = _mm_cvtsi32_si128((tables.precision - tables.bucket_bits) as i32);
    let bucket_bits = _mm_cvtsi32_si128(tables.bucket_bits as i32);
    let total = _mm256_set1_epi32(1 << tables.precision);
    let slot_mask = _mm256_set1_epi32((1 << tables.precision) - 1);
    let low_half = _mm256_set1_epi32(0xffff);
    let (buckets, intervals) = (
        tables.buckets.as_ptr().cast(),
        tables.intervals.as_ptr().cast(),
    );
    let mut state: [__m256i; N] = from_fn(|v| load(&states[8 * v..8 * v + 8]));
    let base_of = |idx: &[u16; LANES], v: usize| {
        // SAFETY: the 8 indices of quarter `v` lie inside of the array.
        let idx = unsafe { _mm_loadu_si128(idx.as_ptr().add(8 * v).cast()) };
        _mm256_sll_epi32(_mm256_cvtepu16_epi32(idx), bucket_bits)
    };
    // For `BULK`; otherwise they are not used.
    let bulk_base: [_; N] = from_fn(|v| base_of(&table_idx[0], v));
    let shifts = tables.symbol_shifts(&table_idx[0]);
    let bulk_symbol: [_; N] = from_fn(|v| load(&shifts[8 * v..8 * v + 8]));
    let mut done = Decoded::default();
    let mut left = words;
    for (step, out) in out.iter_mut().enumerate() {
        if left.len() < 2 * LANES {
            break;
        }
        let mut escaped = _mm256_setzero_si256();
        let mut n_read = 0;
        for v in 0..N {
            let slot = _mm256_and_si256(state[v], slot_mask);
            let base = if BULK {
                bulk_base[v]
            } else {
                base_of(&table_idx[step], v)
            };
            let bucket = _mm256_add_epi32(base, _mm256_srl_epi32(slot, bucket_shift));
            // SAFETY: the table index is valid, so the bucket is one of its 2^bucket_bits.
            let mut bin = unsafe { _mm256_i32gather_epi32::<4>(buckets, bucket) };
            // SAFETY: buckets hold indices of bins.
            let mut interval = unsafe { _mm256_i32gather_epi32::<4>(intervals, bin) };
            let mut start = _mm256_and_si256(interval, low_half);
            let mut mass = _mm256_srli_epi32::<16>(interval);
            let mut end = _mm256_add_epi32(start, mass);
            // All ones where the slot lies in the bin; both sides are at most 2^16.
            let mut within = _mm256_cmpgt_epi32(end, slot);
            while _mm256_movemask_epi8(within) != -1 {
                let beyond = _mm256_xor_si256(within, _mm256_set1_epi32(-1));
                bin = _mm256_sub_epi32(bin, beyond);
                // SAFETY: the table's last bin ends above every slot, so a bin beyond which the slot lies has
                // a successor.
                interval =
                    unsafe { _mm256_mask_i32gather_epi32::<4>(interval, intervals, bin, beyond) };
                start = _mm256_and_si256(interval, low_half);
                mass = _mm256_srli_epi32::<16>(interval);
                end = _mm256_add_epi32(start, mass);
                within = _mm256_cmpgt_epi32(end, slot);
            }
            let symbol = if BULK {
                _mm256_add_epi32(bin, bulk_symbol[v])
            } else {
                // SAFETY: there are as many symbols as intervals.
                unsafe { _mm256_i32gather_epi32::<4>(tables.symbols.as_ptr(), bin) }
            };
            escaped = _mm256_or_si256(escaped, _mm256_cmpeq_epi32(end, total));
            // SAFETY: quarter `v` of the 32 symbols.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(8 * v).cast(), symbol) };
            let quotient = _mm256_srl_epi32(state[v], precision);
            let next = _mm256_add_epi32(
                _mm256_mullo_epi32(mass, quotient),
                _mm256_sub_epi32(slot, start),
            );
            let low = _mm256_cmpeq_epi32(_mm256_srli_epi32::<16>(next), _mm256_setzero_si256());
            let low_mask = _mm256_movemask_ps(_mm256_castsi256_ps(low)) as usize;
            // SAFETY: at most 24 words were read in this step, and 32 are there.
            let word = unsafe { _mm_loadu_si128(left.as_ptr().add(2 * n_read).cast()) };
            let word =
                _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(word), places(&EXPAND[low_mask]));
            let shifted = _mm256_or_si256(_mm256_slli_epi32::<16>(next), word);
            state[v] = _mm256_blendv_epi8(next, shifted, low);
            n_read += low_mask.count_ones() as usize;
        }
        left = &left[2 * n_read..];
        done.n_steps += 1;
        if _mm256_movemask_epi8(escaped) != 0 {
            done.escaped = true;
            break;
        }
    }
    for (v, state) in state.into_iter().enumerate() {
        store(&mut states[8 * v..8 * v + 8], state);
    }
    done.n_bytes = words.len() - left.len();
    done
}

#[target_feature(enable = "avx2")]
pub(super) fn encode(
    intervals: &[u32],
    precision: u32,
    states: &mut [u32; LANES],
    steps: &[[u32; LANES]],
    words: &mut [u16],
    mut end: usize,
) -> usize {
    let shift = _mm_cvtsi32_si128(precision as i32);
    let limit_shift = _mm_cvtsi32_si128(32 - precision as i32);
    let low_half = _mm256_set1_epi32(0xffff);
    // Bins are below 2^24, so this comparison may be signed.
    let last_interval = _mm256_set1_epi32(intervals.len() as i32 - 1);
    let mut state: [__m256i; N] = from_fn(|v| load(&states[8 * v..8 * v + 8]));
    for step in steps.iter().rev() {
        for v in (0..N).rev() {
            let bin = load(&step[8 * v..8 * v + 8]);
            let checked = _mm256_cmpeq_epi32(_mm256_max_epu32(bin, last_interval), last_interval);
            assert!(
                _mm256_movemask_epi8(checked) == -1,
                "bins are checked when they are pushed"
            );
            // SAFETY: checked in the line above.
            let interval = unsafe { _mm256_i32gather_epi32::<4>(intervals.as_ptr().cast(), bin) };
            let start = _mm256_and_si256(interval, low_half);
            let mass = _mm256_srli_epi32::<16>(interval);
            let limit = _mm256_sll_epi32(mass, limit_shift);
            let high = _mm256_cmpeq_epi32(_mm256_max_epu32(state[v], limit), state[v]);
            let high_mask = _mm256_movemask_ps(_mm256_castsi256_ps(high)) as usize;
            let word = _mm256_and_si256(state[v], low_half);
            let word = _mm256_permutevar8x32_epi32(word, places(&COMPRESS[high_mask]));
            let word = _mm_packus_epi32(
                _mm256_castsi256_si128(word),
                _mm256_extracti128_si256::<1>(word),
            );
            // SAFETY: the 8 words before `end` are free: at most one word a symbol goes there, and LANES words
            // are left over. What is written before the words that count is written again.
            unsafe { _mm_storeu_si128(words.as_mut_ptr().add(end - 8).cast(), word) };
            end -= high_mask.count_ones() as usize;
            let x = _mm256_blendv_epi8(state[v], _mm256_srli_epi32::<16>(state[v]), high);
            // Both halves are exact floats, so their sum is rounded once. The quotient is below 2^22, and so it
            // is off by at most one.
            let upper = _mm256_cvtepi32_ps(_mm256_srli_epi32::<16>(x));
            let lower = _mm256_cvtepi32_ps(_mm256_and_si256(x, low_half));
            let x_float = _mm256_add_ps(_mm256_mul_ps(upper, _mm256_set1_ps(65536.0)), lower);
            let quotient = _mm256_cvttps_epi32(_mm256_div_ps(x_float, _mm256_cvtepi32_ps(mass)));
            let rest = _mm256_sub_epi32(x, _mm256_mullo_epi32(quotient, mass));
            // −1 where the quotient is too large, then where it is too small.
            let over = _mm256_cmpgt_epi32(_mm256_setzero_si256(), rest);
            let quotient = _mm256_add_epi32(quotient, over);
            let rest = _mm256_add_epi32(rest, _mm256_and_si256(over, mass));
            let fits = _mm256_cmpgt_epi32(mass, rest);
            let quotient = _mm256_add_epi32(quotient, _mm256_add_epi32(fits, _mm256_set1_epi32(1)));
            let rest = _mm256_sub_epi32(rest, _mm256_andnot_si256(fits, mass));
            state[v] = _mm256_add_epi32(
                _mm256_sll_epi32(quotient, shift),
                _mm256_add_epi32(rest, start),
            );
        }
    }
    for (v, state) in state.into_iter().enumerate() {
        store(&mut states[8 * v..8 * v + 8], state);
    }
    end
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn places(places: &[u8; 8]) -> __m256i {
    _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*places)))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(values: &[u32]) -> __m256i {
    assert!(values.len() == 8);
    // SAFETY: 8 values are there.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(values: &mut [u32], vector: __m256i) {
    assert!(values.len() == 8);
    // SAFETY: there is room for 8 values.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), vector) }
}
