//! Checkpoints through compression and back.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::path::Path;

use nwc::{
    Checkpoint, CodecChoice, CompressOptions, DecodeOptions, Embeddings, NoProgress, RateTarget,
};
use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::Array2;
use nwc_codec::Codec;
use nwc_tests::{folder_bytes, gaussian, llama_like, write_checkpoint};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const NEURAL: CodecChoice = CodecChoice::Pretrained { lambda: 300.0 };
const TRELLIS: CodecChoice = CodecChoice::Trellis {
    target: RateTarget::BpwPayload(4.0),
    n_states: 8,
};

fn compress(from: &Path, to: &Path, codec: CodecChoice) -> nwc::Inspection {
    nwc::compress(from, to, &CompressOptions::new(codec), &NoProgress).unwrap()
}

#[track_caller]
fn check(n_shards: usize, codec: CodecChoice, max_nmse: f64) {
    let dir = tempfile::tempdir().unwrap();
    let [original, packed, restored] =
        ["original", "packed", "restored"].map(|n| dir.path().join(n));
    let tensors = llama_like();
    let per_shard = tensors.len().div_ceil(n_shards);
    let shards: Vec<_> = tensors.chunks(per_shard).map(<[_]>::to_vec).collect();
    write_checkpoint(&original, &shards);

    let inspection = compress(&original, &packed, codec);
    assert_eq!(inspection.tensors.len(), tensors.len());
    assert!(
        inspection.totals.payload_overhead.abs() < 0.05,
        "{:?}",
        inspection.totals
    );
    let inspected = nwc::inspect(&packed).unwrap();
    assert_eq!(
        serde_json::to_value(&inspected).unwrap(),
        serde_json::to_value(&inspection).unwrap(),
        "what compress reports is what the file says"
    );
    let verification = nwc::verify(&packed, &DecodeOptions::default(), &NoProgress).unwrap();
    assert!(
        verification.failures.is_empty(),
        "{:?}",
        verification.failures
    );
    assert_eq!(verification.n_tensors, tensors.len());
    assert_eq!(verification.n_files, 2);

    nwc::decompress(&packed, &restored, &DecodeOptions::default(), &NoProgress).unwrap();
    let before = Checkpoint::open(&original).unwrap();
    let after = Checkpoint::open(&restored).unwrap();
    let lazy = Checkpoint::open(&packed).unwrap();
    assert!(lazy.is_compressed() && !after.is_compressed());
    for summary in &inspection.tensors {
        let name = &summary.name;
        assert_eq!(before.info(name).unwrap(), after.info(name).unwrap());
        assert_eq!(
            lazy.tensor_bytes(name).unwrap(),
            after.tensor_bytes(name).unwrap()
        );
        if ["lossless", "packed"].contains(&summary.coding.as_str()) {
            assert_eq!(
                before.tensor_bytes(name).unwrap(),
                after.tensor_bytes(name).unwrap()
            );
            continue;
        }
        let (a, b) = (before.tensor(name).unwrap(), after.tensor(name).unwrap());
        assert_eq!(b, lazy.tensor(name).unwrap());
        let energy: f64 = a.iter().map(|&x| f64::from(x).powi(2)).sum();
        let error: f64 = a
            .iter()
            .zip(&b)
            .map(|(&x, &y)| f64::from(x - y).powi(2))
            .sum();
        let nmse = error / energy;
        let recorded = summary.nmse.unwrap();
        assert!(nmse < max_nmse, "{name}: {nmse}");
        // Rounding to bf16 adds up to 2^-18 of the energy to what was measured in f32.
        assert!(
            (nmse - recorded).abs() < 2e-5,
            "{name}: {nmse}, recorded {recorded}"
        );
    }
    // Everything but the weights is as it was.
    let others = |d: &Path| {
        let mut files = folder_bytes(d);
        files.retain(|(name, _)| !name.contains("safetensors"));
        files
    };
    assert_eq!(others(&original), others(&restored));
}

#[test]
fn neural_one_shard() {
    check(1, NEURAL, 0.02);
}

#[test]
fn neural_three_shards() {
    check(3, NEURAL, 0.02);
}

/// The pretrained codec with 8 states over its latents, and tables for weights of unit variance.
#[test]
fn neural_on_a_trellis() {
    let Codec::Neural(codec) = Codec::from_bytes(nwc::pretrained(300.0).unwrap()).unwrap() else {
        panic!("a pretrained codec is a neural one");
    };
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let chunks = Array2::from_shape_simple_fn((4096, 16), || gaussian(&mut rng));
    let codec = codec.with_states(8, chunks.view(), 64, Parallelism::Serial);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("states8.safetensors");
    std::fs::write(&file, codec.unwrap().to_bytes().unwrap()).unwrap();
    check(2, CodecChoice::File(file), 0.012);
}

