//! A mask costs what it must, comes back, and what is no mask is refused.

use nwc_chunk::ndarray::Array2;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::golden::{check_golden, digest_of_substreams};

/// A mask of independent zeros with this probability at each place.
fn random(rows: usize, cols: usize, seed: u64, p: impl Fn(usize, usize) -> f64) -> ZeroMask {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weights = Array2::from_shape_fn((rows, cols), |(i, j)| match rng.random_bool(p(i, j)) {
        true => 0.0_f32,
        false => 1.0,
    });
    ZeroMask::of(weights.view())
}

fn read(parts: &[Vec<u8>], rows: usize, cols: usize) -> Result<ZeroMask> {
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    decode(&parts, rows, cols, Parallelism::Serial)
}

/// Encodes and decodes `mask`; gives the bits a weight.
#[track_caller]
fn round_trip(mask: &ZeroMask) -> f64 {
    let parts = encode(mask, Parallelism::Serial).unwrap();
    assert_eq!(parts, encode(mask, Parallelism::Rayon).unwrap());
    assert_eq!(read(&parts, mask.rows(), mask.cols()).as_ref(), Ok(mask));
    let n_bytes: usize = parts.iter().map(Vec::len).sum();
    8.0 * n_bytes as f64 / (mask.rows() * mask.cols()) as f64
}

#[test]
fn a_mask_costs_its_entropy() {
    let entropy = |p: f64| -p * p.log2() - (1.0 - p) * (1.0 - p).log2();
    for p in [0.05, 0.3, 0.5, 0.9] {
        let bits = round_trip(&random(512, 1024, 1, |_, _| p));
        assert!((bits / entropy(p) - 1.0).abs() < 0.02, "{p}: {bits}");
    }
    assert!(round_trip(&random(1024, 2048, 1, |_, _| 0.0)) < 0.01);
    assert!(round_trip(&random(1024, 2048, 1, |_, _| 1.0)) < 0.01);
    // Several substreams.
    assert!(round_trip(&random(3000, 1500, 1, |_, _| 0.5)) < 1.01);
}

#[test]
fn two_of_four_cost_what_they_must() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut weights = Array2::<f32>::ones((512, 1024));
    for mut quad in weights.exact_chunks_mut((1, 4)) {
        let first = rng.random_range(0..4);
        let second = (first + rng.random_range(1..4)) % 4;
        quad[[0, first]] = 0.0;
        quad[[0, second]] = 0.0;
    }
    let bits = round_trip(&ZeroMask::of(weights.view()));
    assert!((bits - 6.0_f64.log2() / 4.0).abs() < 0.01, "{bits}");
}

#[test]
fn rows_and_columns_of_other_densities_cost_less() {
    let p = |i: usize, j: usize| match (i.is_multiple_of(4), (j / 64).is_multiple_of(2)) {
        (true, true) => 0.98,
        (true, false) | (false, true) => 0.5,
        (false, false) => 0.02,
    };
    let mask = random(1024, 1024, 3, p);
    let bits = round_trip(&mask);
    let one_table = encode_with(&mask, None, Parallelism::Serial).unwrap();
    let one_table: usize = one_table.iter().map(Vec::len).sum();
    let one_table = 8.0 * one_table as f64 / (1 << 20) as f64;
    // Entropies 0.14 · 4/8 + 1 · 4/8 = 0.57 with what is known of each place.
    assert!(bits < 0.6 && one_table > 0.7, "{bits} {one_table}");
}

#[test]
fn bytes_are_those_of_the_format() {
    let mask = |row: usize, col: usize| (row * row + 3 * col) % 7 < 3 + row % 3;
    let weights = Array2::from_shape_fn((50, 77), |(i, j)| if mask(i, j) { 0.0_f32 } else { 1.0 });
    let mask = ZeroMask::of(weights.view());
    let classes = Classes::of(&mask);
    for (name, classes) in [("zeros", None), ("zeros with classes", Some(&classes))] {
        let parts = encode_with(&mask, classes, Parallelism::Serial).unwrap();
        check_golden(name, digest_of_substreams(&parts));
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let mask = random(64, 50, 4, |i, _| if i % 2 == 0 { 0.9 } else { 0.1 });
    let classes = Classes::of(&mask);
    let classed = encode_with(&mask, Some(&classes), Parallelism::Serial).unwrap();
    let plain = encode_with(&mask, None, Parallelism::Serial).unwrap();
    assert_eq!(read(&classed, 64, 50).as_ref(), Ok(&mask));
    assert_eq!(read(&plain, 64, 50).as_ref(), Ok(&mask));
    for parts in [&plain, &classed] {
        assert!(matches!(
            read(&parts[..2], 64, 50),
            Err(Error::Parts { .. })
        ));
        for (rows, cols) in [(64, 90), (63, 50), (1 << 30, 50), (64, 1 << 20)] {
            assert!(read(parts, rows, cols).is_err(), "{rows} {cols}");
        }
    }
    let mut parts = plain.clone();
    parts[1] = classed[1].clone();
    assert!(matches!(read(&parts, 64, 50), Err(Error::Classes { .. })));
    let mut parts = classed.clone();
    parts[1].clear();
    assert!(read(&parts, 64, 50).is_err());
    // A group of 18 columns: two bits of its last quad lie beyond.
    assert!(matches!(
        read(&all_ones(), 4, 18),
        Err(Error::Beyond { cols: 18 })
    ));
}

/// All symbols are 15, as of a matrix of 20 columns.
fn all_ones() -> Vec<Vec<u8>> {
    let zeros = Array2::<f32>::zeros((4, 20));
    encode_with(&ZeroMask::of(zeros.view()), None, Parallelism::Serial).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn masks_round_trip(rows in 0_usize..40, cols in 0_usize..80, seed in any::<u64>(), p in 0.0..1.0_f64) {
        let mask = random(rows, cols, seed, |i, _| if i % 3 == 0 { p } else { 1.0 - p });
        let parts = encode(&mask, Parallelism::Serial).unwrap();
        prop_assert_eq!(read(&parts, rows, cols), Ok(mask));
    }

    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), part in 0_usize..3, bit in 0..8) {
        let mask = random(40, 70, 5, |i, j| if (i + j / 4) % 2 == 0 { 0.9 } else { 0.2 });
        let classes = Classes::of(&mask);
        let mut parts = encode_with(&mask, Some(&classes), Parallelism::Serial).unwrap();
        let at = at.index(parts[part].len());
        parts[part][at] ^= 1_u8 << bit;
        let _ = read(&parts, 40, 70);
    }
}
