//! Version 1 is read for ever: a shard of it, byte for byte, and what it did not have.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The toy shard that version 1's own tests pinned.
const HEADER: &str = r#"{"__metadata__":{"format":"pt","nwc":"{\"version\":1,\"generator\":\"test\",\"fingerprint\":\"ccca53791b024d98ee5d8c126d923e16f6cede945beb0b93c9abca301ed453e7\",\"shard_idx\":0,\"n_shards\":1,\"codecs\":[{\"id\":\"c0\",\"bytes\":5,\"digest\":\"66fec40df539cb89d3ed0a471b2764f3843de319d2f3bd41b17e9c5c97c5a622\"}],\"files\":{\"config.json\":\"6e46dd10defc9b56c29a6ec56b508c21f54c08192194e4df25bf36f0c9c3c279\"},\"tensors\":[{\"name\":\"w\",\"dtype\":\"F32\",\"shape\":[1,3],\"coding\":{\"coded\":{\"family\":\"neural\",\"codec\":\"c0\",\"parameters\":{\"step\":0.1}}},\"bits\":30.5,\"nmse\":0.01,\"sections\":[[\"payload\",7,\"8ed4026e54133dab22e779fc7fc1e452a5bcd8c67c32f2a8feddd49ee01dc4ea\"],[\"scales\",2,\"622d8ea720b4973c37e4b1e0866e982ed4665c11a791732f7d871619016a8e03\"]]},{\"name\":\"norm\",\"dtype\":\"BF16\",\"shape\":[2],\"coding\":\"lossless\",\"reason\":\"1-d\",\"sections\":[[\"tensor\",4,\"63781d171425a36312fa058d8712d5d05135a991ec20351ce9d65cdb19a05432\"]]},{\"name\":\"head\",\"dtype\":\"F32\",\"shape\":[1,3],\"coding\":{\"tied_to\":{\"name\":\"w\"}}}]}","nwc_digest":"6d1376f0b8ee1c09cc4382729ed099bf11677b438320deac55dc5ec19a504eea"},"norm":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"nwc.codec.c0":{"dtype":"U8","shape":[5],"data_offsets":[4,9]},"w.nwc.payload":{"dtype":"U8","shape":[7],"data_offsets":[9,16]},"w.nwc.scales":{"dtype":"F16","shape":[1],"data_offsets":[16,18]}}  "#;
const DATA: &[u8] = &[
    1, 2, 3, 4, 0x63, 0x6f, 0x64, 0x65, 0x63, 2, 3, 1, 9, 8, 7, 6, 0, 0x3c,
];

fn small() -> Vec<u8> {
    let length = (HEADER.len() as u64).to_le_bytes();
    [&length[..], HEADER.as_bytes(), DATA].concat()
}

#[test]
fn the_toy_shard_is_read_as_it_is() {
    let bytes = small();
    let shard = Shard::parse(&bytes[..], &Limits::default()).unwrap();
    shard.verify().unwrap();
    let metadata = shard.metadata();
    assert_eq!(metadata.version, 1);
    assert_eq!(metadata.base, None);
    let w = shard.record("w").unwrap();
    let payload = w.section("payload").unwrap();
    assert_eq!(payload.name, "w.nwc.payload");
    assert_eq!(shard.payload(payload).unwrap(), [&[9, 8, 7][..], &[6]]);
    let step = BTreeMap::from([("step".to_owned(), 0.1)]);
    let is_coded =
        matches!(&w.coding, Coding::Coded { parameters, base: false, .. } if *parameters == step);
    assert!(is_coded, "{:?}", w.coding);
    let norm = shard.record("norm").unwrap();
    assert_eq!(norm.coding, Coding::Raw);
    assert_eq!(shard.section(&norm.sections[0]).unwrap(), [1, 2, 3, 4]);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of files, hours under Miri")]
fn every_changed_byte_is_detected() {
    let bytes = small();
    let mut changed = bytes.clone();
    for byte_idx in 0..bytes.len() {
        changed[byte_idx] ^= 1;
        read(&changed).expect_err(&format!("byte {byte_idx}"));
        changed[byte_idx] = bytes[byte_idx];
    }
}

#[test]
fn what_version_2_added_is_no_version_1() {
    let check = |edit: fn(&mut Value), expected: &str| {
        let error = read(&forge_from(&small(), |_, t| edit(t))).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        |t| t["provenance"] = json!({}),
        "unknown field `provenance`",
    );
    check(|t| t["base"] = json!(null), "unknown field `base`");
    check(
        |t| t["checkpoints"] = json!([]),
        "unknown field `checkpoints`",
    );
    check(
        |t| t["tensors"][1]["coding"] = json!("raw"),
        "unknown variant `raw`",
    );
    check(
        |t| t["tensors"][0]["coding"]["coded"]["base"] = json!(true),
        "unknown field `base`",
    );
    check(|t| t["version"] = json!(2), "unknown variant `lossless`");
}

#[test]
fn a_writer_makes_no_version_1() {
    let mut metadata = read(&small()).unwrap();
    metadata.tensors.clear();
    let writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    check_error(
        writer.finish(metadata),
        "version of the table is 1, allowed is 2",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

    #[test]
    fn sealed_nonsense_never_panics(
        pokes in prop::collection::vec((any::<prop::sample::Index>(), "[0-9a-z\\[\\]{},:\"-]{0,3}"), 1..4),
    ) {
        let _ = read(&seal(&damage::poked(HEADER, pokes), DATA));
    }
}
