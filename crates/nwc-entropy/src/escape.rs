//! Symbols outside of their table: stored beside the stream as the distance to the table, its side in the lowest bit.
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use crate::error::{Error, Result};
use crate::varint;

/// The largest distance of an `i32` to a table, with the side.
const MAX_CODE: u64 = (1 << 33) - 1;

/// 2·(symbol − max − 1) above the table, 2·(min − 1 − symbol) + 1 below it.
fn code(symbol: i32, min: i32, max: i32) -> u64 {
    let (symbol, min, max) = (i64::from(symbol), i64::from(min), i64::from(max));
    if symbol > max {
        2 * (symbol - max - 1).unsigned_abs()
    } else {
        2 * (min - 1 - symbol).unsigned_abs() + 1
    }
}

/// Bytes that [`write`] appends.
pub(crate) fn n_bytes(symbol: i32, min: i32, max: i32) -> u32 {
    varint::len(code(symbol, min, max))
}

/// Appends `symbol`, which lies outside of `min..=max`.
pub(crate) fn write(bytes: &mut Vec<u8>, symbol: i32, min: i32, max: i32) {
    varint::write(bytes, code(symbol, min, max));
}

/// Reads the symbol at `*at` and moves `*at` behind it.
pub(crate) fn read(bytes: &[u8], at: &mut usize, min: i32, max: i32) -> Result<i32> {
    let invalid = || Error::InvalidEscape { at: *at };
    let mut rest = bytes.get(*at..).ok_or_else(invalid)?;
    let before = rest.len();
    let code = varint::read(&mut rest, "escape", MAX_CODE).map_err(|_| invalid())?;
    let distance = (code >> 1).cast_signed();
    let symbol = if code & 1 == 0 {
        i64::from(max) + 1 + distance
    } else {
        i64::from(min) - 1 - distance
    };
    let symbol = i32::try_from(symbol).map_err(|_| invalid())?;
    *at += before - rest.len();
    Ok(symbol)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

        #[test]
        fn round_trip(symbol in any::<i32>(), min in any::<i32>(), len in 0..1000_i32) {
            let max = min.saturating_add(len);
            prop_assume!(symbol < min || symbol > max);
            let mut bytes = vec![7];
            write(&mut bytes, symbol, min, max);
            let mut at = 1;
            prop_assert_eq!(read(&bytes, &mut at, min, max), Ok(symbol));
            prop_assert_eq!(at, bytes.len());
            prop_assert_eq!(bytes.len() - 1, n_bytes(symbol, min, max) as usize);
        }
    }

    #[test]
    fn rejects_what_is_no_symbol() {
        let mut bytes = Vec::new();
        varint::write(&mut bytes, 2 * (1 << 31));
        assert_eq!(
            read(&bytes, &mut 0, -5, 5),
            Err(Error::InvalidEscape { at: 0 })
        );
        assert_eq!(
            read(&[], &mut 0, -5, 5),
            Err(Error::InvalidEscape { at: 0 })
        );
        assert_eq!(
            read(&[1, 0x80], &mut 1, -5, 5),
            Err(Error::InvalidEscape { at: 1 })
        );
        assert_eq!(
            read(&[], &mut 3, -5, 5),
            Err(Error::InvalidEscape { at: 3 })
        );
    }
}
