//! Whole steps with NEON: four groups of 8 lanes, each two vectors of 4.
//!
//! NEON has no gather, so lookups go lane by lane; all else is done in vectors.

use std::arch::aarch64::*;
use std::array::from_fn;

use super::{DecodeTables, Decoded, LANES};
use crate::places::{COMPRESS, EXPAND};

/// Groups of 8 lanes in a step.
const N: usize = 4;
/// What each lane of a mask adds: its bit to the low byte, one to the high byte. So one sum has mask and count.
const BIT_AND_ONE: [u16; 8] = [257, 258, 260, 264, 272, 288, 320, 384];

#[target_feature(enable = "neon")]
pub(super) fn decode<const BULK: bool>(
    tables: &DecodeTables,
    states: &mut [u32; LANES],
    table_idx: &[[u16; LANES]],
    out: &mut [[i32; LANES]],
    words: &[u8],
) -> Decoded {
    let precision = vdupq_n_s32(-(tables.precision as i32));
    let bucket_shift = vdupq_n_s32(tables.bucket_bits as i32 - tables.precision as i32);
    let bucket_bits = vdupq_n_s32(tables.bucket_bits as i32);
    let total = vdupq_n_u32(1 << tables.precision);
    let slot_mask = vdupq_n_u32((1 << tables.precision) - 1);
    let (buckets, intervals) = (tables.buckets.as_ptr(), tables.intervals.as_ptr());
    let mut state: [uint32x4_t; 2 * N] = from_fn(|v| load(&states[4 * v..4 * v + 4]));
    let base_of = |idx: &[u16; LANES], v: usize| {
        let idx = &idx[4 * v..4 * v + 4];
        // SAFETY: the slice has the 4 indices of vector `v`.
        vshlq_u32(vmovl_u16(unsafe { vld1_u16(idx.as_ptr()) }), bucket_bits)
    };
    // For `BULK`; otherwise they are not used.
    let bulk_base: [_; 2 * N] = from_fn(|v| base_of(&table_idx[0], v));
    let shifts = tables.symbol_shifts(&table_idx[0]);
    let bulk_symbol: [_; 2 * N] = from_fn(|v| load(&shifts[4 * v..4 * v + 4]));
    let mut done = Decoded::default();
    let mut left = words;
    for (step, out) in out.iter_mut().enumerate() {
        if left.len() < 2 * LANES {
            break;
        }
        let mut escaped = vdupq_n_u32(0);
        let mut n_read = 0;
        for group in 0..N {
            let mut next = [vdupq_n_u32(0); 2];
            for (half, next) in next.iter_mut().enumerate() {
                let v = 2 * group + half;
                let slot = vandq_u32(state[v], slot_mask);
                let base = if BULK {
                    bulk_base[v]
                } else {
                    base_of(&table_idx[step], v)
                };
                let bucket = vaddq_u32(base, vshlq_u32(slot, bucket_shift));
                // SAFETY: the table index is valid, so the bucket is one of its 2^bucket_bits.
                let mut bin = unsafe { gather(buckets, bucket) };
                // SAFETY: buckets hold indices of bins.
                let mut interval = unsafe { gather(intervals, bin) };
                let mut start = low_half(interval);
                let mut mass = vshrq_n_u32::<16>(interval);
                let mut end = vaddq_u32(start, mass);
                // All ones where the slot lies beyond the bin.
                let mut beyond = vcgeq_u32(slot, end);
                while vmaxvq_u32(beyond) != 0 {
                    bin = vsubq_u32(bin, beyond);
                    // SAFETY: the table's last bin ends above every slot, so a bin beyond which the slot lies has
                    // a successor; the other bins are as they were.
                    interval = unsafe { gather(intervals, bin) };
                    start = low_half(interval);
                    mass = vshrq_n_u32::<16>(interval);
                    end = vaddq_u32(start, mass);
                    beyond = vcgeq_u32(slot, end);
                }
                let symbol = if BULK {
                    vaddq_u32(bin, bulk_symbol[v])
                } else {
                    // SAFETY: there are as many symbols as intervals.
                    unsafe { gather(tables.symbols.as_ptr().cast(), bin) }
                };
                escaped = vorrq_u32(escaped, vceqq_u32(end, total));
                let place = &mut out[4 * v..4 * v + 4];
                // SAFETY: the slice has room for 4 symbols.
                unsafe { vst1q_s32(place.as_mut_ptr(), vreinterpretq_s32_u32(symbol)) };
                let quotient = vshlq_u32(state[v], precision);
                *next = vmlaq_u32(vsubq_u32(slot, start), mass, quotient);
            }
            let low = next.map(|next| vceqzq_u32(vshrq_n_u32::<16>(next)));
            let (mask, n_low) = mask_and_count(low);
            // SAFETY: at most 24 words were read in this step, and 32 are there.
            let word = unsafe { vld1q_u8(left.as_ptr().add(2 * n_read)) };
            let word = vreinterpretq_u16_u8(vqtbl1q_u8(word, places(&EXPAND[mask])));
            let word = [vmovl_u16(vget_low_u16(word)), vmovl_high_u16(word)];
            for half in 0..2 {
                // `next << 16 | word`.
                let shifted = vsliq_n_u32::<16>(word[half], next[half]);
                state[2 * group + half] = vbslq_u32(low[half], shifted, next[half]);
            }
            n_read += n_low;
        }
        left = &left[2 * n_read..];
        done.n_steps += 1;
        if vmaxvq_u32(escaped) != 0 {
            done.escaped = true;
            break;
        }
    }
    for (v, state) in state.into_iter().enumerate() {
        store(&mut states[4 * v..4 * v + 4], state);
    }
    done.n_bytes = words.len() - left.len();
    done
}

