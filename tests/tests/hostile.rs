//! Files that ask for more than they are worth, each opened and decoded in a process that may take little.
//!
//! The files are made by hand, digests and all. The process runs under a limit of its address space, and says what it
//! took: at most 100 MB of memory above what it started with, and 100 ms of a core.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::Path;
use std::process::Command;

use nwc::Checkpoint;
use nwc_format::{
    Coding, DType, Digest, ROLE_PAYLOAD, ROLE_SCALES, Section, ShardMetadata, ShardWriter,
    TensorRecord, encode_payload,
};
use nwc_tests::fuzzing;
use nwc_tests::mending::sealed;

/// The folder that a child opens.
const DIR: &str = "NWC_HOSTILE_DIR";
/// Address space of a child in kB: the program, its stacks and heaps take about a third.
const ADDRESS_SPACE_KB: u32 = 1_000_000;
const MAX_GROWTH_KB: u64 = 100_000;
const MAX_CPU_MS: u64 = 100;
/// A long header is read once, and its digest is checked, before it can be refused.
const MAX_CPU_MS_PER_MIB: u64 = 60;
/// What a core's time is counted in.
const TICK_MS: u64 = 10;

/// A tensor of a shard: its shape, its parameters, its sections by role.
struct Claim<'a> {
    family: &'a str,
    shape: &'a [usize],
    parameters: &'a [(&'a str, f64)],
    sections: &'a [(&'a str, DType, Vec<u8>)],
}

/// A whole shard with one tensor, `a.weight`, and the codec that its family needs.
fn shard(claim: &Claim<'_>) -> Vec<u8> {
    let mut writer = ShardWriter::new(std::io::Cursor::new(Vec::new()), 0).unwrap();
    let codec = match claim.family {
        "neural" => nwc::pretrained(100.0).unwrap().to_vec(),
        _ => fuzzing::trellis_codec().to_bytes().unwrap(),
    };
    let mut metadata = ShardMetadata::new("hostile", Digest::of(b""));
    metadata.codecs.push(writer.codec("c", &codec).unwrap());
    let sections = claim.sections.iter().map(|(role, dtype, bytes)| {
        let n = bytes.len() / dtype.size();
        let section = writer.coded_as("a.weight", role, *dtype, &[n], bytes);
        section.unwrap()
    });
    let sections: Vec<Section> = sections.collect();
    let parameters = claim.parameters.iter();
    metadata.tensors.push(TensorRecord {
        name: "a.weight".into(),
        dtype: DType::BF16,
        shape: claim.shape.to_vec(),
        coding: Coding::Coded {
            family: claim.family.into(),
            codec: "c".into(),
            parameters: parameters.map(|(k, v)| ((*k).to_owned(), *v)).collect(),
            base: false,
        },
        bits_estimated: None,
        nmse: None,
        reason: None,
        sections,
    });
    writer.finish(metadata).unwrap().into_inner()
}

/// A payload of one substream of `n_bytes` bytes, which are nonsense.
fn filler(n_bytes: usize) -> (&'static str, DType, Vec<u8>) {
    let bytes: Vec<u8> = (0..n_bytes).map(|i| (i * 37 % 251) as u8).collect();
    (ROLE_PAYLOAD, DType::U8, encode_payload(&[bytes]))
}

/// Scales that say nothing: 16 rows.
fn scales() -> (&'static str, DType, Vec<u8>) {
    (ROLE_SCALES, DType::F16, vec![0; 32])
}

/// Opens and decodes the folder that the parent made, and reports what that took.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (rss, cpu) = (peak_kb(), cpu_ms());
    let error = decode_all(Path::new(&dir));
    let text = error.map_or_else(|e| chain(&e), |()| "accepted".into());
    println!("took {} kB, {} ms: {text}", peak_kb() - rss, cpu_ms() - cpu);
}

fn decode_all(dir: &Path) -> nwc::Result<()> {
    let checkpoint = Checkpoint::open(dir)?;
    for name in checkpoint.names() {
        checkpoint.tensor(name)?;
    }
    Ok(())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Most memory that this process has had so far.
fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    digits.unwrap().parse().unwrap()
}

/// Time that all threads of this process have run.
fn cpu_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields
        .map(|ticks| ticks.parse::<u64>().unwrap() * TICK_MS)
        .sum()
}

