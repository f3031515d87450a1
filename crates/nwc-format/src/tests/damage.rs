//! Nothing that happens to a file goes unseen, and nothing in a file makes a reader panic.

use proptest::prelude::*;

use super::*;
use crate::{ErrorKind, ModelIndex, ShardHeader};

#[test]
#[cfg_attr(miri, ignore = "thousands of files, hours under Miri")]
fn every_changed_byte_is_detected() {
    // A reserve well above the need: the padding is part of what is checked.
    let bytes = small_shard(2400);
    let mut changed = bytes.clone();
    for byte_idx in 0..bytes.len() {
        // Every bit, and all of them.
        for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            changed[byte_idx] = bytes[byte_idx] ^ flip;
            let error = read(&changed).expect_err(&format!("byte {byte_idx} flipped by {flip}"));
            assert_ne!(error.kind(), ErrorKind::Io, "{error}");
            assert_ne!(error.kind(), ErrorKind::Argument, "{error}");
        }
        changed[byte_idx] = bytes[byte_idx];
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of files, hours under Miri")]
fn every_truncation_and_every_appended_byte_is_detected() {
    let bytes = small_shard(0);
    for n_bytes in 0..bytes.len() {
        read(&bytes[..n_bytes]).expect_err(&format!("cut to {n_bytes}"));
        ShardHeader::read(&bytes[..n_bytes], bytes.len() as u64, &Limits::default())
            .err()
            .filter(|_| n_bytes < header_len(&bytes))
            .map_or_else(|| assert!(n_bytes >= header_len(&bytes)), drop);
    }
    let mut longer = bytes;
    longer.push(0);
    read(&longer).unwrap_err();
}

fn header_len(bytes: &[u8]) -> usize {
    8 + usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap()
}

#[test]
fn two_swapped_sections_are_detected() {
    let bytes = small_shard(0);
    let mut swapped = bytes.clone();
    // The scales lie before the last section, of seven bytes.
    let n = swapped.len();
    swapped.swap(n - 8, n - 9);
    let digests = (Digest::of(&[60, 0]), Digest::of(&[0, 60]));
    check_error(
        read(&swapped),
        &format!(
            "digest of section `w.nwc.scales` is {}, the table says {}: the section is damaged",
            digests.0, digests.1
        ),
    );
}

#[test]
fn header_bomb_is_refused_before_memory_is_taken() {
    for announced in [1 << 40, u64::MAX, u64::MAX - 7, 50_331_649] {
        let mut bytes = u64::to_le_bytes(announced).to_vec();
        bytes.extend_from_slice(b"{}");
        let expected = format!(
            "length of the safetensors header in bytes is {announced}, allowed are 50331648"
        );
        let error = check_error(read(&bytes), &expected);
        assert_eq!(error.kind(), ErrorKind::Limit);
        // A reader is asked for no more than the prefix, whatever length its file claims.
        check_error(
            ShardHeader::read(&bytes[..], u64::MAX, &Limits::default()),
            &expected,
        );
    }
    let bytes = [&u64::to_le_bytes(50_000_000)[..], b"{}"].concat();
    check_error(
        read(&bytes),
        "the file is 10 bytes long, expected at least 8 + 50000000 for the header it announces",
    );
    // Within the limit, and the reader lies about its length: what is read is what there is.
    check_error(
        ShardHeader::read(&bytes[..], 1 << 40, &Limits::default()),
        "the part of the file that was read is 10 bytes long, expected at least 50000008 for the header",
    );
}

#[test]
#[cfg_attr(miri, ignore = "thousands of files, hours under Miri")]
fn deep_json_is_an_error() {
    let json = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(matches!(read(&seal(&json, b"")), Err(Error::Json { .. })));
}

/// `json` with some of its bytes replaced.
pub(super) fn poked(json: &str, pokes: Vec<(prop::sample::Index, String)>) -> String {
    let mut json = json.to_owned();
    for (place, text) in pokes {
        let start = place.index(json.len());
        let end = (start + text.len().max(1)).min(json.len());
        json.replace_range(start..end, &text);
    }
    json
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let limits = Limits::default();
        read(&bytes).unwrap_err();
        let _ = Header::parse(&bytes, bytes.len() as u64, &limits);
        let _ = ModelIndex::parse(&bytes, &limits);
        let mut prefixed = u64::to_le_bytes(bytes.len() as u64).to_vec();
        prefixed.extend_from_slice(&bytes);
        read(&prefixed).unwrap_err();
    }

    /// Well-formed JSON with a right digest and wrong content: whatever is accepted can be read without panic.
    #[test]
    fn sealed_nonsense_never_panics(
        pokes in prop::collection::vec((any::<prop::sample::Index>(), "[0-9a-z\\[\\]{},:\"-]{0,3}"), 1..4),
    ) {
        let bytes = small_shard(0);
        let split = header_len(&bytes);
        let json = poked(std::str::from_utf8(&bytes[8..split]).unwrap(), pokes);
        let _ = read(&seal(&json, &bytes[split..]));
    }
}
