//! The figures against their definitions, computed from whole logits.

use super::*;
use crate::model::{ModelOptions, Residency};
use crate::tensors::to_matrix;
use crate::testing::fixture;
use crate::weights::OverlaidWeights;

fn ignore(_: usize, _: usize) {}

const OPTIONS: EvaluationOptions = EvaluationOptions {
    window: 11,
    max_tokens: None,
};

/// Rows of log-probabilities in f64.
fn log_softmax(model: &LanguageModel<'_>, window: &[u32]) -> Vec<Vec<f64>> {
    let logits = to_matrix(&model.logits(window).unwrap()).unwrap();
    let rows = logits.rows().into_iter().map(|row| {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        row.iter().map(|&x| f64::from(x) - sum.ln()).collect()
    });
    rows.collect()
}

#[test]
fn agrees_with_the_definitions() {
    let model_fixture = fixture("llama");
    let name = "model.layers.1.mlp.down_proj.weight";
    let mut changed = model_fixture.weights.tensors[name].clone();
    changed
        .data
        .iter_mut()
        .for_each(|weight| *weight = (*weight * 4.0).round() / 4.0);
    let source = OverlaidWeights {
        base: &model_fixture.weights,
        replaced: [(name.to_owned(), changed)].into(),
    };
    let open = |source, residency| {
        let options = ModelOptions {
            residency,
            ..Default::default()
        };
        LanguageModel::open(model_fixture.config.clone(), source, options).unwrap()
    };
    let reference = open(&model_fixture.weights, Residency::PerBlock);
    let model = open(&source, Residency::Whole);
    let tokens = &model_fixture.tokens;
    let found = evaluate(&model, Some(&reference), tokens, OPTIONS, &mut ignore).unwrap();

    let (mut nll, mut kl, mut agree) = (0.0, Vec::new(), 0.0);
    for window in tokens.chunks_exact(11) {
        let (log_q, log_p) = (log_softmax(&model, window), log_softmax(&reference, window));
        for position in 0..10 {
            let (q, p) = (&log_q[position], &log_p[position]);
            nll -= q[window[position + 1] as usize];
            kl.push(p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
            let top = |row: &[f64]| (0..64).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            agree += f64::from(u8::from(top(p) == top(q)));
        }
    }
    assert_eq!((found.n_windows, found.n_tokens), (2, 20));
    assert!((found.perplexity.ln() - nll / 20.0).abs() < 1e-5);
    let comparison = found.comparison.unwrap();
    let mean = kl.iter().sum::<f64>() / 20.0;
    let variance = kl.iter().map(|kl| (kl - mean).powi(2)).sum::<f64>() / 19.0;
    assert!(mean > 1e-4 && (comparison.mean_kl - mean).abs() < 1e-5);
    assert!((comparison.kl_standard_error - (variance / 20.0).sqrt()).abs() < 1e-5);
    assert!((comparison.top1_agreement - agree / 20.0).abs() < 1e-9);
    assert!(comparison.kl_99_percent > mean);
}

#[test]
fn a_model_is_no_distance_from_itself() {
    let model_fixture = fixture("gpt2");
    let model = LanguageModel::open(
        model_fixture.config,
        &model_fixture.weights,
        ModelOptions::default(),
    )
    .unwrap();
    let found = evaluate(
        &model,
        Some(&model),
        &model_fixture.tokens,
        OPTIONS,
        &mut ignore,
    )
    .unwrap();
    let comparison = found.comparison.unwrap();
    assert_eq!(comparison.mean_kl, 0.0);
    assert_eq!(comparison.top1_agreement, 1.0);
    assert_eq!(comparison.reference_perplexity, found.perplexity);
}

#[test]
fn refuses_encoders_short_texts_and_other_vocabularies() {
    let (llama, bert) = (fixture("llama"), fixture("bert_mlm"));
    let open =
        |config, weights| LanguageModel::open(config, weights, ModelOptions::default()).unwrap();
    let encoder = open(bert.config, &bert.weights);
    let run = |model: &_, reference, tokens: &[u32]| {
        evaluate(model, reference, tokens, OPTIONS, &mut ignore)
    };
    assert!(matches!(
        run(&encoder, None, &llama.tokens),
        Err(Error::NotCausal { .. })
    ));
    let model = open(llama.config.clone(), &llama.weights);
    let short = run(&model, None, &llama.tokens[..10]);
    assert!(matches!(
        short,
        Err(Error::TextTooShort {
            n_tokens: 10,
            window: 11
        })
    ));
    let mut other = llama.config;
    other.vocab_size = 60;
    let mut narrow = llama.weights.clone();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let tensor = narrow.tensors.get_mut(name).unwrap();
        tensor.shape[0] = 60;
        tensor.data.truncate(60 * 32);
    }
    let reference = open(other, &narrow);
    let refused = run(&model, Some(&reference), &llama.tokens);
    assert!(matches!(
        refused,
        Err(Error::VocabularyMismatch {
            found: 64,
            expected: 60
        })
    ));
}

#[test]
fn quantiles_are_linear_between_ranks() {
    assert_eq!(quantile(&[0.0, 1.0, 2.0], 0.75), 1.5);
    assert_eq!(quantile(&[], 0.99), 0.0);
}