/// Opens `file` in a child and checks that it is refused with `expected` and within the limits.
#[track_caller]
fn check(file: &[u8], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.safetensors"), file).unwrap();
    check_dir(dir.path(), expected);
}

#[track_caller]
fn check_dir(dir: &Path, expected: &str) {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {ADDRESS_SPACE_KB}; exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env("RAYON_NUM_THREADS", "2")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let report = text
        .lines()
        .find_map(|line| line.split_once("took "))
        .unwrap()
        .1;
    assert!(report.contains(expected), "{report}");
    let mut numbers = report
        .split_whitespace()
        .filter_map(|w| w.parse::<u64>().ok());
    let (kb, ms) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert!(kb <= MAX_GROWTH_KB, "{report}");
    let mib = names_bytes(dir) >> 20;
    assert!(
        ms <= MAX_CPU_MS + MAX_CPU_MS_PER_MIB * mib + TICK_MS,
        "{report}"
    );
}

/// Bytes of header or index in `dir` that are read; more than the limit are refused for their number.
fn names_bytes(dir: &Path) -> u64 {
    let limits = nwc_format::Limits::default();
    if let Ok(index) = fs::metadata(dir.join(nwc_format::INDEX_FILE_NAME)) {
        return index.len();
    }
    let file = fs::read(dir.join("model.safetensors")).unwrap();
    let n_bytes = u64::from_le_bytes(*file.first_chunk().unwrap());
    if n_bytes <= limits.max_header_bytes {
        n_bytes
    } else {
        0
    }
}

#[test]
fn a_small_file_claims_no_large_tensor() {
    for (family, shape) in [
        ("neural", [16, 1 << 30]),
        ("neural", [1, 1 << 35]),
        ("trellis", [1 << 17, 1 << 17]),
    ] {
        let file = shard(&Claim {
            family,
            shape: &shape,
            parameters: &[("level", 1.0)],
            sections: &[filler(100), scales()],
        });
        check(&file, "number of elements of tensor `a.weight` in");
    }
    let file = shard(&Claim {
        family: "neural",
        shape: &[16, 1 << 32],
        parameters: &[],
        sections: &[filler(100), scales()],
    });
    check(
        &file,
        "decoded size of tensor `a.weight` in bytes is 137438953472, allowed are 68719476736",
    );
}

/// Large enough for the container to let the claim pass: what is left is the decoder's own look at the payload.
#[test]
fn a_payload_with_too_few_substreams_takes_no_memory() {
    for shape in [[16, 1 << 30], [1, 1 << 35]] {
        for parameters in [&[("level", 1.0)][..], &[]] {
            let file = shard(&Claim {
                family: "neural",
                shape: &shape,
                parameters,
                sections: &[filler(1 << 22), scales()],
            });
            check(&file, "tensor a.weight");
        }
    }
    for shape in [[1, 1 << 35], [1 << 17, 1 << 17]] {
        let file = shard(&Claim {
            family: "trellis",
            shape: &shape,
            parameters: &[],
            sections: &[filler(1 << 22), (ROLE_SCALES, DType::U8, vec![0; 64])],
        });
        check(&file, "tensor a.weight");
    }
}

/// The scales' own code spends little on long runs: a matrix that is nearly all scales.
#[test]
fn scales_of_many_columns_take_no_memory() {
    let n = 1 << 24;
    let scales = nwc_codec::trellis::TensorScales::uniform(1, n, 1.0, 1.0);
    let scales = scales.to_bytes().unwrap();
    let file = shard(&Claim {
        family: "trellis",
        shape: &[1, n],
        parameters: &[],
        sections: &[filler(1 << 12), (ROLE_SCALES, DType::U8, scales)],
    });
    check(&file, "tensor a.weight");
}

