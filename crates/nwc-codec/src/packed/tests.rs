//! Round trips of every type, damage, and golden bytes.

use nwc_chunk::Parallelism::{self, Rayon, Serial};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn slices(packed: &Packed) -> Vec<&[u8]> {
    packed.substreams.iter().map(Vec::as_slice).collect()
}

fn decode(
    kind: PackedType,
    packed: &Packed,
    n_bytes: usize,
    parallelism: Parallelism,
) -> Result<Vec<u8>> {
    let mut out = vec![0xaa; n_bytes];
    let substreams = slices(packed);
    decode_into(kind, &packed.tables, &substreams, &mut out, parallelism)?;
    Ok(out)
}

/// Codes, decodes and compares; the share of the bytes that is left, 1 if there is no gain.
#[track_caller]
fn check(kind: PackedType, bytes: &[u8]) -> f64 {
    let packed = encode(kind, bytes, Serial);
    assert_eq!(encode(kind, bytes, Rayon), packed);
    let Some(packed) = packed else { return 1.0 };
    assert!(packed.n_bytes() < bytes.len());
    for parallelism in [Serial, Rayon] {
        assert!(decode(kind, &packed, bytes.len(), parallelism).unwrap() == bytes);
    }
    packed.n_bytes() as f64 / bytes.len() as f64
}

/// Numbers that are nearly of a normal distribution.
fn bell(n: usize, scale: f32) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut one = || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    (0..n).map(|_| scale * one()).collect()
}

fn bytes_of(kind: PackedType, values: &[f32]) -> Vec<u8> {
    let of_one = |&x: &f32| match kind {
        PackedType::F32 => x.to_le_bytes().to_vec(),
        PackedType::Bf16 => half::bf16::from_f32(x).to_le_bytes().to_vec(),
        PackedType::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
        PackedType::Byte => vec![(400.0 * x) as i8 as u8],
    };
    values.iter().flat_map(of_one).collect()
}

/// A bell curve's exponents take 2.5 bits and not 8; the rest is noise but for the mantissa's slope.
#[test]
fn sizes_of_a_bell_curve() {
    let values = bell(300_000, 0.05);
    for (kind, most) in [
        (PackedType::Bf16, 0.663),
        (PackedType::F16, 0.855),
        (PackedType::F32, 0.832),
        (PackedType::Byte, 0.81),
    ] {
        let share = check(kind, &bytes_of(kind, &values));
        assert!(share < most, "{kind:?}: {share}");
    }
}

/// What has been bf16, or f16, costs hardly more as f32 than as what it was.
#[test]
fn zeros_of_a_conversion_cost_nothing() {
    let values = bell(300_000, 1.0);
    let from_bf16: Vec<f32> = values
        .iter()
        .map(|&x| half::bf16::from_f32(x).to_f32())
        .collect();
    let share = check(PackedType::F32, &bytes_of(PackedType::F32, &from_bf16));
    assert!(share < 0.663 / 2.0, "{share}");
    let from_f16: Vec<f32> = values
        .iter()
        .map(|&x| half::f16::from_f32(x).to_f32())
        .collect();
    let share = check(PackedType::F32, &bytes_of(PackedType::F32, &from_f16));
    assert!(share < 0.45, "{share}");
}

#[test]
fn noise_is_left_alone_and_constants_are_free() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let noise: Vec<u8> = (0..100_000).map(|_| rng.random()).collect();
    for kind in PackedType::ALL {
        assert_eq!(encode(kind, &noise, Serial), None);
        assert_eq!(encode(kind, &[], Serial), None);
        for constant in [0, 0x7f, 0xff] {
            let packed = encode(kind, &[constant; 100_000], Serial).expect("smaller");
            assert!(packed.substreams.is_empty() && packed.tables.len() < 16);
            assert!(check(kind, &[constant; 100_000]) < 0.001);
        }
    }
    assert_eq!(encode(PackedType::F32, &[0; 99_999], Serial), None);
}

