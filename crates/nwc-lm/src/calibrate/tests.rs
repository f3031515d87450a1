//! Statistics against brute force on tiny models.

use std::collections::BTreeMap;

use ndarray::Array2;
use tch::{Kind, Tensor};

use super::*;
use crate::model::{ModelOptions, Residency};
use crate::tensors::to_matrix;
use crate::testing::{Fixture, fixture};
use crate::weights::{OverlaidWeights, WeightTensor};

/// Keeps everything.
#[derive(Default)]
struct Collected {
    hessians: BTreeMap<String, (Vec<String>, u64, Array2<f32>)>,
    fishers: BTreeMap<String, Vec<f32>>,
    curvatures: BTreeMap<String, (Array2<f32>, Vec<f32>)>,
    resumed: bool,
}

impl StatisticsSink for Collected {
    fn put(&mut self, name: &str, statistic: Statistic) -> Result<(), BoxedError> {
        let name = name.to_owned();
        let is_new = match statistic {
            Statistic::Hessian {
                linears,
                n_tokens,
                values,
            } => {
                let hessian = (linears, n_tokens, values);
                self.hessians.insert(name, hessian).is_none()
            }
            Statistic::OutputFisher(fisher) => self.fishers.insert(name, fisher).is_none(),
            Statistic::Curvature { cols, rows } => {
                self.curvatures.insert(name, (cols, rows)).is_none()
            }
        };
        assert!(is_new);
        Ok(())
    }

    fn has(&self, kind: StatisticKind, name: &str) -> bool {
        let is_there = match kind {
            StatisticKind::Hessian => self.hessians.contains_key(name),
            StatisticKind::OutputFisher => self.fishers.contains_key(name),
            StatisticKind::Curvature => self.curvatures.contains_key(name),
        };
        self.resumed && is_there
    }

    fn hessian(&self, key: &str) -> Result<Option<Array2<f32>>, BoxedError> {
        Ok(self.hessians.get(key).map(|(.., values)| values.clone()))
    }
}

pub(super) const OPTIONS: CalibrationOptions = CalibrationOptions {
    hessian_window: 8,
    hessian_n_windows: 3,
    fisher_window: 6,
    fisher_n_windows: 4,
    curvature: true,
    seed: 1,
    activation_bytes: 1 << 20,
};

pub(super) fn ignore(_: CalibrationStep) {}

fn run(model: &LanguageModel<'_>, tokens: &[u32], options: &CalibrationOptions) -> Collected {
    let mut sink = Collected::default();
    calibrate(model, tokens, options, &mut sink, &mut ignore).unwrap();
    sink
}

/// Every input of one linear, in order.
struct Inputs<'n>(&'n str, Vec<Array2<f32>>);

impl crate::model::Tap for Inputs<'_> {
    fn input(&mut self, linear: &LinearInfo, input: &Tensor) -> Result<()> {
        if linear.weight_name == self.0 {
            self.1
                .push(to_matrix(&input.reshape([-1, linear.n_in as i64]))?);
        }
        Ok(())
    }
}

#[track_caller]
fn check_hessian(name: &str, linear: &str, readers: usize) {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture(name);
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let found = run(&model, &tokens, &OPTIONS);
    let mut tap = Inputs(linear, Vec::new());
    for window in tokens.chunks_exact(8) {
        let sequence = model.sequence(0, 8).unwrap();
        let mut hidden = model.embed(&[window], &sequence).unwrap();
        for block_idx in 0..model.n_blocks() {
            hidden = model
                .block(block_idx)
                .unwrap()
                .forward(&hidden, &sequence, &mut tap, None)
                .unwrap();
        }
    }
    let n_tokens: usize = tap.1.iter().map(Array2::nrows).sum();
    let sum = tap
        .1
        .iter()
        .map(|x| x.t().dot(x))
        .reduce(|a, b| a + b)
        .unwrap();
    let (linears, n_found, hessian) = &found.hessians[linear];
    assert_eq!((*n_found as usize, linears.len()), (n_tokens, readers));
    let error = (hessian - &(sum / n_tokens as f32))
        .mapv(f32::abs)
        .fold(0.0, |a: f32, &b| a.max(b));
    assert!(error < 1e-4, "{error}");
}

