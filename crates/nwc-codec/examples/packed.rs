//! Sizes and speeds of lossless coding of a safetensors file, as one JSON object.
//!
//! `cargo run --release -p nwc-codec --example packed -- FILE.safetensors [REPEATS]`
//!
//! Each tensor is coded alone, restored and compared. Times are the least of `REPEATS` (5), once on one thread and
//! once over rayon's (`RAYON_NUM_THREADS`); bytes a second are bytes of the original. `cpu_gb_s` divides by the time
//! that the one thread was on a processor (Linux), which other work on the machine disturbs less. `dfloat11_bytes` is what
//! DFloat11's Huffman code makes of the bf16 tensors: the code's own lengths for each exponent, 8 bits a weight for
//! the rest, and neither the code's tables nor its indices.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use nwc_chunk::Parallelism;
use nwc_codec::packed::{Packed, PackedType, decode_into, encode};
use safetensors::{Dtype, SafeTensors};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args
        .next()
        .ok_or("usage: packed FILE.safetensors [REPEATS]")?;
    let repeats: u32 = args.next().map_or(Ok(5), |n| n.parse())?;
    let file = std::fs::read(&path)?;
    let tensors = SafeTensors::deserialize(&file)?;
    let mut work = Vec::new();
    let (mut n_other, mut dfloat11_bits, mut n_bf16) = (0, 0, 0);
    for (_, tensor) in tensors.tensors() {
        let kind = match tensor.dtype() {
            Dtype::BF16 => PackedType::Bf16,
            Dtype::F16 => PackedType::F16,
            Dtype::F32 => PackedType::F32,
            Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::I8 | Dtype::U8 => PackedType::Byte,
            _ => {
                n_other += tensor.data().len();
                continue;
            }
        };
        let bytes = &file[offset(&file, tensor.data())..][..tensor.data().len()];
        if kind == PackedType::Bf16 {
            n_bf16 += bytes.len();
            dfloat11_bits += huffman_bits(bytes) + 8 * bytes.len() as u64 / 2;
        }
        work.push((kind, bytes));
    }
    let n_bytes: usize = work.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut best = [[Duration::MAX; 2]; 2];
    let mut best_cpu = [Duration::MAX; 2];
    let (mut stored, mut n_raw) = (0, 0);
    for _ in 0..repeats {
        for (turn, parallelism) in [Parallelism::Serial, Parallelism::Rayon]
            .into_iter()
            .enumerate()
        {
            let (start, cpu) = (Instant::now(), on_processor());
            let packed: Vec<Option<Packed>> = work
                .iter()
                .map(|&(kind, bytes)| encode(kind, bytes, parallelism))
                .collect();
            best[0][turn] = best[0][turn].min(start.elapsed());
            if turn == 0 {
                best_cpu[0] = best_cpu[0].min(on_processor() - cpu);
            }
            let mut restored: Vec<Vec<u8>> = work.iter().map(|(_, b)| vec![1; b.len()]).collect();
            let (start, cpu) = (Instant::now(), on_processor());
            for ((&(kind, bytes), packed), out) in work.iter().zip(&packed).zip(&mut restored) {
                match packed {
                    None => out.copy_from_slice(bytes),
                    Some(packed) => {
                        let parts: Vec<&[u8]> =
                            packed.substreams.iter().map(Vec::as_slice).collect();
                        decode_into(kind, &packed.tables, &parts, out, parallelism)?;
                    }
                }
            }
            best[1][turn] = best[1][turn].min(start.elapsed());
            if turn == 0 {
                best_cpu[1] = best_cpu[1].min(on_processor() - cpu);
            }
            if work
                .iter()
                .zip(&restored)
                .any(|((_, bytes), out)| bytes != out)
            {
                return Err("a tensor came back different".into());
            }
            let sizes = packed.iter().zip(&work);
            stored = sizes
                .map(|(p, (_, b))| p.as_ref().map_or(b.len(), Packed::n_bytes))
                .sum();
            n_raw = packed.iter().filter(|p| p.is_none()).count();
        }
    }
    let rate = |time: Duration| n_bytes as f64 / time.as_secs_f64() / 1e9;
    println!(
        "{{\"n_bytes\": {n_bytes}, \"n_other_bytes\": {n_other}, \"stored_bytes\": {stored}, \"share\": {:.5}, \
         \"raw_tensors\": {n_raw}, \"bf16_bytes\": {n_bf16}, \"dfloat11_bytes\": {}, \"threads\": {}, \
         \"encode_gb_s\": [{:.3}, {:.3}], \"decode_gb_s\": [{:.3}, {:.3}], \"cpu_gb_s\": [{:.3}, {:.3}]}}",
        stored as f64 / n_bytes as f64,
        dfloat11_bits.div_ceil(8),
        rayon::current_num_threads(),
        rate(best[0][0]),
        rate(best[0][1]),
        rate(best[1][0]),
        rate(best[1][1]),
        rate(best_cpu[0]),
        rate(best_cpu[1]),
    );
    Ok(())
}

/// Where `part`, a slice of `whole`, starts.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Bits of a Huffman code for the exponents of bf16 numbers: every merge of two nodes adds a bit to all below.
fn huffman_bits(bytes: &[u8]) -> u64 {
    let mut counts = [0_u64; 256];
    for element in bytes.as_chunks::<2>().0 {
        counts[usize::from(u16::from_le_bytes(*element) >> 7 & 0xff)] += 1;
    }
    let nodes = counts.into_iter().filter(|&count| count > 0);
    let mut heap: BinaryHeap<_> = nodes.map(std::cmp::Reverse).collect();
    let mut bits = 0;
    while let (Some(a), Some(b)) = (heap.pop(), heap.pop()) {
        bits += a.0 + b.0;
        if heap.is_empty() {
            break;
        }
        heap.push(std::cmp::Reverse(a.0 + b.0));
    }
    bits
}

/// Time that this thread has been on a processor, zero where the system does not say.
fn on_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