/// A mask of zeros is looked at before there is a mask: the number of its parts, then the steps of each substream.
#[test]
fn a_mask_with_too_little_in_it_takes_no_memory() {
    use nwc_chunk::{Parallelism, ZeroMask};

    let small = nwc_codec::zeros::encode(&ZeroMask::none(16, 64), Parallelism::Serial).unwrap();
    let section = |parts: &[Vec<u8>]| {
        let mut bytes = vec![2];
        bytes.extend(encode_payload(parts));
        (nwc_format::ROLE_ZEROS, DType::U8, bytes)
    };
    let mut as_many = small.clone();
    as_many.resize(2 + (1 << 14), small[2].clone());
    let n = 1 << 30;
    for (zeros, expected) in [
        (
            section(&small),
            "the mask of zeros has 3 parts, expected 16386",
        ),
        (
            section(&as_many),
            "substream 0 of the mask of zeros has 8 steps, expected 8192",
        ),
    ] {
        let file = shard(&Claim {
            family: "neural",
            shape: &[16, n],
            parameters: &[("level", 1.0)],
            sections: &[filler(1 << 22), scales(), zeros],
        });
        check(&file, expected);
    }
    let unknown = (nwc_format::ROLE_ZEROS, DType::U8, vec![3]);
    let file = shard(&Claim {
        family: "neural",
        shape: &[16, 2],
        parameters: &[("level", 1.0)],
        sections: &[filler(100), scales(), unknown],
    });
    check(&file, "kind of zeros is 3, expected 1 or 2");
}

#[test]
fn levels_are_small_integers() {
    for level in [1.7, -1.0, 64.0, 1e300] {
        let file = shard(&Claim {
            family: "neural",
            shape: &[16, 2],
            parameters: &[("level", level)],
            sections: &[filler(100), scales()],
        });
        check(&file, "level");
    }
}

/// A header of `n` tensors without a byte of data each, beside a small table.
fn many_tensors(n: usize) -> Vec<u8> {
    let table = format!(
        r#"{{\"version\":2,\"generator\":\"\",\"fingerprint\":\"{}\",\"shard_idx\":0,\"n_shards\":1,\"codecs\":[],\"tensors\":[]}}"#,
        Digest::of(b"")
    );
    let mut json = format!(
        r#"{{"__metadata__":{{"nwc":"{table}","nwc_digest":"{}"}}"#,
        "0".repeat(64)
    );
    for idx in 0..n {
        json += &format!(r#","{idx}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    }
    sealed(&(json + "}"), b"")
}

/// A table of `n` records, tied to one that is not there.
fn many_records(n: usize) -> Vec<u8> {
    let record = r#"{\"name\":\"\",\"dtype\":\"U8\",\"shape\":[],\"coding\":\"raw\"}"#;
    let json = format!(
        r#"{{"__metadata__":{{"nwc":"{{\"version\":2,\"generator\":\"\",\"fingerprint\":\"{}\",\"shard_idx\":0,\"n_shards\":1,\"codecs\":[],\"tensors\":[{}]}}","nwc_digest":"{}"}}}}"#,
        Digest::of(b""),
        vec![record; n].join(","),
        "0".repeat(64)
    );
    sealed(&json, b"")
}

#[test]
fn a_million_tensors_are_not_looked_at() {
    check(
        &many_tensors(1 << 20),
        "length of the safetensors header in bytes",
    );
    check(
        &many_tensors(1 << 18),
        "number of tensors in the header is 262144, allowed are 131072",
    );
    check(
        &many_records(1 << 20),
        "length of the safetensors header in bytes",
    );
    check(
        &many_records(1 << 18),
        "number of tensors in the table is 262144, allowed are 131072",
    );
}

#[test]
fn lists_in_a_header_are_short() {
    let dims = vec!["1"; 1 << 20].join(",");
    let json = format!(r#"{{"a":{{"dtype":"U8","shape":[{dims}],"data_offsets":[0,1]}}}}"#);
    check(&sealed(&json, b"x"), "more than 255 dimensions");
    let keys: Vec<String> = (0..1 << 18).map(|i| format!(r#""{i}":"""#)).collect();
    let json = format!(r#"{{"__metadata__":{{{}}}}}"#, keys.join(","));
    check(&sealed(&json, b""), "more than 65536 keys");
    let deep = format!("{{\"a\":{{\"b\":{}", "[".repeat(1 << 20));
    check(&sealed(&deep, b""), "EOF while parsing");
}

#[test]
fn an_index_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<String> = (0..600_000)
        .map(|i| format!("\"{i}\":\"a.safetensors\""))
        .collect();
    let index = format!("{{\"weight_map\":{{{}}}}}", entries.join(","));
    fs::write(dir.path().join(nwc_format::INDEX_FILE_NAME), index).unwrap();
    check_dir(
        dir.path(),
        "number of tensors in the index is 600000, allowed are 524288",
    );
}