/// Every pattern of 16 bits, infinities and NaNs with it, among ordinary numbers and without them.
#[test]
fn every_pattern_comes_back() {
    let ordinary = bell(400_000, 0.02);
    for kind in [PackedType::Bf16, PackedType::F16, PackedType::F32] {
        let mut bytes = bytes_of(kind, &ordinary);
        for pattern in 0..=u16::MAX {
            let at = usize::from(pattern) * 3 * kind.n_bytes();
            let element = &mut bytes[at..at + kind.n_bytes()];
            let high = element.len() - 2;
            element[high..].copy_from_slice(&pattern.to_le_bytes());
        }
        assert!(check(kind, &bytes) < 1.0);
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        check(kind, &all);
    }
}

/// Zeros beside small numbers keep the mantissa's bits in the symbols; a single large number does not.
#[test]
fn mantissa_bits_are_coded_where_there_is_room() {
    let mut values = bell(100_000, 0.02);
    values[7] = 0.0;
    let n_bits = |values: &[f32]| {
        let packed = encode(
            PackedType::Bf16,
            &bytes_of(PackedType::Bf16, values),
            Serial,
        );
        u32::from(packed.expect("smaller").tables[1])
    };
    assert_eq!(n_bits(&values), MAX_MANTISSA_BITS);
    values[8] = f32::INFINITY;
    assert_eq!(n_bits(&values), 0);
    values[8] = 1e-25;
    assert_eq!(n_bits(&values), 1);
}

/// A run of substreams decodes alone.
#[test]
fn a_part_decodes_alone() {
    let bytes = bytes_of(PackedType::Bf16, &bell(2 * SUBSTREAM_ELEMS + 77, 1.0));
    let packed = encode(PackedType::Bf16, &bytes, Serial).expect("smaller");
    let tables = Tables::parse(PackedType::Bf16, &packed.tables).unwrap();
    assert_eq!((tables.n_parts(), packed.substreams.len()), (2, 6));
    let start = 2 * SUBSTREAM_ELEMS;
    for (from, to) in [(0, start), (start, 2 * start), (2 * start, bytes.len())] {
        let first = from / start * 2;
        let mut out = vec![0; to - from];
        let substreams = &slices(&packed)[first..first + 2];
        tables.decode(substreams, &mut out, Serial).unwrap();
        assert!(out == bytes[from..to]);
    }
}

#[test]
fn golden_tables() {
    // Exponents 126 and 127, so values 505 to 508 or so of two mantissa bits each; tables have one form only.
    let values: Vec<f32> = (0..20_000)
        .map(|i| if i % 3 == 0 { 0.5 } else { 1.25 })
        .collect();
    let packed = encode(
        PackedType::Bf16,
        &bytes_of(PackedType::Bf16, &values),
        Serial,
    );
    let tables = packed.expect("smaller").tables;
    // Plane 1 has two values, so its 0.92 bit beats any raw plane; of plane 0 the same.
    assert_eq!(tables[..6], [1, 0, 125, 0, CODED, CODED]);
    assert!(Tables::parse(PackedType::Bf16, &tables).is_ok());
}

const CODED: u8 = 2;

#[test]
fn tables_are_checked() {
    let field = |bytes: &[u8]| match Tables::parse(PackedType::Bf16, bytes) {
        Err(Error::Field { field, found, .. }) => (field, found),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&[2, 0, 0, 0, 0, 0]), ("version", 2));
    assert_eq!(field(&[1, 3, 0, 0, 0, 0]), ("number of mantissa bits", 3));
    assert_eq!(field(&[1, 2, 0, 0, 0, 0]), ("mode of plane 0", 0));
    assert_eq!(field(&[1, 2, 0, 0, 2, 2]), ("mode of plane 1", 2));
    assert_eq!(field(&[1, 0, 0, 0, 3, 0]), ("plane mode", 3));
    assert_eq!(field(&[1, 0, 1, 0, 0, 0]), ("base", 1));
    // A set of one table, of the symbols 0 and 1 of 12 bits.
    let table = [1, 12, 1, 0, 2, 0, 0];
    let with = |start: &[u8]| [start, &table].concat();
    assert_eq!(field(&with(&[1, 0, 255, 0, 2, 0])), ("base", 255));
    assert_eq!(field(&with(&[1, 0, 0, 0, 2, 2])), ("number of tables", 1));
    assert!(Tables::parse(PackedType::Bf16, &with(&[1, 0, 254, 0, 2, 0])).is_ok());
    assert!(matches!(
        Tables::parse(PackedType::Bf16, &with(&[1, 0, 0, 0, 0, 0])),
        Err(Error::Tables { .. })
    ));
    assert_eq!(
        Tables::parse(PackedType::Byte, &[1, 0, 0]).unwrap_err(),
        Error::Truncated {
            what: "base",
            n_bytes: 3
        }
    );
}

