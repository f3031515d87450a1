//! Variable-length integers (LEB128, shortest form only) and zigzag.
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use crate::error::{Error, Result};

/// Appends `value`, seven bits a byte, least significant first.
pub(crate) fn write(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

/// Bytes that [`write`] appends.
pub(crate) fn len(value: u64) -> u32 {
    (64 - (value | 1).leading_zeros()).div_ceil(7)
}

/// Reads an integer of at most `max` from the front of `bytes` and moves `bytes` behind it.
///
/// # Errors
/// [`Error::Truncated`] and [`Error::InvalidVarint`]; `what` names the field in them.
pub(crate) fn read(bytes: &mut &[u8], what: &'static str, max: u64) -> Result<u64> {
    let mut value = 0_u64;
    for (idx, &byte) in bytes.iter().enumerate().take(10) {
        let group = u64::from(byte & 0x7f);
        // The tenth group has one bit left; a last group of zero would not be the shortest form.
        if (idx == 9 && group > 1) || (idx > 0 && byte == 0) {
            return Err(Error::InvalidVarint { what, max });
        }
        value |= group << (7 * idx);
        if byte < 0x80 {
            if value > max {
                return Err(Error::InvalidVarint { what, max });
            }
            *bytes = &bytes[idx + 1..];
            return Ok(value);
        }
    }
    if bytes.len() >= 10 {
        return Err(Error::InvalidVarint { what, max });
    }
    Err(Error::Truncated {
        what,
        needed: bytes.len() as u64 + 1,
        available: bytes.len(),
    })
}

/// As [`read`], of an integer that fits 32 bits.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_u32(bytes: &mut &[u8], what: &'static str, max: u32) -> Result<u32> {
    let max = u64::from(max);
    let value = read(bytes, what, max)?;
    u32::try_from(value).map_err(|_| Error::InvalidVarint { what, max })
}

/// Folds the sign into the lowest bit.
pub(crate) fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)).cast_unsigned())
}

/// Inverse of [`zigzag`].
pub(crate) fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

        #[test]
        fn round_trip(value in prop_oneof![any::<u64>(), 0..300_u64], sign in any::<i32>()) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            prop_assert_eq!(bytes.len(), len(value) as usize);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read(&mut rest, "value", u64::MAX), Ok(value));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(u32::try_from(zigzag(sign)).map(unzigzag), Ok(sign));
        }
    }

    #[track_caller]
    fn check(mut bytes: &[u8], expected: Result<u64>) {
        assert_eq!(read(&mut bytes, "value", 1000), expected);
    }

    #[test]
    fn rejects_other_forms() {
        let invalid = Err(Error::InvalidVarint {
            what: "value",
            max: 1000,
        });
        check(&[0xe8, 0x07], Ok(1000));
        check(&[0xe9, 0x07], invalid.clone());
        check(&[0x80, 0x00], invalid.clone());
        check(&[0xff; 12], invalid);
        check(
            &[0x80],
            Err(Error::Truncated {
                what: "value",
                needed: 2,
                available: 1,
            }),
        );
        check(
            &[],
            Err(Error::Truncated {
                what: "value",
                needed: 1,
                available: 0,
            }),
        );
    }
}
