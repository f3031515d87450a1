//! What a codec of format 1 makes of made-up symbols, bit for bit: old files decode to the same weights for ever.
//!
//! `golden.txt` holds a digest a line. One that changes is a change of the format, whatever the other tests say.

use std::path::Path;

use safetensors::SafeTensors;

use crate::Codec;

/// Compares what was found with the line of `golden.txt` that starts with `name`.
#[track_caller]
pub(crate) fn check_golden(name: &str, found: u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let line = format!("{name}: {found:016x}");
    assert!(
        text.lines().any(|known| known == line),
        "not in golden.txt: {line}"
    );
}

/// FNV-1a, 64 bits.
pub(crate) fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The digest of substreams, their lengths included.
pub(crate) fn digest_of_substreams(substreams: &[Vec<u8>]) -> u64 {
    digest(substreams.iter().flat_map(|substream| {
        let len = (substream.len() as u64).to_le_bytes();
        len.into_iter().chain(substream.iter().copied())
    }))
}

/// Numbers that look random: the same everywhere.
pub(crate) struct Made(u64);

impl Made {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An integer from `low` to below `high`.
    pub(crate) fn integer(&mut self, low: i32, high: i32) -> i32 {
        // Knuth's multiplicative generator, its upper bits.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        low + ((self.0 >> 33) % (high - low) as u64) as i32
    }

    /// Small symbols mostly, now and then one that no table holds.
    pub(crate) fn symbol(&mut self) -> i32 {
        match self.integer(0, 50) {
            0 => self.integer(-100_000, 100_000),
            1..10 => self.integer(-9, 10),
            _ => self.integer(-2, 3),
        }
    }
}

/// A codec out of a folder of `fixtures/v1`.
pub(crate) fn fixture_codec(folder: &str, id: &str) -> Codec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/v1")
        .join(folder)
        .join("model.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let codec = file.tensor(&format!("nwc.codec.{id}")).unwrap();
    Codec::from_bytes(codec.data()).unwrap()
}