#[test]
fn every_linear_of_a_block_has_a_curvature_where_it_is_wanted() {
    for name in ["llama", "gpt2"] {
        let Fixture {
            config,
            weights,
            tokens,
            ..
        } = fixture(name);
        let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
        let with = run(&model, &tokens, &OPTIONS);
        let in_blocks = model.linears().unwrap().into_iter();
        let expected: Vec<(String, usize, usize)> = in_blocks
            .filter(|linear| linear.block_idx.is_some())
            .map(|linear| (linear.weight_name, linear.n_in, linear.n_out))
            .collect();
        assert_eq!(with.curvatures.len(), expected.len());
        for (name, n_in, n_out) in expected {
            let (cols, rows) = &with.curvatures[&name];
            assert_eq!((cols.dim(), rows.len()), ((n_in, n_in), n_out), "{name}");
        }
        let without = CalibrationOptions {
            curvature: false,
            ..OPTIONS
        };
        let without = run(&model, &tokens, &without);
        assert!(without.curvatures.is_empty());
        assert_eq!(without.fishers, with.fishers);
    }
}

#[test]
fn hessians_are_means_of_outer_products() {
    check_hessian("llama", "model.layers.1.self_attn.q_proj.weight", 3);
    check_hessian("llama", "model.layers.0.mlp.down_proj.weight", 1);
    check_hessian("gpt2", "transformer.h.1.mlp.c_fc.weight", 1);
    check_hessian(
        "bert_mlm",
        "bert.encoder.layer.1.intermediate.dense.weight",
        1,
    );
    check_hessian(
        "mixtral",
        "model.layers.1.block_sparse_moe.experts.2.w1.weight",
        2,
    );
}

/// A small change of a weight must cost the KL that the statistics predict, up to sampling of the labels.
#[track_caller]
fn check_predicted_kl(name: &str, linear: &str, transposed: bool) {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture(name);
    let model = LanguageModel::open(config.clone(), &weights, ModelOptions::default()).unwrap();
    // The same window many times: only the labels differ, so the average over them is nearly exact.
    let window = &tokens[..8];
    let repeated = window.repeat(400);
    let options = CalibrationOptions {
        hessian_n_windows: 1,
        fisher_window: 8,
        fisher_n_windows: 400,
        activation_bytes: 3 << 20,
        ..OPTIONS
    };
    let found = run(&model, &repeated, &options);
    let mut changed = weights.tensors[linear].clone();
    let (rows, cols) = (changed.shape[0], changed.shape[1]);
    let noise = super::uniform(9, 0, rows * cols);
    let delta = Array2::from_shape_fn((rows, cols), |(r, c)| 4e-3 * (noise[r * cols + c] - 0.5));
    changed
        .data
        .iter_mut()
        .zip(&delta)
        .for_each(|(weight, delta)| *weight += delta);
    let delta = if transposed {
        delta.reversed_axes()
    } else {
        delta
    };

    let reads = |linears: &Vec<String>| linears.iter().any(|name| name == linear);
    let (_, _, hessian) = found
        .hessians
        .values()
        .find(|(linears, ..)| reads(linears))
        .unwrap();
    let per_row = (delta.dot(hessian) * &delta).sum_axis(ndarray::Axis(1));
    let predict = |rows: &[f32]| -> f64 {
        let by_row = per_row.iter().zip(rows);
        by_row.map(|(q, row)| 0.5 * f64::from(q * row)).sum()
    };

    let source = OverlaidWeights {
        base: &weights,
        replaced: [(linear.to_owned(), changed)].into(),
    };
    let other = LanguageModel::open(config, &source, ModelOptions::default()).unwrap();
    let log_p = |model: &LanguageModel<'_>| {
        model
            .logits(window)
            .unwrap()
            .to_kind(Kind::Double)
            .log_softmax(-1, Kind::Double)
    };
    let (p, q) = (log_p(&model), log_p(&other));
    let kl = (p.exp() * (&p - &q)).sum(Kind::Double).double_value(&[]) / 8.0;
    // The diagonal Fisher and the mean Hessian drop correlations, so this is no identity; a wrong normalisation
    // would be off by the window (8) or a factor 2. The curvature knows how tokens go together, the head has none.
    let of_sequences = found.curvatures.get(linear).map(|(_, rows)| predict(rows));
    for predicted in [Some(predict(&found.fishers[linear])), of_sequences] {
        let ratio = predicted.unwrap_or(kl) / kl;
        assert!(
            0.6 < ratio && ratio < 1.7,
            "{name} {linear}: predicted {predicted:?}, measured {kl}"
        );
    }
}

