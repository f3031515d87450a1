//! The exact bytes of a small shard: a change here is a change of the format.

use super::*;

/// Header text broken at the structure, data as hex, padding counted.
fn annotate(bytes: &[u8]) -> String {
    let header = Header::parse(bytes, bytes.len() as u64, &Limits::default()).unwrap();
    let start = data_start(bytes);
    let json = std::str::from_utf8(&bytes[8..start]).unwrap();
    let text = json.trim_end_matches(' ');
    let mut out = format!("{:02x?} header length {}\n", &bytes[..8], start - 8);
    out += &text
        .replace("},\"", "},\n\"")
        .replace("\\\"},{", "\\\"},\n  {")
        .replace("\",\"nwc", "\",\n\"nwc");
    out += &format!("\n{} blanks of padding\n", json.len() - text.len());
    for entry in header.entries() {
        let range =
            usize::try_from(entry.range.start).unwrap()..usize::try_from(entry.range.end).unwrap();
        out += &format!(
            "{:5} {}: {:02x?}\n",
            range.start,
            entry.name,
            &bytes[range.clone()]
        );
    }
    out
}

#[test]
#[cfg_attr(miri, ignore = "insta runs cargo")]
fn small_shard_has_these_bytes() {
    insta::assert_snapshot!(annotate(&small_shard(0)), @r#"
    [58, 07, 00, 00, 00, 00, 00, 00] header length 1880
    {"__metadata__":{"format":"pt",
    "nwc":"{\"version\":2,\"generator\":\"test\",\"fingerprint\":\"ccca53791b024d98ee5d8c126d923e16f6cede945beb0b93c9abca301ed453e7\",\"base\":{\"name\":\"org/base\",\"fingerprint\":\"de8f3fcf327eb911b2c368e011e0ffdee22fed456b4f4508337018ba46a0639d\"},\"shard_idx\":0,\"n_shards\":1,\"codecs\":[{\"id\":\"c0\",\"bytes\":5,\"digest\":\"66fec40df539cb89d3ed0a471b2764f3843de319d2f3bd41b17e9c5c97c5a622\"}],\"files\":{\"config.json\":\"6e46dd10defc9b56c29a6ec56b508c21f54c08192194e4df25bf36f0c9c3c279\"},\"provenance\":{\"bpw\":\"3.5\"},\"metadata\":{\"total_parameters\":\"many\"},\"tensors\":[{\"name\":\"w\",\"dtype\":\"F32\",\"shape\":[1,3],\"coding\":{\"coded\":{\"family\":\"neural\",\"codec\":\"c0\",\"parameters\":{\"step\":0.1}}},\"bits\":30.5,\"nmse\":0.01,\"sections\":[[\"payload\",7,\"8ed4026e54133dab22e779fc7fc1e452a5bcd8c67c32f2a8feddd49ee01dc4ea\"],[\"scales\",2,\"622d8ea720b4973c37e4b1e0866e982ed4665c11a791732f7d871619016a8e03\"]]},{\"name\":\"norm\",\"dtype\":\"BF16\",\"shape\":[2],\"coding\":\"raw\",\"reason\":\"1-d\",\"sections\":[[\"tensor\",4,\"63781d171425a36312fa058d8712d5d05135a991ec20351ce9d65cdb19a05432\"]]},{\"name\":\"bias\",\"dtype\":\"F32\",\"shape\":[4],\"coding\":{\"packed\":{\"method\":\"toy\",\"base\":true}},\"sections\":[[\"payload\",7,\"cd240f65f85348e755c9de5d2f1f46d27d29797ce890af2a237be251fa64d5e4\"]]},{\"name\":\"head\",\"dtype\":\"F32\",\"shape\":[1,3],\"coding\":{\"tied_to\":{\"name\":\"w\"}}}]}",
    "nwc_digest":"ee3387a7d3cd546b7f28152c5c21568e395412963bb3900c1c4099878a3e8431","total_parameters":"9"},
    "norm":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},
    "nwc.codec.c0":{"dtype":"U8","shape":[5],"data_offsets":[4,9]},
    "w":{"dtype":"U8","shape":[7],"data_offsets":[9,16]},
    "w.nwc.scales":{"dtype":"F16","shape":[1],"data_offsets":[16,18]},
    "bias":{"dtype":"U8","shape":[7],"data_offsets":[18,25]}}
    4 blanks of padding
     1888 norm: [01, 02, 03, 04]
     1892 nwc.codec.c0: [63, 6f, 64, 65, 63]
     1897 w: [02, 03, 01, 09, 08, 07, 06]
     1904 w.nwc.scales: [00, 3c]
     1906 bias: [70, 61, 63, 6b, 65, 64, 21]
    "#);
}
