//! One negative case per way a file or a call can be wrong, with the text that the user sees.

use serde_json::json;

use super::*;
use crate::{ErrorKind, check_base, check_shard_set};

#[track_caller]
pub(super) fn check_forged(edit: impl FnOnce(&mut Value, &mut Value), expected: &str) {
    let error = check_error(read(&forge(edit)), expected);
    assert_eq!(error.kind(), ErrorKind::Format);
}

#[test]
fn a_forgery_without_changes_is_the_file() {
    assert_eq!(
        read(&forge(|_, _| {})).unwrap(),
        read(&small_shard(0)).unwrap()
    );
}

#[test]
fn version_mismatch_is_named() {
    check_forged(
        |_, t| t["version"] = json!(3),
        "format version 3, this build reads versions 1 to 2",
    );
    // A later version may have other keys.
    check_forged(
        |_, t| *t = json!({"version": 7, "new": []}),
        "format version 7, this build reads versions 1 to 2",
    );
}

#[test]
fn foreign_files_are_told_apart() {
    let plain = seal(
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
        b"x",
    );
    let expected = "no key `nwc` in the safetensors metadata: not an nwc file";
    check_error(read(&plain), expected);
    check_forged(|h, _| drop(meta(h).remove("nwc")), expected);
    check_forged(
        |h, _| drop(meta(h).remove("nwc_digest")),
        "no key `nwc_digest` in the safetensors metadata: not an nwc file",
    );
}

#[test]
fn header_errors_name_the_tensor() {
    check_forged(
        |h, _| h["norm"]["dtype"] = json!("F12"),
        "tensor `norm` has unknown dtype `F12`, known are BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, \
         F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64",
    );
    check_forged(
        |h, _| h["norm"]["shape"] = json!([3]),
        "section `norm` lies at 0..4, expected 6 bytes for BF16 [3]",
    );
    check_forged(
        |h, _| h["norm"]["shape"] = json!([usize::MAX, 2]),
        "tensor `norm`: dtype BF16 and shape [18446744073709551615, 2], expected a whole number of bytes below 2^61",
    );
    check_forged(
        |h, _| h["w"]["data_offsets"] = json!([10, 17]),
        "section `w` starts at byte 1895 of the file, expected 1894, where the one before it ends",
    );
    let error = read(&forge(|h, _| h["norm"]["shape"] = json!([-1])))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("tensor `norm`: invalid value: integer `-1`"),
        "{error}"
    );
}

