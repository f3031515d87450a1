//! LibTorch on the processor against plain Rust.

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::Axis;

use super::*;
use crate::parity_case;

/// Largest error against the largest weight: both sides add up in f32, in different orders.
const TOLERANCE: f32 = 1e-5;

fn narrow_paper() -> CodecConfig {
    CodecConfig {
        width: 48,
        ..CodecConfig::paper(300.0)
    }
}

fn backend(batch_elems: usize) -> TorchBackend {
    TorchBackend {
        batch_elems,
        ..TorchBackend::new(Device::Cpu).unwrap()
    }
}

#[track_caller]
fn compare(found: &Array2<f32>, expected: &Array2<f32>) {
    assert_eq!(found.dim(), expected.dim());
    let largest = expected.iter().fold(0.0f32, |l, x| l.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(error <= TOLERANCE * largest, "{found}, not {expected}");
    }
}

/// All levels mixed, each alone, and batches cut in the midst.
#[track_caller]
fn check(config: &CodecConfig) {
    let n_levels = config.n_quality_levels();
    let case = parity_case(config, 150, 7).unwrap();
    let n_chunks = case.levels.len();
    // A step that has no factor in common with the number of chunks mixes the levels.
    let order: Vec<usize> = (0..n_chunks).map(|i| i * 7 % n_chunks).collect();
    let mixed = case.symbols.select(Axis(0), &order);
    let mixed_levels: Vec<QualityLevel> = order.iter().map(|&i| case.levels[i]).collect();
    let same = vec![QualityLevel((n_levels - 1) as u8); n_chunks];
    for batch_elems in [CPU_BATCH_ELEMS, 101 * config.width, 1] {
        let torch = backend(batch_elems).load(&case.codec).unwrap();
        for (symbols, levels) in [
            (&case.symbols, &case.levels),
            (&mixed, &mixed_levels),
            (&mixed, &same),
        ] {
            let found = torch.synthesize(symbols.view(), levels).unwrap();
            let expected = case
                .codec
                .synthesize(symbols.view(), levels, Parallelism::Serial)
                .unwrap();
            compare(&found, &expected);
        }
    }
}

#[test]
fn presets_agree_with_plain_rust() {
    for config in [
        narrow_paper(),
        CodecConfig::small(300.0),
        CodecConfig::tiny(300.0),
    ] {
        check(&config);
    }
}

#[test]
fn odd_shapes_agree_with_plain_rust() {
    check(&CodecConfig {
        chunk_len: 24,
        latent_dim: 5,
        width: 7,
        n_blocks: 0,
        rate_coefficients: vec![1.0],
        ..CodecConfig::small(300.0)
    });
    check(&CodecConfig {
        chunk_len: 3,
        latent_dim: 40,
        width: 20,
        n_blocks: 3,
        n_states: 8,
        ..CodecConfig::paper(300.0)
    });
}

#[test]
fn pretrained_codecs_agree_with_plain_rust() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../nwc/codecs");
    for name in ["small-lambda30", "small-lambda100", "small-lambda10000"] {
        let bytes = std::fs::read(root.join(format!("{name}.safetensors"))).unwrap();
        let codec = NeuralCodec::from_bytes(&bytes).unwrap();
        let levels: Vec<QualityLevel> = (0..999)
            .map(|i| QualityLevel(i as u8 % codec.config().n_quality_levels() as u8))
            .collect();
        let normal = crate::gaussian_matrix(levels.len(), codec.config().chunk_len, 3);
        let symbols = codec
            .quantize_columns(normal.view(), &levels, 1, Parallelism::Serial)
            .unwrap()
            .symbols;
        let found = TorchBackend::new(Device::Cpu)
            .unwrap()
            .load(&codec)
            .unwrap()
            .synthesize(symbols.view(), &levels)
            .unwrap();
        let expected = codec
            .synthesize(symbols.view(), &levels, Parallelism::Serial)
            .unwrap();
        compare(&found, &expected);
    }
}

#[test]
fn threads_share_a_synthesizer() {
    let case = parity_case(&CodecConfig::small(300.0), 200, 5).unwrap();
    let torch = backend(64 * 64).load(&case.codec).unwrap();
    let run = || torch.synthesize(case.symbols.view(), &case.levels).unwrap();
    let alone = run();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), alone);
        }
    });
}

/// What a damaged stream may decode to.
#[test]
fn any_symbols_are_synthesised() {
    let case = parity_case(&CodecConfig::tiny(300.0), 1, 5).unwrap();
    let torch = TorchBackend::new(Device::Cpu)
        .unwrap()
        .load(&case.codec)
        .unwrap();
    for symbol in [i32::MIN, i32::MAX, 1 << 24] {
        let symbols = Array2::from_elem(case.symbols.dim(), symbol);
        let found = torch.synthesize(symbols.view(), &case.levels).unwrap();
        let expected = case
            .codec
            .synthesize(symbols.view(), &case.levels, Parallelism::Serial)
            .unwrap();
        compare(&found, &expected);
    }
    let none = torch.synthesize(Array2::zeros((0, 4)).view(), &[]).unwrap();
    assert_eq!(none.dim(), (0, 4));
}

#[test]
fn what_does_not_fit_is_refused_as_by_plain_rust() {
    let case = parity_case(&CodecConfig::tiny(300.0), 2, 5).unwrap();
    let torch = TorchBackend::new(Device::Cpu)
        .unwrap()
        .load(&case.codec)
        .unwrap();
    let unknown = vec![QualityLevel(200); case.levels.len()];
    for (symbols, levels) in [
        (case.symbols.view(), &case.levels[1..]),
        (case.symbols.t(), &case.levels[..]),
        (case.symbols.view(), &unknown[..]),
    ] {
        let found = torch.synthesize(symbols, levels).unwrap_err();
        let expected = case
            .codec
            .synthesize(symbols, levels, Parallelism::Serial)
            .unwrap_err();
        assert_eq!(found.to_string(), expected.to_string());
    }
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let error = TorchBackend::new(Device::Cuda(4096)).unwrap_err();
    assert!(matches!(error, Error::NoCuda { idx: 4096, .. }), "{error}");
    assert!(error.to_string().contains("cuda:4096"));
}
