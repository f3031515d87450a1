//! Every architecture against logits that the `transformers` package gave (`fixtures/lm/export.py`).

use super::*;
use crate::tensors::to_vec_f32;
use crate::testing::{Fixture, fixture};
use crate::weights::{OverlaidWeights, WeightTensor};

/// f32 sums in another order than PyTorch's own modules: a few units in the last place of values around 1.
const TOLERANCE: f32 = 1e-4;

#[track_caller]
fn largest_difference(found: &Tensor, expected: &[f32]) -> f32 {
    let found = to_vec_f32(found).unwrap();
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[track_caller]
fn check(name: &str) {
    let Fixture {
        config,
        weights,
        tokens,
        output,
    } = fixture(name);
    for residency in [Residency::Whole, Residency::PerBlock] {
        let options = ModelOptions {
            device: Device::Cpu,
            residency,
        };
        let model = LanguageModel::open(config.clone(), &weights, options).unwrap();
        let error = largest_difference(&model.logits(&tokens).unwrap(), &output.data);
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}

#[test]
fn llama_agrees_with_transformers() {
    check("llama");
}

#[test]
fn llama_with_scaled_rope_biases_and_tied_head_agrees() {
    check("llama3");
}

#[test]
fn mistral_with_a_sliding_window_agrees() {
    check("mistral");
}

#[test]
fn qwen2_agrees() {
    check("qwen2");
}

#[test]
fn qwen3_agrees() {
    check("qwen3");
}

#[test]
fn mixtral_agrees() {
    check("mixtral");
}

#[test]
fn gpt2_agrees() {
    check("gpt2");
}

#[test]
fn bert_without_and_with_its_head_agrees() {
    check("bert");
    check("bert_mlm");
}

/// With a cache, one token after another gives what the whole window gives.
#[track_caller]
fn check_cache(name: &str) {
    let Fixture {
        config,
        weights,
        tokens,
        output,
    } = fixture(name);
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let mut caches: Vec<KvCache> = (0..model.n_blocks()).map(|_| KvCache::default()).collect();
    let mut logits = Vec::new();
    // A first part of several tokens, then single ones, then several again.
    for range in [0..5, 5..6, 6..7, 7..24] {
        let sequence = model.sequence(range.start, range.len()).unwrap();
        let mut hidden = model.embed(&[&tokens[range]], &sequence).unwrap();
        for (block_idx, cache) in caches.iter_mut().enumerate() {
            let block = model.block(block_idx).unwrap();
            hidden = block
                .forward(&hidden, &sequence, &mut NoTap, Some(cache))
                .unwrap();
        }
        logits.push(model.head().unwrap().forward(&hidden, &mut NoTap).unwrap());
    }
    let error = largest_difference(&Tensor::cat(&logits, 1), &output.data);
    assert!(error < TOLERANCE, "{name}: {error}");
}

#[test]
fn a_cache_changes_nothing() {
    for name in ["llama", "mistral", "qwen3", "gpt2"] {
        check_cache(name);
    }
}

#[test]
fn names_every_linear_and_its_input() {
    let Fixture {
        config, weights, ..
    } = fixture("llama");
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let linears = model.linears().unwrap();
    assert_eq!(linears.len(), 2 * 7 + 1);
    assert_eq!(
        linears[2].weight_name,
        "model.layers.0.self_attn.v_proj.weight"
    );
    assert_eq!(
        linears[2].input_key,
        "model.layers.0.self_attn.q_proj.weight"
    );
    assert_eq!(
        linears[13].weight_name,
        "model.layers.1.mlp.down_proj.weight"
    );
    assert_eq!(linears[12].input_key, "model.layers.1.mlp.gate_proj.weight");
    assert_eq!(linears[12].block_idx, Some(1));
    assert_eq!(linears[14].weight_name, "lm_head.weight");
}

#[test]
fn refuses_bad_tokens_lengths_and_indices() {
    let Fixture {
        config, weights, ..
    } = fixture("llama");
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let refused = model.logits(&[1, 64]);
    assert!(matches!(
        refused,
        Err(Error::TokenizerMismatch {
            token_id: 64,
            vocab_size: 64
        })
    ));
    assert!(matches!(model.logits(&[]), Err(Error::WindowLength { .. })));
    assert!(matches!(
        model.logits(&[0; 65]),
        Err(Error::WindowLength { max: 64, .. })
    ));
    assert!(matches!(
        model.block(2),
        Err(Error::BlockIndex {
            block_idx: 2,
            n_blocks: 2
        })
    ));
}

#[test]
fn refuses_wrong_shapes_missing_tensors_and_nan() {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture("llama");
    let name = "model.layers.1.mlp.up_proj.weight";
    let with = |shape: Vec<usize>, value: f32| {
        let data = vec![value; shape.iter().product()];
        OverlaidWeights {
            base: &weights,
            replaced: [(name.to_owned(), WeightTensor { shape, data })].into(),
        }
    };
    let run = |source: &dyn WeightSource| {
        LanguageModel::open(config.clone(), source, ModelOptions::default())?.logits(&tokens)
    };
    assert!(matches!(
        run(&with(vec![48, 31], 0.0)),
        Err(Error::TensorShape { .. })
    ));
    let refused = run(&with(vec![48, 32], f32::NAN));
    assert!(matches!(refused, Err(Error::NonFinite { block }) if block == "model.layers.1"));
    let short = WeightTensor {
        shape: vec![48, 32],
        data: vec![0.0; 3],
    };
    let short = OverlaidWeights {
        base: &weights,
        replaced: [(name.to_owned(), short)].into(),
    };
    assert!(matches!(run(&short), Err(Error::TensorLength { .. })));
    let mut thin = weights.clone();
    thin.tensors.remove(name);
    assert!(matches!(run(&thin), Err(Error::MissingTensor { name: missing }) if missing == name));
    assert!(matches!(
        run(&crate::MemoryWeights::default()),
        Err(Error::MissingTensor { .. })
    ));
}