#[test]
fn lengths_are_checked() {
    let bytes = bytes_of(PackedType::Bf16, &bell(10_000, 1.0));
    let packed = encode(PackedType::Bf16, &bytes, Serial).expect("smaller");
    let of = |packed: &Packed, n_bytes| decode(PackedType::Bf16, packed, n_bytes, Serial);
    assert_eq!(
        of(&packed, 19_999).unwrap_err(),
        Error::PartElement {
            n_bytes: 19_999,
            element_bytes: 2
        }
    );
    let expected = packed.substreams[1].len();
    let mut longer = packed.clone();
    longer.substreams[1].push(0);
    assert_eq!(
        of(&longer, 20_000).unwrap_err(),
        Error::SubstreamLength {
            substream_idx: 1,
            found: expected + 1,
            expected
        }
    );
    longer.substreams.pop();
    assert_eq!(
        of(&longer, 20_000).unwrap_err(),
        Error::SubstreamCount {
            found: 1,
            expected: 2,
            n_elems: 10_000
        }
    );
    let mut cut = packed;
    cut.substreams[0].truncate(100);
    assert!(matches!(
        of(&cut, 20_000),
        Err(Error::Substream {
            substream_idx: 0,
            ..
        })
    ));
}

fn kinds() -> impl Strategy<Value = PackedType> {
    prop::sample::select(PackedType::ALL.to_vec())
}

/// Bytes of few values, of all values, and of runs.
fn arbitrary_bytes() -> impl Strategy<Value = Vec<u8>> {
    let any_len = || 0..6000_usize;
    prop_oneof![
        prop::collection::vec(any::<u8>(), any_len()),
        prop::collection::vec(60..64_u8, any_len()),
        prop::collection::vec(prop_oneof![9 => Just(0_u8), 1 => any::<u8>()], any_len()),
        prop::collection::vec(-3.0..3.0_f32, 0..2500)
            .prop_map(|values| bytes_of(PackedType::Bf16, &values)),
        prop::collection::vec(-3.0..3.0_f32, 0..2500)
            .prop_map(|values| bytes_of(PackedType::F32, &values)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trips(kind in kinds(), bytes in arbitrary_bytes()) {
        check(kind, &bytes);
    }

    #[test]
    fn damage_is_no_panic(
        kind in kinds(),
        bytes in arbitrary_bytes(),
        at in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        if let Some(mut packed) = encode(kind, &bytes, Serial) {
            let mut all: Vec<&mut u8> = packed.tables.iter_mut().collect();
            all.extend(packed.substreams.iter_mut().flatten());
            **at.get_mut(&mut all) ^= flip;
            let serial = decode(kind, &packed, bytes.len(), Serial);
            prop_assert_eq!(decode(kind, &packed, bytes.len(), Rayon), serial);
        }
    }

    #[test]
    fn arbitrary_tables_and_substreams_are_no_panic(
        kind in kinds(),
        start in prop::collection::vec(0..3_u8, 0..9),
        table in prop_oneof![Just(vec![1, 12, 1, 0, 2, 0, 0]), prop::collection::vec(any::<u8>(), 0..20)],
        substreams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..5),
        n_bytes in 0..200_usize,
    ) {
        let mut tables = vec![1];
        tables.extend(start);
        tables.extend(table);
        let packed = Packed { tables, substreams };
        let _ = decode(kind, &packed, n_bytes, Serial);
    }
}
