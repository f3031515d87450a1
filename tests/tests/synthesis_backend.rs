//! The seam for synthesis on another device, with a backend that only watches, and ones that fail.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nwc::ndarray::{Array2, ArrayView2};
use nwc::{
    Checkpoint, DecodeOptions, Error, NeuralCodec, NoProgress, QualityLevel, SynthesisBackend,
    Synthesizer,
};
use nwc_tests::{fixtures, folder_bytes};

/// Plain Rust, with every weight a little off, as another device's are.
#[derive(Debug, Default)]
struct Watching {
    n_loaded: AtomicUsize,
    n_calls: Arc<AtomicUsize>,
    off_by: f32,
}

#[derive(Debug)]
struct Watched {
    codec: NeuralCodec,
    n_calls: Arc<AtomicUsize>,
    off_by: f32,
}

impl SynthesisBackend for Watching {
    fn load(&self, codec: &NeuralCodec) -> nwc_codec::Result<Box<dyn Synthesizer>> {
        self.n_loaded.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Watched {
            codec: codec.clone(),
            n_calls: Arc::clone(&self.n_calls),
            off_by: self.off_by,
        }))
    }
}

impl Synthesizer for Watched {
    fn synthesize(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
    ) -> nwc_codec::Result<Array2<f32>> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        let here: &dyn Synthesizer = &self.codec;
        Ok(here.synthesize(symbols, levels)? * (1.0 + self.off_by))
    }
}

/// A device that is there and then fails.
#[derive(Debug)]
struct Failing {
    when_loaded: bool,
}

fn failure() -> nwc_codec::Error {
    nwc_codec::Error::Synthesis("out of memory".into())
}

impl SynthesisBackend for Failing {
    fn load(&self, _codec: &NeuralCodec) -> nwc_codec::Result<Box<dyn Synthesizer>> {
        if self.when_loaded {
            return Err(failure());
        }
        Ok(Box::new(Self { when_loaded: false }))
    }
}

impl Synthesizer for Failing {
    fn synthesize(
        &self,
        _symbols: ArrayView2<'_, i32>,
        _levels: &[QualityLevel],
    ) -> nwc_codec::Result<Array2<f32>> {
        Err(failure())
    }
}

fn packed(family: &str) -> PathBuf {
    fixtures().join("v1").join(family)
}

fn n_coded(family: &str) -> usize {
    let inspection = nwc::inspect(packed(family)).unwrap();
    inspection
        .tensors
        .iter()
        .filter(|t| t.nmse.is_some())
        .count()
}

#[test]
fn the_backend_does_every_synthesis_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
    nwc::decompress(
        packed("neural"),
        &here,
        &DecodeOptions::default(),
        &NoProgress,
    )
    .unwrap();
    let backend = Arc::new(Watching::default());
    let options = DecodeOptions::on(backend.clone());
    // Of two threads that want a codec at once, neither waits for the other: both may load it.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    pool.install(|| nwc::decompress(packed("neural"), &there, &options, &NoProgress))
        .unwrap();
    assert_eq!(folder_bytes(&here), folder_bytes(&there));
    let n_loaded = backend.n_loaded.load(Ordering::Relaxed);
    assert_eq!(n_loaded, 2, "the file's two codecs, once each");
    assert_eq!(backend.n_calls.load(Ordering::Relaxed), n_coded("neural"));
}

#[test]
fn a_trellis_needs_no_backend() {
    let backend = Arc::new(Watching::default());
    let options = DecodeOptions::on(backend.clone());
    let verification = nwc::verify(packed("trellis"), &options, &NoProgress).unwrap();
    assert!(verification.failures.is_empty());
    assert_eq!(backend.n_loaded.load(Ordering::Relaxed), 0);
}

#[test]
fn weights_that_are_rounded_otherwise_verify() {
    let options = DecodeOptions::on(Arc::new(Watching {
        off_by: 1e-3,
        ..Watching::default()
    }));
    let verification = nwc::verify(packed("neural"), &options, &NoProgress).unwrap();
    assert!(
        verification.failures.is_empty(),
        "{:?}",
        verification.failures
    );
    let checkpoint = Checkpoint::open_with(packed("neural"), &options).unwrap();
    let plain = Checkpoint::open(packed("neural")).unwrap();
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_ne!(
        checkpoint.tensor(name).unwrap(),
        plain.tensor(name).unwrap()
    );
}

#[test]
fn a_device_that_fails_is_an_error_that_names_tensor_or_codec() {
    for when_loaded in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let options = DecodeOptions::on(Arc::new(Failing { when_loaded }));
        let error = nwc::decompress(packed("neural"), &out, &options, &NoProgress).unwrap_err();
        assert!(
            matches!(error, Error::Tensor { .. } | Error::Codec { .. }),
            "{error:?}"
        );
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(below) = source {
            text += &format!(": {below}");
            source = below.source();
        }
        assert!(text.ends_with("synthesis: out of memory"), "{text}");
        assert!(!out.exists(), "nothing is left behind");
        let verification = nwc::verify(packed("neural"), &options, &NoProgress).unwrap();
        assert_eq!(verification.failures.len(), n_coded("neural"));
    }
}
