//! How a tensor's planes are stored: counted, not guessed.

use nwc_entropy::{BYTE_PRECISION, CdfTable};

use super::format::Plan;
use super::split::{Alphabet, high_half};
use super::{MAX_MANTISSA_BITS, PackedType};

/// A plane is coded if that saves this share of it at least: a smaller gain is not worth the time of decoding it.
const LEAST_SHARE_SAVED: f64 = 1.0 / 64.0;

/// Values of plane 0 with as many bits of the mantissa as there may be.
const N_VALUES: usize = 256 << MAX_MANTISSA_BITS;

/// How often each value of each plane occurs.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// Of plane 0's byte followed by [`MAX_MANTISSA_BITS`] bits of the mantissa.
    values: Box<[u64; N_VALUES]>,
    /// Of the bytes of planes 1, 2 and 3.
    bytes: Box<[[u64; 256]; 3]>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            values: Box::new([0; N_VALUES]),
            bytes: Box::new([[0; 256]; 3]),
        }
    }
}

impl Counts {
    /// Counts of `elements`, which are fewer than 2^32.
    pub(super) fn of(kind: PackedType, elements: &[u8]) -> Self {
        let mut counts = Self::default();
        match kind {
            PackedType::Byte => counts.add::<1>(elements),
            PackedType::Bf16 | PackedType::F16 => counts.add::<2>(elements),
            PackedType::F32 => counts.add::<4>(elements),
        }
        counts
    }

    fn add<const N_BYTES: usize>(&mut self, elements: &[u8]) {
        // Two of each, for neighbours often have the same value, and an increment waits for the one before it.
        let mut values = [[0_u32; N_VALUES]; 2];
        let mut bytes = [[[0_u32; 256]; 3]; 2];
        let (pairs, last) = elements.as_chunks::<N_BYTES>().0.as_chunks::<2>();
        let mut count = |element: &[u8; N_BYTES], turn: usize| {
            let half = high_half(element);
            values[turn][usize::from(half >> (8 - MAX_MANTISSA_BITS))] += 1;
            if N_BYTES > 1 {
                bytes[turn][0][usize::from(half & 0xff)] += 1;
            }
            if N_BYTES > 2 {
                bytes[turn][1][usize::from(element[1])] += 1;
                bytes[turn][2][usize::from(element[0])] += 1;
            }
        };
        for [first, second] in pairs {
            count(first, 0);
            count(second, 1);
        }
        for element in last {
            count(element, 0);
        }
        for values in values {
            add_to(self.values.iter_mut(), &values);
        }
        for bytes in bytes {
            add_to(
                self.bytes.as_flattened_mut().iter_mut(),
                bytes.as_flattened(),
            );
        }
    }

    /// Adds those of other elements.
    pub(super) fn merge(&mut self, other: &Self) {
        add_to(self.values.iter_mut(), &*other.values);
        add_to(
            self.bytes.as_flattened_mut().iter_mut(),
            other.bytes.as_flattened(),
        );
    }

    /// Counts of plane 0's byte followed by `n_mantissa_bits` bits.
    fn values(&self, n_mantissa_bits: u32) -> Vec<u64> {
        let n_joined = 1 << (MAX_MANTISSA_BITS - n_mantissa_bits);
        let joined = self.values.chunks(n_joined);
        joined.map(|counts| counts.iter().sum()).collect()
    }
}

fn add_to<'a, T: Copy + Into<u64>>(sums: impl Iterator<Item = &'a mut u64>, counts: &[T]) {
    for (sum, &count) in sums.zip(counts) {
        *sum += count.into();
    }
}

/// How to store a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) alphabet: Alphabet,
    /// One a plane.
    pub(super) plans: Vec<Plan>,
    /// Estimated bits of all substreams and tables, without what each substream costs by itself.
    pub(super) bits: f64,
}

/// The choice that takes the fewest bits for elements of these counts; `None` if there are no elements.
pub(super) fn choose(kind: PackedType, counts: &Counts) -> Option<Choice> {
    let n = counts.values.iter().sum::<u64>();
    if n == 0 {
        return None;
    }
    let rest: Vec<(Plan, f64)> = counts.bytes[..kind.n_bytes() - 1]
        .iter()
        .map(|counts| plan_bytes(counts, n))
        .collect();
    let candidates = (0..=kind.max_mantissa_bits()).filter_map(|n_mantissa_bits| {
        let (alphabet, top, top_bits) =
            plan_top(kind, &counts.values(n_mantissa_bits), n_mantissa_bits)?;
        let (mut plans, mut bits) = (vec![top], top_bits);
        for (place, (plan, plan_bits)) in rest.iter().enumerate() {
            if place == 0 && n_mantissa_bits > 0 {
                plans.push(Plan::Raw);
                bits += (n * u64::from(8 - n_mantissa_bits)) as f64;
            } else {
                plans.push(plan.clone());
                bits += plan_bits;
            }
        }
        Some(Choice {
            alphabet,
            plans,
            bits,
        })
    });
    candidates.min_by(|a, b| a.bits.total_cmp(&b.bits))
}

/// Plane 0 of these counts of its values, if its alphabet has room for them.
fn plan_top(
    kind: PackedType,
    counts: &[u64],
    n_mantissa_bits: u32,
) -> Option<(Alphabet, Plan, f64)> {
    let n = counts.iter().sum();
    let first = (1..counts.len()).find(|&value| counts[value] > 0);
    let last = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
    // The least value but 0 has symbol 1, so that no symbol of the table is between them without need.
    let base = match (kind, first) {
        (PackedType::Byte, _) | (_, None) => 0,
        (_, Some(first)) => first - 1,
    };
    if last.saturating_sub(base) > 255 {
        return None;
    }
    let mut symbols = vec![counts[0]];
    symbols.extend(&counts[base + 1..=last.max(base)]);
    let (plan, bits) = plan_bytes(&symbols, n);
    if matches!(plan, Plan::Coded(_)) {
        let base = base as u16;
        return Some((
            Alphabet {
                n_mantissa_bits,
                base,
            },
            plan,
            bits,
        ));
    }
    // Raw and constant planes hold the values themselves.
    let (plan, bits) = plan_bytes(counts.first_chunk::<256>()?, n);
    (n_mantissa_bits == 0).then_some((Alphabet::default(), plan, bits))
}

/// A plane of `n` bytes with these counts, and the bits that it takes, those of its table included.
fn plan_bytes(counts: &[u64], n: u64) -> (Plan, f64) {
    let raw = (Plan::Raw, 8.0 * n as f64);
    let (Some(first), Some(last)) = (
        counts.iter().position(|&count| count > 0),
        counts.iter().rposition(|&count| count > 0),
    ) else {
        return raw;
    };
    if first == last {
        return (Plan::Constant(first as u8), 0.0);
    }
    let counts = &counts[first..=last];
    let Ok(table) = CdfTable::from_counts(counts, first as i32, BYTE_PRECISION) else {
        return raw;
    };
    let symbols = first as i32..=last as i32;
    let bits: f64 = symbols
        .zip(counts)
        .map(|(symbol, &count)| count as f64 * table.bits(symbol))
        .sum();
    // Masses are stored as varints, one or two bytes each.
    let masses = table.cdf().windows(2).map(|pair| pair[1] - pair[0]);
    let table_bytes: u32 = masses.map(|mass| if mass > 128 { 2 } else { 1 }).sum();
    let bits = bits + f64::from(8 * table_bytes);
    if bits > raw.1 * (1.0 - LEAST_SHARE_SAVED) {
        return raw;
    }
    (Plan::Coded(table), bits)
}
