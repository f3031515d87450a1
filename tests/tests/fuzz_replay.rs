//! Seeds of fuzzing, what was found before, and seeded mutations of both, through the functions that are fuzzed.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::Path;

use nwc_tests::fuzzing::{TARGETS, Target};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every file of `folder`, in the repository, for a target; none where there is no such folder.
fn inputs(folder: &str, target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Ok(entries) = fs::read_dir(root.join(folder).join(target)) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| fs::read(path).unwrap())
        .collect()
}

/// One to four small damages: flipped bits, bytes that numbers are made of, cuts, moved pieces.
fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    const TELLING: [u8; 6] = [0, 1, 0x7f, 0x80, 0xff, b'9'];
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            bytes.push(rng.random());
            continue;
        }
        // Headers come first and are worth most.
        let end = if rng.random() {
            bytes.len()
        } else {
            bytes.len().min(64)
        };
        let at = rng.random_range(0..end);
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = TELLING[rng.random_range(0..TELLING.len())],
            2 => bytes.truncate(at),
            3 => {
                let n = rng.random_range(1..=(bytes.len() - at).min(16));
                bytes.drain(at..at + n);
            }
            4 => {
                let n = rng.random_range(1..=(bytes.len() - at).min(16));
                let piece = bytes[at..at + n].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => bytes.extend((0..rng.random_range(1..9)).map(|_| rng.random::<u8>())),
        }
    }
}

#[track_caller]
fn check(name: &str, n_mutations: usize) {
    let (_, target): (&str, Target) = *TARGETS.iter().find(|(n, _)| *n == name).unwrap();
    let mut inputs = inputs("fuzz/seeds", name);
    assert!(!inputs.is_empty(), "no seeds of {name}");
    for (idx, input) in inputs.iter().enumerate() {
        assert!(target(input), "seed {idx} of {name} is refused");
    }
    let findings = self::inputs("tests/fuzz_findings", name);
    findings.iter().for_each(|input| {
        target(input);
    });
    inputs.extend(findings);
    for seed in 0..n_mutations {
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        let mut bytes = inputs[seed % inputs.len()].clone();
        mutate(&mut bytes, &mut rng);
        // Says which one it was: `seed` makes it again.
        if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
            eprintln!("{name}: mutation {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn entropy_stream() {
    check("entropy_stream", 20_000);
}

#[test]
fn codec_file() {
    check("codec_file", 300);
}

#[test]
fn container() {
    check("container", 1000);
}

#[test]
fn checkpoint() {
    check("checkpoint", 300);
}

#[test]
fn payload() {
    check("payload", 4000);
}

#[test]
fn every_target_is_replayed_and_built() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(!inputs("fuzz/seeds", name).is_empty(), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
