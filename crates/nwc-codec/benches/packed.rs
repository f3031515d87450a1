//! Lossless coding of a bell curve in bytes of the original a second, on one thread and on all.
//!
//! `cargo bench -p nwc-codec --bench packed`
#![allow(clippy::expect_used, reason = "a bench may fail")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use half::{bf16, f16};
use nwc_chunk::Parallelism;
use nwc_codec::packed::{PackedType, decode_into, encode};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    divan::main();
}

/// Elements of a tensor: 16 substreams.
const N_ELEMS: usize = 1 << 22;

/// Weights of rows of differing scale; every row is nearly of a normal distribution.
fn tensor(kind: PackedType) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut bytes = Vec::with_capacity(N_ELEMS * kind.n_bytes());
    for _ in 0..N_ELEMS / 2048 {
        let scale = 0.02 * (0.5 * rng.random::<f32>()).exp();
        for _ in 0..2048 {
            let sum: f32 = (0..6).map(|_| rng.random::<f32>()).sum();
            let weight = scale * (sum - 3.0);
            match kind {
                PackedType::F32 => bytes.extend(weight.to_le_bytes()),
                PackedType::Bf16 => bytes.extend(bf16::from_f32(weight).to_le_bytes()),
                PackedType::F16 => bytes.extend(f16::from_f32(weight).to_le_bytes()),
                _ => bytes.push((weight * 1000.0) as i8 as u8),
            }
        }
    }
    bytes
}

fn cases() -> impl Iterator<Item = (PackedType, Parallelism)> {
    let of_kind = |kind| [(kind, Parallelism::Serial), (kind, Parallelism::Rayon)];
    PackedType::ALL.into_iter().flat_map(of_kind)
}

#[divan::bench(args = cases())]
fn decoding(bencher: Bencher, (kind, parallelism): (PackedType, Parallelism)) {
    let bytes = tensor(kind);
    let packed = encode(kind, &bytes, parallelism).expect("smaller");
    let substreams: Vec<&[u8]> = packed.substreams.iter().map(Vec::as_slice).collect();
    let mut out = vec![0; bytes.len()];
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| {
            decode_into(
                kind,
                black_box(&packed.tables),
                &substreams,
                &mut out,
                parallelism,
            )
        });
}

#[divan::bench(args = cases())]
fn encoding(bencher: Bencher, (kind, parallelism): (PackedType, Parallelism)) {
    let bytes = tensor(kind);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| encode(kind, black_box(&bytes), parallelism));
}