#[test]
fn fisher_and_hessian_predict_the_kl() {
    check_predicted_kl("llama", "lm_head.weight", false);
    check_predicted_kl("llama", "model.layers.1.mlp.down_proj.weight", false);
    check_predicted_kl("llama", "model.layers.0.mlp.up_proj.weight", false);
    check_predicted_kl("gpt2", "transformer.h.0.mlp.c_proj.weight", true);
}

#[test]
fn residency_and_group_size_change_nothing() {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture("qwen3");
    let whole = LanguageModel::open(config.clone(), &weights, ModelOptions::default()).unwrap();
    let options = ModelOptions {
        residency: Residency::PerBlock,
        ..ModelOptions::default()
    };
    let lean = LanguageModel::open(config, &weights, options).unwrap();
    let a = run(&whole, &tokens, &OPTIONS);
    let b = run(
        &lean,
        &tokens,
        &CalibrationOptions {
            activation_bytes: 0,
            ..OPTIONS
        },
    );
    assert_eq!(a.hessians.len(), 2 * 4 + 1);
    assert_eq!(a.fishers.len(), 2 * 7 + 1);
    let close = |a: &f32, b: &f32| (a - b).abs() <= 1e-5 * (1.0 + a.abs());
    for (key, (.., hessian)) in &a.hessians {
        assert!(
            hessian
                .iter()
                .zip(&b.hessians[key].2)
                .all(|(a, b)| close(a, b))
        );
    }
    for (key, fisher) in &a.fishers {
        assert!(fisher.iter().zip(&b.fishers[key]).all(|(a, b)| close(a, b)));
    }
}

#[test]
fn continues_with_what_is_missing() {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture("llama");
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let complete = run(&model, &tokens, &OPTIONS);
    let mut partial = run(&model, &tokens, &OPTIONS);
    partial.resumed = true;
    let (lost, kept) = ("model.layers.1.mlp.down_proj.weight", "lm_head.weight");
    partial.hessians.remove(lost);
    partial.fishers.remove(lost);
    partial.curvatures.remove(lost);
    calibrate(&model, &tokens, &OPTIONS, &mut partial, &mut ignore).unwrap();
    assert_eq!(partial.hessians[lost].2, complete.hessians[lost].2);
    assert_eq!(partial.fishers[lost], complete.fishers[lost]);
    assert_eq!(partial.fishers[kept], complete.fishers[kept]);
    assert_eq!(partial.curvatures, complete.curvatures);
}