#[test]
fn a_repeated_name_is_refused() {
    let entry = r#""a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let error = read(&seal(&format!("{{{entry},{entry}}}"), b""))
        .unwrap_err()
        .to_string();
    assert!(error.contains("name `a` is there twice"), "{error}");
    let error = read(&seal(r#"{"__metadata__":{"k":"1","k":"2"}}"#, b""))
        .unwrap_err()
        .to_string();
    assert!(error.contains("key `k` is there twice"), "{error}");
    check_forged(
        |_, t| t["tensors"][1] = t["tensors"][0].clone(),
        "name `w` is there twice, allowed once",
    );
    check_forged(
        |_, t| {
            let section = t["tensors"][0]["sections"][0].clone();
            t["tensors"][0]["sections"]
                .as_array_mut()
                .unwrap()
                .push(section);
        },
        "name `w` is there twice, allowed once",
    );
}

#[test]
fn table_errors() {
    check_forged(
        |_, t| t["shard_idx"] = json!(1),
        "shard index is 1, expected below 1",
    );
    check_forged(
        |_, t| {
            t["shard_idx"] = json!(1);
            t["n_shards"] = json!(2);
        },
        "number of files or checkpoints listed in a later shard is 1, expected 0",
    );
    check_forged(
        |_, t| t["codecs"][0]["bytes"] = json!(6),
        "section `nwc.codec.c0` is 5 bytes of U8, expected 6 bytes of U8",
    );
    check_forged(
        |_, t| t["codecs"][0]["id"] = json!("c1"),
        "section `nwc.codec.c1` is not in the file, expected the bytes that the table lists",
    );
    check_forged(
        |_, t| t["codecs"][0]["id"] = json!("c/1"),
        "codec id is `c/1`, expected 1 to 64 of A-Z a-z 0-9 _ - and inner dots",
    );
    check_forged(
        |_, t| drop(t["tensors"].as_array_mut().unwrap().remove(1)),
        "section `norm` belongs to no tensor and no codec of the table, expected exactly one",
    );
    let error = read(&forge(|_, t| t["surprise"] = json!(1)))
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown field `surprise`"), "{error}");
}

#[test]
fn record_errors_name_the_tensor() {
    check_forged(
        |_, t| t["tensors"][0]["sections"][0][0] = json!("scores"),
        "section `w.nwc.scores` is not in the file, expected the bytes that the table lists",
    );
    check_forged(
        |_, t| t["tensors"][0]["sections"][0][1] = json!(3),
        "section `w` is 7 bytes, expected 3, as the table says",
    );
    check_forged(
        |_, t| t["tensors"][0]["coding"]["coded"]["codec"] = json!("c9"),
        "tensor `w`: codec id `c9`, expected that of one of 1 codecs stored",
    );
    check_forged(
        |_, t| t["tensors"][1]["shape"] = json!([1, 2]),
        "tensor `norm`: stored as BF16 [2], expected BF16 [1, 2]",
    );
    check_forged(
        |_, t| t["tensors"][1]["coding"] = json!({"tied_to": {"name": "w"}}),
        "tensor `norm`: 1 sections, expected none for a tied tensor",
    );
    check_forged(
        |_, t| t["tensors"][3]["coding"] = json!("raw"),
        "tensor `head`: 0 sections, expected 1 for a raw tensor",
    );
    check_forged(
        |_, t| t["tensors"][3]["coding"] = json!({"tied_to": {"name": "head"}}),
        "tensor `head`: tied to `head`, expected a tensor that is not tied",
    );
    check_forged(
        |_, t| t["tensors"][3]["coding"] = json!({"tied_to": {"name": "gone"}}),
        "tensor `head`: tied to `gone`, expected a tensor that is there",
    );
    check_forged(
        |_, t| t["tensors"][3]["shape"] = json!([3]),
        "tensor `head`: tied to `w`, F32 [1, 3], expected F32 [3]",
    );
    check_forged(
        |_, t| t["tensors"][0]["nmse"] = json!(-1.0),
        "tensor `w`: nmse Some(-1.0), expected finite and not negative",
    );
}

#[test]
fn payloads_cannot_pass_for_weights() {
    check_forged(
        |h, _| {
            h["w"]["dtype"] = json!("I8");
        },
        "tensor `w`: a payload stored as I8 [7], expected U8 with one dimension",
    );
    check_forged(
        |h, _| h["w"]["shape"] = json!([7, 1]),
        "tensor `w`: a payload stored as U8 [7, 1], expected U8 with one dimension",
    );
    check_forged(
        |_, t| t["tensors"][2]["shape"] = json!([7]),
        "tensor `bias`: a payload of shape [7], expected another shape than the tensor's, which is stored raw instead",
    );
    check_forged(
        |_, t| t["tensors"][2]["sections"] = json!([]),
        "tensor `bias`: no section with role `payload`, expected one for a coded or packed tensor",
    );
    let mut writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    check_error(
        writer.coded_as("a", "payload", DType::I8, &[1], &[0]),
        "payload of tensor `a` is I8 [1], allowed is U8 with one dimension",
    );
}

#[test]
fn codings_are_checked() {
    check_forged(
        |_, t| t["tensors"][2]["coding"]["packed"]["method"] = json!("a b"),
        "tensor `bias`: method `a b`, expected 1 to 64 of A-Z a-z 0-9 _ - and inner dots",
    );
    check_forged(
        |_, t| {
            t["tensors"][2]["coding"]["packed"]["parameters"] = json!({ "a": 1.0e308_f64 * 10.0 })
        },
        "the tensor table is not the expected JSON: `null` is no number at line 1 column 71",
    );
    read(&forge(|_, t| {
        t["tensors"][2]["coding"]["packed"]["parameters"] = json!({"a": 1e300});
    }))
    .unwrap();
    check_forged(
        |_, t| drop(t.as_object_mut().unwrap().remove("base")),
        "tensor `bias`: a difference to a base model, expected a base in the table",
    );
    let many: BTreeMap<String, f64> = (0..65).map(|i| (i.to_string(), 0.0)).collect();
    let error = read(&forge(|_, t| {
        t["tensors"][0]["coding"]["coded"]["parameters"] = json!(many);
    }));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("more than 64 keys"), "{error}");
}

#[test]
fn a_base_is_asked_for_by_name_and_fingerprint() {
    let metadata = read(&small_shard(0)).unwrap();
    let (base, other) = (Digest::of(b"base"), Digest::of(b"other"));
    check_base(&metadata, Some(&base)).unwrap();
    let missing = check_error(
        check_base(&metadata, None),
        &format!(
            "stored as differences to the model `org/base` with fingerprint {base}, which was not given"
        ),
    );
    assert_eq!(missing.kind(), ErrorKind::Argument);
    let wrong = check_error(
        check_base(&metadata, Some(&other)),
        &format!(
            "stored as differences to the model `org/base` with fingerprint {base}, given was one with {other}"
        ),
    );
    assert_eq!(wrong.kind(), ErrorKind::Argument);
    let alone = ShardMetadata::new("test", other);
    check_base(&alone, None).unwrap();
    check_base(&alone, Some(&base)).unwrap();
}

#[test]
fn provenance_and_metadata_are_bounded() {
    check_forged(
        |_, t| t["provenance"] = json!({"a b": ""}),
        "name of an entry of provenance is `a b`, expected 1 to 64 of A-Z a-z 0-9 _ - and inner dots",
    );
    check_forged(
        |_, t| t["provenance"] = json!({"a": "x".repeat(4097)}),
        "length of `a` in provenance in bytes is 4097, expected at most 4096",
    );
    check_forged(
        |_, t| {
            t["shard_idx"] = json!(1);
            t["n_shards"] = json!(2);
            t.as_object_mut().unwrap().remove("files");
            t.as_object_mut().unwrap().remove("checkpoints");
        },
        "number of entries of provenance in a later shard is 1, expected 0",
    );
    check_forged(
        |_, t| t["metadata"] = json!({"format": "pt"}),
        "key of the original metadata in the table is `format`, expected one of nwc, nwc_digest, total_parameters",
    );
    check_forged(
        |h, _| h["__metadata__"]["total_parameters"] = json!("1e3"),
        "metadata `total_parameters` is `1e3`, expected a number",
    );
    let mut writer_metadata = ShardMetadata::new("test", Digest::of(b""));
    writer_metadata.provenance = (0..65).map(|i| (i.to_string(), String::new())).collect();
    let writer = ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    check_error(
        writer.finish(writer_metadata),
        "shard metadata is number of entries of provenance is 65, expected at most 64, \
         allowed is one that describes the sections written",
    );
}

#[test]
fn counts_are_checked_before_memory_is_taken() {
    let limits = Limits {
        max_tensors: 5,
        ..Limits::default()
    };
    let many = |key: &str, item: &str| {
        let table = format!(
            r#"{{"version":2,"generator":"","fingerprint":"{}","shard_idx":0,"n_shards":1,"codecs":[{}],"tensors":[{}]}}"#,
            Digest::of(b""),
            if key == "codecs" { item } else { "" },
            if key == "tensors" { item } else { "" },
        );
        let header = json!({"__metadata__": {"nwc": table, "nwc_digest": "0".repeat(64)}});
        seal(&header.to_string(), b"")
    };
    // Not even records: their number is known before they are looked at.
    for (key, expected) in [
        (
            "codecs",
            "number of codecs in the table is 6, allowed are 5",
        ),
        (
            "tensors",
            "number of tensors in the table is 6, allowed are 5",
        ),
    ] {
        let error = check_error(Shard::parse(many(key, "0,0,0,0,0,0"), &limits), expected);
        assert_eq!(error.kind(), ErrorKind::Limit);
    }
}

#[test]
fn limits_are_checked() {
    let bytes = small_shard(0);
    let check = |limits: Limits, expected: &str| {
        let error = check_error(Shard::parse(&bytes[..], &limits), expected);
        assert_eq!(error.kind(), ErrorKind::Limit);
    };
    let limits = Limits::default();
    check(
        Limits {
            max_tensors: 3,
            ..limits
        },
        "number of tensors in the header is 5, allowed are 3",
    );
    check(
        Limits {
            max_dims: 1,
            ..limits
        },
        "number of dimensions of tensor `w` is 2, allowed are 1",
    );
    check(
        Limits {
            max_elements_per_byte: 0,
            ..limits
        },
        "number of elements of tensor `w` in 9 bytes is 3, allowed are 0",
    );
    check(
        Limits {
            max_decoded_bytes: 11,
            ..limits
        },
        "decoded size of tensor `w` in bytes is 12, allowed are 11",
    );
}

#[test]
fn writer_refuses_what_no_reader_would_open() {
    let writer = || ShardWriter::new(Cursor::new(Vec::new()), 0).unwrap();
    let check = |result: Result<Section>, expected: &str| {
        assert_eq!(check_error(result, expected).kind(), ErrorKind::Argument);
    };
    check(
        writer().raw("a", DType::F32, &[2], &[0; 7]),
        "data of section `a` is 7 bytes, allowed is 8 bytes for F32 [2]",
    );
    check(
        writer().raw("a", DType::F32, &[usize::MAX, 2], &[]),
        "data of section `a` is 0 bytes, allowed is a shape that fits, not F32 [18446744073709551615, 2]",
    );
    check(
        writer().raw("__metadata__", DType::U8, &[0], &[]),
        "section name is `__metadata__`, allowed is a name that is not `__metadata__` and not there yet",
    );
    check(
        writer().coded("a", "tensor", &[]),
        "section role of tensor `a` is `tensor`, allowed is 1 to 64 of A-Z a-z 0-9 _ - and inner dots, not `tensor`",
    );
    check_error(
        ShardWriter::new(Cursor::new(vec![1]), 0),
        "length of the output is 1, allowed is 0",
    );
    let mut unlisted = writer();
    unlisted.raw("a", DType::U8, &[1], &[1]).unwrap();
    check_error(
        unlisted.finish(ShardMetadata::new("test", Digest::of(b""))),
        "shard metadata is section `a` belongs to no tensor and no codec of the table, expected exactly one, \
         allowed is one that describes the sections written",
    );
    let mut infinite = writer();
    let section = infinite.coded("a", "payload", &[]).unwrap();
    let codec = infinite.codec("c", &[]).unwrap();
    let parameters = BTreeMap::from([("step".to_owned(), f64::NAN)]);
    let coding = Coding::Coded {
        family: "trellis".into(),
        codec: "c".into(),
        parameters,
        base: false,
    };
    let mut metadata = ShardMetadata::new("test", Digest::of(b""));
    metadata.tensors = vec![record("a", DType::U8, &[1], coding, vec![section])];
    metadata.codecs = vec![codec];
    check_error(
        infinite.finish(metadata),
        "shard metadata is tensor `a`: parameter step = NaN, expected a finite number, \
         allowed is one that describes the sections written",
    );
}

#[test]
fn shard_sets_are_complete_and_of_one_model() {
    let mut first = ShardMetadata::new("test", Digest::of(b"model"));
    first.n_shards = 2;
    let mut second = first.clone();
    second.shard_idx = 1;
    let tied = Coding::TiedTo { name: "w".into() };
    first.tensors = vec![record("w", DType::U8, &[1], Coding::Raw, vec![])];
    second.tensors = vec![record("head", DType::U8, &[1], tied, vec![])];
    check_shard_set(&[&second, &first]).unwrap();
    check_error(
        check_shard_set(&[&first]),
        "number of shards is 1, expected 2",
    );
    check_error(
        check_shard_set(&[]),
        "number of shards is 0, expected at least 1",
    );
    check_error(
        check_shard_set(&[&first, &first]),
        "shard index is 0, expected each from 0 once",
    );
    let mut other = second.clone();
    other.fingerprint = Digest::of(b"other");
    check_error(
        check_shard_set(&[&first, &other]),
        &format!(
            "model fingerprint of shard 1 is {}, expected {}, that of shard 0",
            other.fingerprint, first.fingerprint
        ),
    );
    let mut relative = second.clone();
    relative.base = Some(BaseModel {
        name: "b".into(),
        fingerprint: Digest::of(b"base"),
    });
    check_error(
        check_shard_set(&[&first, &relative]),
        &format!(
            "version or base of shard 1 is 2, base {}, expected 2, without base",
            Digest::of(b"base")
        ),
    );
    let mut twice = second.clone();
    twice.tensors = first.tensors.clone();
    check_error(
        check_shard_set(&[&first, &twice]),
        "name `w` is there twice, allowed once",
    );
    second.tensors[0].coding = Coding::TiedTo { name: "v".into() };
    check_error(
        check_shard_set(&[&first, &second]),
        "tensor `head`: tied to `v`, expected a tensor that is there",
    );
}

fn meta(header: &mut Value) -> &mut serde_json::Map<String, Value> {
    header["__metadata__"].as_object_mut().unwrap()
}