#[target_feature(enable = "neon")]
pub(super) fn encode(
    intervals: &[u32],
    precision: u32,
    states: &mut [u32; LANES],
    steps: &[[u32; LANES]],
    words: &mut [u16],
    mut end: usize,
) -> usize {
    let shift = vdupq_n_s32(precision as i32);
    let limit_shift = vdupq_n_s32(32 - precision as i32);
    let n_intervals = vdupq_n_u32(intervals.len() as u32);
    let mut state: [uint32x4_t; 2 * N] = from_fn(|v| load(&states[4 * v..4 * v + 4]));
    for step in steps.iter().rev() {
        for group in (0..N).rev() {
            let interval: [_; 2] = from_fn(|half| {
                let v = 2 * group + half;
                let bin = load(&step[4 * v..4 * v + 4]);
                assert!(
                    vmaxvq_u32(vcgeq_u32(bin, n_intervals)) == 0,
                    "bins are checked when they are pushed"
                );
                // SAFETY: checked in the line above.
                unsafe { gather(intervals.as_ptr(), bin) }
            });
            let mass = interval.map(|interval| vshrq_n_u32::<16>(interval));
            let high: [_; 2] = from_fn(|half| {
                vcgeq_u32(state[2 * group + half], vshlq_u32(mass[half], limit_shift))
            });
            let (mask, n_words) = mask_and_count(high);
            let word = vmovn_high_u32(vmovn_u32(state[2 * group]), state[2 * group + 1]);
            let word = vqtbl1q_u8(vreinterpretq_u8_u16(word), places(&COMPRESS[mask]));
            let place = &mut words[end - 8..end];
            // SAFETY: the slice has room for 8 words. Free they are too: at most one word a symbol goes there, and
            // LANES words are left over. What is written before the words that count is written again.
            unsafe { vst1q_u16(place.as_mut_ptr(), vreinterpretq_u16_u8(word)) };
            end -= n_words;
            for half in 0..2 {
                let v = 2 * group + half;
                let mass = mass[half];
                let x = vbslq_u32(high[half], vshrq_n_u32::<16>(state[v]), state[v]);
                // Rounded twice, and below 2^22: the quotient is off by at most one.
                let quotient = vcvtq_u32_f32(vdivq_f32(vcvtq_f32_u32(x), vcvtq_f32_u32(mass)));
                let rest = vreinterpretq_s32_u32(vmlsq_u32(x, quotient, mass));
                // All ones where the quotient is too large, then where it is too small.
                let over = vcltzq_s32(rest);
                let quotient = vaddq_u32(quotient, over);
                let rest = vaddq_u32(vreinterpretq_u32_s32(rest), vandq_u32(over, mass));
                let short = vcgeq_u32(rest, mass);
                let quotient = vsubq_u32(quotient, short);
                let rest = vsubq_u32(rest, vandq_u32(short, mass));
                state[v] = vaddq_u32(
                    vshlq_u32(quotient, shift),
                    vaddq_u32(rest, low_half(interval[half])),
                );
            }
        }
    }
    for (v, state) in state.into_iter().enumerate() {
        store(&mut states[4 * v..4 * v + 4], state);
    }
    end
}

/// `values[idx]` of each lane.
///
/// # Safety
/// `values` has all these places.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn gather(values: *const u32, idx: uint32x4_t) -> uint32x4_t {
    // Two lanes leave the vector at a time: that is what costs most.
    let idx = vreinterpretq_u64_u32(idx);
    let (low, high) = (vgetq_lane_u64::<0>(idx), vgetq_lane_u64::<1>(idx));
    let value = |idx: u64| values.wrapping_add(idx as usize);
    let (a, b) = (value(low & 0xffff_ffff), value(low >> 32));
    let (c, d) = (value(high & 0xffff_ffff), value(high >> 32));
    // SAFETY: the caller's.
    unsafe {
        let found = vsetq_lane_u32::<0>(*a, vdupq_n_u32(0));
        let found = vld1q_lane_u32::<1>(b, found);
        let found = vld1q_lane_u32::<2>(c, found);
        vld1q_lane_u32::<3>(d, found)
    }
}

/// Of 8 lanes that are all ones or zero: the mask with a bit for each, and how many are ones.
#[inline]
#[target_feature(enable = "neon")]
fn mask_and_count(lanes: [uint32x4_t; 2]) -> (usize, usize) {
    let lanes = vmovn_high_u32(vmovn_u32(lanes[0]), lanes[1]);
    // SAFETY: 8 values are there.
    let each = unsafe { vld1q_u16(BIT_AND_ONE.as_ptr()) };
    let sum = usize::from(vaddvq_u16(vandq_u16(lanes, each)));
    (sum & 0xff, sum >> 8)
}

/// Places of words as places of their two bytes.
#[inline]
#[target_feature(enable = "neon")]
fn places(places: &[u8; 8]) -> uint8x16_t {
    let word = vmovl_u8(vcreate_u8(u64::from_le_bytes(*places)));
    vreinterpretq_u8_u16(vmlaq_n_u16(vdupq_n_u16(0x0100), word, 0x0202))
}

#[inline]
#[target_feature(enable = "neon")]
fn low_half(interval: uint32x4_t) -> uint32x4_t {
    vandq_u32(interval, vdupq_n_u32(0xffff))
}

#[inline]
#[target_feature(enable = "neon")]
fn load(values: &[u32]) -> uint32x4_t {
    assert!(values.len() == 4);
    // SAFETY: 4 values are there.
    unsafe { vld1q_u32(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(values: &mut [u32], vector: uint32x4_t) {
    assert!(values.len() == 4);
    // SAFETY: there is room for 4 values.
    unsafe { vst1q_u32(values.as_mut_ptr(), vector) }
}