#[test]
fn an_expert_without_tokens_gets_its_siblings_mean() {
    let Fixture {
        config,
        mut weights,
        tokens,
        ..
    } = fixture("mixtral");
    // Expert 3 of block 0 is never picked: its router row points away from a constant direction that all tokens have.
    let router = weights
        .tensors
        .get_mut("model.layers.0.block_sparse_moe.gate.weight")
        .unwrap();
    router.data[3 * 32..].fill(0.0);
    router.data[3 * 32] = -50.0;
    router.data[..3 * 32].fill(0.0);
    for expert in 0..3 {
        router.data[expert * 32] = 50.0 - expert as f32;
    }
    let embedding = weights
        .tensors
        .get_mut("model.embed_tokens.weight")
        .unwrap();
    embedding
        .data
        .chunks_exact_mut(32)
        .for_each(|row| row[0] = 60.0);
    let norm = weights
        .tensors
        .get_mut("model.layers.0.post_attention_layernorm.weight")
        .unwrap();
    norm.data[0] = 1.0;
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let mut found = Collected::default();
    let report = calibrate(&model, &tokens, &OPTIONS, &mut found, &mut ignore).unwrap();
    let key = |expert: usize| format!("model.layers.0.block_sparse_moe.experts.{expert}.w1.weight");
    assert!(
        report.unseen_experts.contains(&key(3)),
        "{:?}",
        report.unseen_experts
    );
    let (_, n_tokens, hessian) = &found.hessians[&key(3)];
    assert_eq!(*n_tokens, 0);
    let seen: Vec<_> = (0..3)
        .map(|e| &found.hessians[&key(e)])
        .filter(|h| h.1 > 0)
        .collect();
    let mean = seen
        .iter()
        .fold(Array2::<f32>::zeros((32, 32)), |sum, h| sum + &h.2)
        / seen.len() as f32;
    let error = (hessian - &mean)
        .mapv(f32::abs)
        .fold(0.0, |a: f32, &b| a.max(b));
    assert!(error < 1e-3, "{error}");
    assert_eq!(found.fishers[&key(3)].len(), 48);
}

#[test]
fn refuses_short_texts_no_windows_and_nan() {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture("llama");
    let name = "model.layers.0.self_attn.o_proj.weight";
    let nan = WeightTensor {
        shape: vec![32, 32],
        data: vec![f32::NAN; 1024],
    };
    let source = OverlaidWeights {
        base: &weights,
        replaced: [(name.to_owned(), nan)].into(),
    };
    let open =
        |source| LanguageModel::open(config.clone(), source, ModelOptions::default()).unwrap();
    let run = |model: &_, tokens: &[u32], options: &_| {
        calibrate(
            model,
            tokens,
            options,
            &mut Collected::default(),
            &mut ignore,
        )
    };
    let model = open(&weights);
    assert!(matches!(
        run(&model, &tokens[..7], &OPTIONS),
        Err(Error::TextTooShort { .. })
    ));
    let none = CalibrationOptions {
        hessian_n_windows: 0,
        ..OPTIONS
    };
    assert!(matches!(
        run(&model, &tokens, &none),
        Err(Error::Argument { .. })
    ));
    let refused = run(&open(&source), &tokens, &OPTIONS);
    assert!(matches!(refused, Err(Error::NonFinite { block }) if block == "model.layers.0"));
}

/// Refuses everything.
struct Full;

impl StatisticsSink for Full {
    fn put(&mut self, _: &str, _: Statistic) -> Result<(), BoxedError> {
        Err("full".into())
    }

    fn has(&self, _: StatisticKind, _: &str) -> bool {
        false
    }

    fn hessian(&self, _: &str) -> Result<Option<Array2<f32>>, BoxedError> {
        Ok(None)
    }
}

#[test]
fn stops_where_the_sink_refuses() {
    let Fixture {
        config,
        weights,
        tokens,
        ..
    } = fixture("llama");
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let refused = calibrate(&model, &tokens, &OPTIONS, &mut Full, &mut ignore);
    let first = "model.layers.0.self_attn.q_proj.weight";
    let Err(Error::Sink { name, source }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (name.as_str(), source.to_string().as_str()),
        (first, "full")
    );
}

#[test]
fn an_encoder_has_a_fisher_only_with_a_head() {
    for (name, n_fishers) in [("bert", 0), ("bert_mlm", 2 * 6 + 2)] {
        let Fixture {
            config,
            weights,
            tokens,
            ..
        } = fixture(name);
        let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
        let found = run(&model, &tokens, &OPTIONS);
        assert_eq!(found.fishers.len(), n_fishers, "{name}");
        assert!(found.hessians.len() >= 2 * 4);
    }
}
