//! Whole steps with AVX-512: two vectors of 16 lanes.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::{DecodeTables, Decoded, LANES};

/// Vectors of 16 lanes in a step.
const N: usize = 2;

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
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
    let total = _mm512_set1_epi32(1 << tables.precision);
    let slot_mask = _mm512_set1_epi32((1 << tables.precision) - 1);
    let low_half = _mm512_set1_epi32(0xffff);
    let one = _mm512_set1_epi32(1);
    let (buckets, intervals) = (
        tables.buckets.as_ptr().cast(),
        tables.intervals.as_ptr().cast(),
    );
    let mut state: [__m512i; N] = from_fn(|v| load(&states[16 * v..16 * v + 16]));
    let base_of = |idx: &[u16; LANES], v: usize| {
        // SAFETY: the 16 indices of half `v` lie inside of the array.
        let idx = unsafe { _mm256_loadu_si256(idx.as_ptr().add(16 * v).cast()) };
        _mm512_sll_epi32(_mm512_cvtepu16_epi32(idx), bucket_bits)
    };
    // For `BULK`; otherwise they are not used.
    let bulk_base: [_; N] = from_fn(|v| base_of(&table_idx[0], v));
    let shifts = tables.symbol_shifts(&table_idx[0]);
    let bulk_symbol: [_; N] = from_fn(|v| load(&shifts[16 * v..16 * v + 16]));
    let mut done = Decoded::default();
    let mut left = words;
    for (step, out) in out.iter_mut().enumerate() {
        if left.len() < 2 * LANES {
            break;
        }
        let mut escaped = 0;
        let mut n_read = 0;
        for v in 0..N {
            let slot = _mm512_and_si512(state[v], slot_mask);
            let base = if BULK {
                bulk_base[v]
            } else {
                base_of(&table_idx[step], v)
            };
            let bucket = _mm512_add_epi32(base, _mm512_srl_epi32(slot, bucket_shift));
            // SAFETY: the table index is valid, so the bucket is one of its 2^bucket_bits.
            let mut bin = unsafe { _mm512_i32gather_epi32::<4>(bucket, buckets) };
            // SAFETY: buckets hold indices of bins.
            let mut interval = unsafe { _mm512_i32gather_epi32::<4>(bin, intervals) };
            let mut start = _mm512_and_si512(interval, low_half);
            let mut mass = _mm512_srli_epi32::<16>(interval);
            let mut end = _mm512_add_epi32(start, mass);
            let mut beyond = _mm512_cmpge_epu32_mask(slot, end);
            while beyond != 0 {
                bin = _mm512_mask_add_epi32(bin, beyond, bin, one);
                // SAFETY: the table's last bin ends above every slot, so a bin beyond which the slot lies has
                // a successor.
                interval =
                    unsafe { _mm512_mask_i32gather_epi32::<4>(interval, beyond, bin, intervals) };
                start = _mm512_and_si512(interval, low_half);
                mass = _mm512_srli_epi32::<16>(interval);
                end = _mm512_add_epi32(start, mass);
                beyond = _mm512_cmpge_epu32_mask(slot, end);
            }
            let symbol = if BULK {
                _mm512_add_epi32(bin, bulk_symbol[v])
            } else {
                // SAFETY: there are as many symbols as intervals.
                unsafe { _mm512_i32gather_epi32::<4>(bin, tables.symbols.as_ptr().cast()) }
            };
            escaped |= _mm512_cmpeq_epi32_mask(end, total);
            // SAFETY: half `v` of the 32 symbols.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(16 * v).cast(), symbol) };
            let quotient = _mm512_srl_epi32(state[v], precision);
            let next = _mm512_add_epi32(
                _mm512_mullo_epi32(mass, quotient),
                _mm512_sub_epi32(slot, start),
            );
            let low = _mm512_cmple_epu32_mask(next, low_half);
            // SAFETY: at most 16 words were read in this step, and 32 are there.
            let word = unsafe { _mm256_loadu_si256(left.as_ptr().add(2 * n_read).cast()) };
            let word = _mm512_maskz_expand_epi32(low, _mm512_cvtepu16_epi32(word));
            let shifted = _mm512_or_si512(_mm512_slli_epi32::<16>(next), word);
            state[v] = _mm512_mask_mov_epi32(next, low, shifted);
            n_read += low.count_ones() as usize;
        }
        left = &left[2 * n_read..];
        done.n_steps += 1;
        if escaped != 0 {
            done.escaped = true;
            break;
        }
    }
    for (v, state) in state.into_iter().enumerate() {
        store(&mut states[16 * v..16 * v + 16], state);
    }
    done.n_bytes = words.len() - left.len();
    done
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
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
    let low_half = _mm512_set1_epi32(0xffff);
    let one = _mm512_set1_epi32(1);
    let n_intervals = _mm512_set1_epi32(intervals.len() as i32);
    let mut state: [__m512i; N] = from_fn(|v| load(&states[16 * v..16 * v + 16]));
    for step in steps.iter().rev() {
        for v in (0..N).rev() {
            let bin = load(&step[16 * v..16 * v + 16]);
            assert!(
                _mm512_cmpge_epu32_mask(bin, n_intervals) == 0,
                "bins are checked when they are pushed"
            );
            // SAFETY: checked in the line above.
            let interval = unsafe { _mm512_i32gather_epi32::<4>(bin, intervals.as_ptr().cast()) };
            let start = _mm512_and_si512(interval, low_half);
            let mass = _mm512_srli_epi32::<16>(interval);
            let high = _mm512_cmpge_epu32_mask(state[v], _mm512_sll_epi32(mass, limit_shift));
            let n_words = high.count_ones() as usize;
            let word = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(high, state[v]));
            end -= n_words;
            // A whole vector fits: its end lies before that of the 16 words for which there is room...
            // SAFETY: ...and only `n_words` words are written, which end at the old `end`.
            unsafe {
                let mask = (1_u32 << n_words) - 1;
                _mm256_mask_storeu_epi16(words.as_mut_ptr().add(end).cast(), mask as u16, word);
            }
            let x = _mm512_mask_srli_epi32::<16>(state[v], high, state[v]);
            // The quotient is below 2^22, so rounding all towards zero it is exact or too small by one.
            let approx = _mm512_div_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(
                _mm512_cvt_roundepu32_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(x),
                _mm512_cvtepi32_ps(mass),
            );
            let quotient = _mm512_cvttps_epi32(approx);
            let rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(quotient, mass));
            let short = _mm512_cmpge_epu32_mask(rest, mass);
            let quotient = _mm512_mask_add_epi32(quotient, short, quotient, one);
            let rest = _mm512_mask_sub_epi32(rest, short, rest, mass);
            state[v] = _mm512_add_epi32(
                _mm512_sll_epi32(quotient, shift),
                _mm512_add_epi32(rest, start),
            );
        }
    }
    for (v, state) in state.into_iter().enumerate() {
        store(&mut states[16 * v..16 * v + 16], state);
    }
    end
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[u32]) -> __m512i {
    assert!(values.len() == 16);
    // SAFETY: 16 values are there.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(values: &mut [u32], vector: __m512i) {
    assert!(values.len() == 16);
    // SAFETY: there is room for 16 values.
    unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), vector) }
}
