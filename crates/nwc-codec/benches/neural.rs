//! Analysis and synthesis in weights a second, beside the plain matrix products that they are made of.
//!
//! `cargo bench -p nwc-codec --bench neural`; all on one thread. `products` runs the products of one transform and
//! nothing else, `square_product` one large product: its items are the weights that it has multiply-adds for.
#![expect(unsafe_code, reason = "gemm takes pointers")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nwc_chunk::ndarray::Array2;
use nwc_chunk::{Parallelism, QualityLevel};
use nwc_codec::{CodecConfig, NeuralCodec, initial_parameters};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    divan::main();
}

const PRESETS: [&str; 3] = ["tiny", "small", "paper"];

/// Weights of one call: whole batches, and few enough that other work on the machine seldom comes between.
const N_WEIGHTS: usize = 1 << 15;

fn codec(preset: &str) -> NeuralCodec {
    let config = CodecConfig::preset(preset, 300.0).unwrap_or_else(|| panic!("no preset {preset}"));
    let steps = [0.5; 4];
    let tables = NeuralCodec::identity(config.clone(), &steps)
        .expect("valid")
        .tables()
        .clone();
    let parameters = initial_parameters(&config, &steps, 1).expect("valid");
    NeuralCodec::new(config, parameters, tables, String::new()).expect("valid")
}

fn chunks(chunk_len: usize) -> (Array2<f32>, Vec<QualityLevel>) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let n_chunks = N_WEIGHTS / chunk_len;
    let chunks =
        Array2::from_shape_simple_fn((n_chunks, chunk_len), || rng.random_range(-2.0..2.0));
    (chunks, vec![QualityLevel(0); n_chunks])
}

#[divan::bench(args = PRESETS)]
fn synthesis(bencher: Bencher, preset: &str) {
    let codec = codec(preset);
    let (chunks, levels) = chunks(codec.config().chunk_len);
    let symbols = chunks.mapv(|x| (2.0 * x) as i32);
    bencher
        .counter(ItemsCount::new(N_WEIGHTS))
        .bench(|| codec.synthesize(black_box(symbols.view()), &levels, Parallelism::Serial));
}

#[divan::bench(args = PRESETS)]
fn analysis(bencher: Bencher, preset: &str) {
    let codec = codec(preset);
    let (chunks, levels) = chunks(codec.config().chunk_len);
    bencher
        .counter(ItemsCount::new(N_WEIGHTS))
        .bench(|| codec.analyze(black_box(chunks.view()), &levels));
}

#[divan::bench(args = PRESETS)]
fn entropy_decoding(bencher: Bencher, preset: &str) {
    let codec = codec(preset);
    let (chunks, levels) = chunks(codec.config().chunk_len);
    let coded = codec
        .quantize_columns(chunks.view(), &levels, 1, Parallelism::Serial)
        .expect("finite");
    let substreams = codec
        .encode_columns(coded.symbols.view(), &levels, 1, Parallelism::Serial)
        .expect("valid");
    let slices: Vec<&[u8]> = substreams.iter().map(Vec::as_slice).collect();
    bencher
        .counter(ItemsCount::new(N_WEIGHTS))
        .bench(|| codec.decode_columns(black_box(&slices), &levels, 1, Parallelism::Serial));
}

#[divan::bench(args = PRESETS)]
fn products(bencher: Bencher, preset: &str) {
    let config = CodecConfig::preset(preset, 300.0).unwrap_or_else(|| panic!("no preset {preset}"));
    let width = config.width;
    let rows = 256;
    let input = vec![0.5f32; rows * width];
    let weight = vec![0.5f32; width * width];
    let mut output = vec![0.0f32; rows * width];
    bencher.counter(ItemsCount::new(N_WEIGHTS)).bench_local(|| {
        for _ in 0..N_WEIGHTS / config.chunk_len / rows {
            product(&input, &weight, rows, config.latent_dim, width, &mut output);
            for _ in 0..config.n_blocks {
                product(&input, &weight, rows, width, width, &mut output);
            }
            product(&input, &weight, rows, width, config.chunk_len, &mut output);
        }
        black_box(&mut output);
    });
}

#[divan::bench(args = PRESETS)]
fn square_product(bencher: Bencher, preset: &str) {
    let config = CodecConfig::preset(preset, 300.0).unwrap_or_else(|| panic!("no preset {preset}"));
    let ends = config.width * (config.chunk_len + config.latent_dim);
    let per_weight =
        (ends + config.n_blocks * config.width.pow(2)) as f64 / config.chunk_len as f64;
    let n = 512;
    let (input, weight) = (vec![0.5f32; n * n], vec![0.5f32; n * n]);
    let mut output = vec![0.0f32; n * n];
    let n_weights = (n * n * n) as f64 / per_weight;
    bencher
        .counter(ItemsCount::new(n_weights as usize))
        .bench_local(|| {
            product(&input, &weight, n, n, n, &mut output);
            black_box(&mut output);
        });
}

/// `out = rows · weight`, `[n_rows, n_in] · [n_in, n_out]`.
fn product(
    rows: &[f32],
    weight: &[f32],
    n_rows: usize,
    n_in: usize,
    n_out: usize,
    out: &mut [f32],
) {
    assert!(
        rows.len() >= n_rows * n_in && weight.len() >= n_in * n_out && out.len() >= n_rows * n_out
    );
    let (out, weight, rows) = (out.as_mut_ptr(), weight.as_ptr(), rows.as_ptr());
    let (n_out_stride, n_in_stride) = (n_out as isize, n_in as isize);
    // SAFETY: the lengths asserted above hold all indices that these sizes and strides form.
    unsafe {
        gemm::gemm(
            n_out,
            n_rows,
            n_in,
            out,
            n_out_stride,
            1,
            false,
            weight,
            n_out_stride,
            1,
            rows,
            n_in_stride,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