#[test]
fn latents_on_a_trellis_take_fewer_bits() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    write_checkpoint(&original, &[llama_like()]);
    let run = |name: &str, latent_states| {
        let out = dir.path().join(name);
        let mut options = CompressOptions::new(CodecChoice::Pretrained { lambda: 300.0 });
        options.latent_states = latent_states;
        nwc::compress(&original, &out, &options, &NoProgress).unwrap();
        let verified = nwc::verify(&out, &DecodeOptions::default(), &NoProgress).unwrap();
        assert!(verified.failures.is_empty(), "{verified:?}");
        let totals = nwc::inspect(&out).unwrap().totals;
        // Bits at equal error: a factor of four in error is worth a bit.
        totals.bpw_payload_linear + 0.5 * totals.nmse.log2()
    };
    let (own, eight) = (run("own", None), run("eight", Some(8)));
    assert!((0.05..0.25).contains(&(own - eight)), "{own} {eight}");
    assert_eq!(run("one", Some(1)), own, "those that it has");
}

#[test]
fn trellis_one_shard() {
    check(1, TRELLIS, 0.02);
}

#[test]
fn trellis_three_shards() {
    check(3, TRELLIS, 0.02);
}

#[test]
fn same_bytes_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    write_checkpoint(&original, &[llama_like()]);
    for (family, codec) in [("neural", NEURAL), ("trellis", TRELLIS)] {
        let outputs = [1, 2, 3].map(|n_threads| {
            let out = dir.path().join(format!("{family}-{n_threads}"));
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(n_threads)
                .build()
                .unwrap();
            pool.install(|| compress(&original, &out, codec.clone()));
            folder_bytes(&out)
        });
        assert!(
            outputs[0] == outputs[1] && outputs[1] == outputs[2],
            "{family}"
        );
    }
}

#[test]
fn a_dry_run_reports_the_same_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    write_checkpoint(&original, &[llama_like()]);
    let wet = compress(&original, &dir.path().join("wet"), NEURAL);
    let mut options = CompressOptions::new(NEURAL);
    options.dry_run = true;
    let out = dir.path().join("dry");
    let dry = nwc::compress(&original, &out, &options, &NoProgress).unwrap();
    assert_eq!(
        serde_json::to_value(&wet).unwrap(),
        serde_json::to_value(&dry).unwrap()
    );
    assert!(!out.exists());
}

#[test]
fn embeddings_can_be_kept_and_tied_tensors_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    let mut tensors = llama_like();
    let mut head = tensors[0].clone();
    head.name = "lm_head.weight".into();
    tensors.push(head);
    write_checkpoint(&original, &[tensors]);
    let coding = |inspection: &nwc::Inspection, name: &str| {
        let tensor = inspection.tensors.iter().find(|t| t.name == name).unwrap();
        (tensor.coding.clone(), tensor.n_bytes)
    };

    let mut options = CompressOptions::new(NEURAL);
    options.embeddings = Embeddings::Keep;
    let kept = nwc::compress(&original, dir.path().join("kept"), &options, &NoProgress).unwrap();
    let stored = [
        coding(&kept, "lm_head.weight"),
        coding(&kept, "model.embed_tokens.weight"),
    ];
    assert_eq!(
        stored.iter().filter(|(c, _)| c == "packed").count(),
        1,
        "{stored:?}"
    );
    assert_eq!(
        stored
            .iter()
            .filter(|(c, n)| c.starts_with("tied to") && *n == 0)
            .count(),
        1
    );

    let coded = compress(&original, &dir.path().join("coded"), NEURAL);
    let stored = [
        coding(&coded, "lm_head.weight"),
        coding(&coded, "model.embed_tokens.weight"),
    ];
    assert_eq!(
        stored.iter().filter(|(c, _)| c == "neural").count(),
        1,
        "{stored:?}"
    );
    let restored = dir.path().join("restored");
    nwc::decompress(
        dir.path().join("coded"),
        &restored,
        &DecodeOptions::default(),
        &NoProgress,
    )
    .unwrap();
    let after = Checkpoint::open(&restored).unwrap();
    assert_eq!(
        after.tensor_bytes("lm_head.weight").unwrap(),
        after.tensor_bytes("model.embed_tokens.weight").unwrap()
    );
}
