//! The layout inside a payload section: how many substreams, how long each, then their bytes.

use crate::{Error, Result};

/// The parts of a payload section; see [`Payload::parse`].
#[derive(Debug, Clone, Copy)]
pub struct Payload;

/// Puts substreams together into one payload section.
///
/// Layout: varint count, one varint length per substream, then the substreams one after another. A varint is
/// unsigned LEB128 in its shortest form, so the overhead is 3 bytes for a substream of 16 KiB to 2 MiB.
pub fn encode_payload<S: AsRef<[u8]>>(substreams: &[S]) -> Vec<u8> {
    let n_data_bytes: usize = substreams.iter().map(|s| s.as_ref().len()).sum();
    let mut out = Vec::with_capacity(n_data_bytes + 4 * (substreams.len() + 1));
    put_varint(&mut out, substreams.len());
    for substream in substreams {
        put_varint(&mut out, substream.as_ref().len());
    }
    for substream in substreams {
        out.extend_from_slice(substream.as_ref());
    }
    out
}

impl Payload {
    /// Splits a payload section into its substreams, in order.
    ///
    /// Takes memory for at most one slice per byte of `bytes`, whatever the count says.
    ///
    /// # Errors
    /// [`Error::Payload`] where the count or a length is not a shortest-form varint, where the substreams do not
    /// fill the section exactly.
    pub fn parse(bytes: &[u8]) -> Result<Vec<&[u8]>> {
        parse_named(bytes, "bytes")
    }
}

/// [`Payload::parse`] with the section's name for messages.
pub(crate) fn parse_named<'a>(bytes: &'a [u8], section: &str) -> Result<Vec<&'a [u8]>> {
    let wrong = |found: String, expected: String| Error::Payload {
        section: format!("`{section}`"),
        found,
        expected,
    };
    let mut rest = bytes;
    let n_substreams = take_varint(&mut rest).ok_or_else(|| {
        wrong(
            "no substream count".into(),
            "a shortest-form varint at the start".into(),
        )
    })?;
    // A length takes at least one byte: this bounds the allocation by the input.
    if n_substreams > rest.len() {
        return Err(wrong(
            format!("{n_substreams} substreams"),
            format!("at most {} in the bytes that follow", rest.len()),
        ));
    }
    let mut lengths = Vec::with_capacity(n_substreams);
    for substream_idx in 0..n_substreams {
        lengths.push(take_varint(&mut rest).ok_or_else(|| {
            wrong(
                format!("no length of substream {substream_idx}"),
                "a shortest-form varint".into(),
            )
        })?);
    }
    let mut substreams = Vec::with_capacity(n_substreams);
    for (substream_idx, length) in lengths.into_iter().enumerate() {
        let (substream, after) = rest.split_at_checked(length).ok_or_else(|| {
            wrong(
                format!("substream {substream_idx} of {length} bytes"),
                format!("at most the {} left", rest.len()),
            )
        })?;
        substreams.push(substream);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(wrong(
            format!("{} bytes after the last substream", rest.len()),
            "none".into(),
        ));
    }
    Ok(substreams)
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(0x80 | u8::try_from(value & 0x7f).unwrap_or(0x7f));
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0x7f));
}

/// Reads a shortest-form varint off the front; `None` where it is cut off, too long, or padded with zero bits.
fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for n_read in 0..10u32 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * n_read);
        if shifted >> (7 * n_read) != bits {
            return None;
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            let is_shortest = byte != 0 || n_read == 0;
            return if is_shortest {
                usize::try_from(value).ok()
            } else {
                None
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_error(bytes: &[u8], message: &str) {
        assert_eq!(Payload::parse(bytes).unwrap_err().to_string(), message);
    }

    #[test]
    fn layout_is_as_documented() {
        assert_eq!(encode_payload::<&[u8]>(&[]), [0]);
        assert_eq!(
            encode_payload(&[&b"ab"[..], b"", b"c"]),
            [3, 2, 0, 1, b'a', b'b', b'c']
        );
        assert_eq!(encode_payload(&[vec![7; 300]])[..3], [1, 0xac, 0x02]);
    }

    #[test]
    fn damage_is_named() {
        check_error(
            &[],
            "payload `bytes`: no substream count, expected a shortest-form varint at the start",
        );
        check_error(
            &[0x80, 0],
            "payload `bytes`: no substream count, expected a shortest-form varint at the start",
        );
        check_error(
            &[9, 0],
            "payload `bytes`: 9 substreams, expected at most 1 in the bytes that follow",
        );
        check_error(
            &[1, 0x80],
            "payload `bytes`: no length of substream 0, expected a shortest-form varint",
        );
        check_error(
            &[1, 3, 0],
            "payload `bytes`: substream 0 of 3 bytes, expected at most the 1 left",
        );
        check_error(
            &[1, 1, 0, 0],
            "payload `bytes`: 1 bytes after the last substream, expected none",
        );
        check_error(
            &[0xff; 12],
            "payload `bytes`: no substream count, expected a shortest-form varint at the start",
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]
        #[test]
        fn round_trip(substreams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let bytes = encode_payload(&substreams);
            prop_assert_eq!(Payload::parse(&bytes).unwrap(), substreams);
        }

        #[test]
        fn arbitrary_bytes_have_one_reading(bytes in prop::collection::vec(0u8..6, 0..24)) {
            if let Ok(substreams) = Payload::parse(&bytes) {
                prop_assert_eq!(encode_payload(&substreams), bytes);
            }
        }
    }
}
