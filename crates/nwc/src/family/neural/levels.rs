//! Quality levels of columns in as few bits as tell them apart.

use nwc_chunk::QualityLevel;

use super::{LEVELS, UNIFORM_LEVEL};
use crate::error::TensorError;
use crate::family::StoredSections;

/// The level of each of `cols` columns; a codec has `n_levels`.
pub(super) fn stored_levels(
    stored: &StoredSections<'_>,
    n_levels: usize,
    cols: usize,
) -> Result<Vec<QualityLevel>, TensorError> {
    let wrong = |found: String| TensorError::Record {
        what: "quality level",
        found,
        expected: format!("0 to {}", n_levels - 1),
    };
    if let Some(&level) = stored.parameters.get(UNIFORM_LEVEL) {
        let is_level = level.fract() == 0.0 && (0.0..n_levels as f64).contains(&level);
        return match is_level {
            true => Ok(vec![QualityLevel(level as u8); cols]),
            false => Err(wrong(level.to_string())),
        };
    }
    if cols == 0 {
        return Ok(Vec::new());
    }
    let bits = level_bits(n_levels);
    let bytes = stored.get(LEVELS)?;
    let n_bytes = cols.checked_mul(bits as usize).map(|bits| bits.div_ceil(8));
    if n_bytes != Some(bytes.len()) {
        return Err(TensorError::Record {
            what: "length of the quality levels",
            found: format!("{} bytes", bytes.len()),
            expected: format!("{bits} bits for each of {cols} columns"),
        });
    }
    let levels = unpack_levels(bytes, bits, cols);
    match levels.iter().find(|level| usize::from(level.0) >= n_levels) {
        Some(level) => Err(wrong(level.0.to_string())),
        None => Ok(levels),
    }
}

/// Bits that tell `n_levels` levels apart.
pub(super) fn level_bits(n_levels: usize) -> u32 {
    n_levels.max(2).next_power_of_two().trailing_zeros()
}

#[cfg(feature = "encode")]
pub(super) fn pack_levels(levels: &[QualityLevel], bits: u32) -> Vec<u8> {
    let mut bytes = vec![0u8; (levels.len() * bits as usize).div_ceil(8)];
    for (i, level) in levels.iter().enumerate() {
        for bit in 0..bits as usize {
            let at = i * bits as usize + bit;
            bytes[at / 8] |= (level.0 >> bit & 1) << (at % 8);
        }
    }
    bytes
}

fn unpack_levels(bytes: &[u8], bits: u32, n: usize) -> Vec<QualityLevel> {
    let bit_at = |at: usize| bytes.get(at / 8).map_or(0, |b| b >> (at % 8) & 1);
    (0..n)
        .map(|i| {
            let first = i * bits as usize;
            QualityLevel(
                (0..bits as usize)
                    .map(|bit| bit_at(first + bit) << bit)
                    .sum(),
            )
        })
        .collect()
}

#[cfg(all(test, feature = "encode"))]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn levels_round_trip(n_levels in 1usize..=64, raw in prop::collection::vec(0u8..64, 0..50)) {
            let levels: Vec<_> = raw.iter().map(|&l| QualityLevel(l % n_levels as u8)).collect();
            let bits = level_bits(n_levels);
            let packed = pack_levels(&levels, bits);
            let stored = StoredSections {
                by_role: BTreeMap::from([(LEVELS, packed.as_slice())]),
                parameters: &BTreeMap::new(),
            };
            prop_assert_eq!(stored_levels(&stored, n_levels, levels.len()).unwrap(), levels);
        }
    }

    #[test]
    fn a_level_is_an_integer_that_the_codec_has() {
        for (level, is_ok) in [
            (0.0, true),
            (3.0, true),
            (1.7, false),
            (4.0, false),
            (-1.0, false),
        ] {
            let parameters = BTreeMap::from([(UNIFORM_LEVEL.to_owned(), level)]);
            let stored = StoredSections {
                by_role: BTreeMap::new(),
                parameters: &parameters,
            };
            assert_eq!(stored_levels(&stored, 4, 2).is_ok(), is_ok, "{level}");
        }
    }
}
