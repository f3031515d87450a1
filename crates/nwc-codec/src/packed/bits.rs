//! Bytes whose high bits are not used, packed without gaps.
//!
//! With `n_high` bits unused, the low `8 − n_high` bits of one of `8 / n_high` rows of [`ROW`] bytes go into the high
//! bits of the others, `n_high` into each. Bytes that do not fill a group of rows stay as they are. So a loop over rows
//! is made of shifts of whole vectors.

/// Bytes of a row.
const ROW: usize = 32;

/// Bytes of a group: `8 / n_high` rows.
fn group_len(n_high: u32) -> usize {
    ROW * (8 / n_high as usize)
}

/// Length of `n` packed bytes with 1 or 2 unused bits each.
pub(super) fn packed_len(n: usize, n_high: u32) -> usize {
    n - n / group_len(n_high) * ROW
}

/// Appends `bytes`, whose `n_high` (1 or 2) high bits are 0, to `out`.
pub(super) fn pack(bytes: &[u8], n_high: u32, out: &mut Vec<u8>) {
    let groups = bytes.chunks_exact(group_len(n_high));
    let rest = groups.remainder();
    for group in groups {
        let (kept, spread) = group.split_at(group.len() - ROW);
        for (place, row) in (0..).zip(kept.chunks_exact(ROW)) {
            let packed = |(&kept, &spread): (&u8, &u8)| {
                let high = (spread >> (place * n_high)) & ((1 << n_high) - 1);
                kept | high << (8 - n_high)
            };
            out.extend(row.iter().zip(spread).map(packed));
        }
    }
    out.extend_from_slice(rest);
}

/// Fills `out` from `packed`, which has [`packed_len`] bytes.
#[inline(always)]
pub(super) fn unpack<const N_HIGH: u32>(packed: &[u8], out: &mut [u8]) {
    let group_len = group_len(N_HIGH);
    let n_packed = packed.len() - out.len() % group_len;
    let (packed, packed_rest) = packed.split_at(n_packed);
    let mut groups = out.chunks_exact_mut(group_len);
    for (packed, group) in packed.chunks_exact(group_len - ROW).zip(&mut groups) {
        let (kept, spread) = group.split_at_mut(group_len - ROW);
        let mut collected = [0; ROW];
        for (place, (packed, kept)) in
            (0..).zip(packed.chunks_exact(ROW).zip(kept.chunks_exact_mut(ROW)))
        {
            for ((packed, kept), collected) in packed.iter().zip(kept).zip(&mut collected) {
                *kept = packed & (0xff >> N_HIGH);
                *collected |= (packed >> (8 - N_HIGH)) << (place * N_HIGH);
            }
        }
        spread.copy_from_slice(&collected);
    }
    groups.into_remainder().copy_from_slice(packed_rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N_HIGH: u32>(n: usize) {
        let mask = 0xff >> N_HIGH;
        let bytes: Vec<u8> = (0..n).map(|i| (i * 167 + i / 256) as u8 & mask).collect();
        let mut packed = Vec::new();
        pack(&bytes, N_HIGH, &mut packed);
        assert_eq!(packed.len(), packed_len(n, N_HIGH));
        let mut out = vec![0xff; n];
        unpack::<N_HIGH>(&packed, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn round_trips() {
        for n in [0, 1, 127, 128, 129, 255, 256, 257, 1000, 2048] {
            check::<1>(n);
            check::<2>(n);
        }
        assert_eq!((packed_len(256, 1), packed_len(256, 2)), (224, 192));
    }
}
