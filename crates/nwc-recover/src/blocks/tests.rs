//! Block recovery with plain rounding as the codec.

use nwc_lm::ModelOptions;

use super::*;
use crate::testing::{Fixture, fixture, round, text};

const OPTIONS: BlockOptions = BlockOptions {
    window: 16,
    n_train_windows: 16,
    n_validation_windows: 8,
    n_epochs: 5,
    batch_windows: 4,
    learning_rate: 1e-3,
    patience: 2,
};

#[track_caller]
fn check(name: &str, expected_order: &[&str]) {
    let Fixture {
        config, weights, ..
    } = fixture(name);
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let tokens = text(&model);
    let mut seen = Vec::new();
    let mut recover = |options| {
        seen.clear();
        let mut recovery = BlockRecovery::new(&model, &tokens, options).unwrap();
        recovery.skip_block().unwrap();
        assert_eq!(recovery.next_block_idx(), Some(1));
        let recovered = recovery
            .recover_block(&mut |name, weights| {
                seen.push(name.to_owned());
                Ok((!name.contains("block_sparse_moe.gate")).then(|| round(weights)))
            })
            .unwrap();
        assert_eq!(recovery.next_block_idx(), None);
        assert!(matches!(
            recovery.skip_block(),
            Err(Error::Model(nwc_lm::Error::BlockIndex { .. }))
        ));
        recovered
    };
    let untuned = recover(BlockOptions {
        n_epochs: 0,
        ..OPTIONS
    });
    let recovered = recover(OPTIONS);
    let short: Vec<&str> = seen
        .iter()
        .map(|name| name.trim_end_matches(".weight"))
        .collect();
    assert_eq!(short.len(), expected_order.len());
    for (name, end) in short.iter().zip(expected_order) {
        assert!(name.ends_with(end), "{name} {end}");
    }
    assert_eq!(recovered.steps.len(), recovered.linears.len());
    assert!(
        recovered
            .steps
            .iter()
            .all(|step| step.loss_after <= step.loss_before)
    );
    let last = |block: &RecoveredBlock| block.steps[block.steps.len() - 1].loss_after;
    assert!(
        last(&recovered) < 0.9 * last(&untuned),
        "{} {}",
        last(&recovered),
        last(&untuned)
    );
    for (name, tensor) in &recovered.tensors {
        assert_eq!(tensor.shape, weights.tensors[name].shape, "{name}");
    }
}

#[test]
fn llama_follows_its_original() {
    check(
        "llama",
        &[
            "v_proj",
            "q_proj",
            "k_proj",
            "o_proj",
            "up_proj",
            "gate_proj",
            "down_proj",
        ],
    );
}

#[test]
fn gpt2_follows_its_original() {
    check(
        "gpt2",
        &["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
    );
}

#[test]
fn an_uncoded_router_is_tuned_to_the_end() {
    let mut order = vec![
        "v_proj",
        "q_proj",
        "k_proj",
        "o_proj",
        "block_sparse_moe.gate",
    ];
    for _ in 0..4 {
        order.extend(["w3", "w1", "w2"]);
    }
    check("mixtral", &order);
}

/// The result, put back as plain weights, gives the loss that was reported.
#[test]
fn the_result_is_what_was_measured() {
    let Fixture {
        config, weights, ..
    } = fixture("gpt2");
    let model = LanguageModel::open(config.clone(), &weights, ModelOptions::default()).unwrap();
    let tokens = text(&model);
    let mut recovery = BlockRecovery::new(&model, &tokens, OPTIONS).unwrap();
    let recovered = recovery
        .recover_block(&mut |_, weights| Ok(Some(round(weights))))
        .unwrap();
    let mut changed = weights.clone();
    changed.tensors.extend(recovered.tensors);
    for (name, linear) in &recovered.linears {
        let mut matrix = linear.normalized.clone();
        for (mut row, scale) in matrix.rows_mut().into_iter().zip(&linear.row_scales) {
            row *= *scale;
        }
        // GPT-2 stores [in, out].
        let stored = matrix.reversed_axes();
        let tensor = changed.tensors.get_mut(name).unwrap();
        assert_eq!(tensor.shape, stored.shape());
        tensor.data = stored.iter().copied().collect();
    }
    let other = LanguageModel::open(config, &changed, ModelOptions::default()).unwrap();
    let sequence = model.sequence(0, 16).unwrap();
    let first_block = |from: &LanguageModel<'_>, window: &[u32]| {
        let hidden = model.embed(&[window], &sequence).unwrap();
        from.block(0)
            .unwrap()
            .forward(&hidden, &sequence, &mut NoTap, None)
            .unwrap()
    };
    let validation = tokens.chunks_exact(16).skip(16);
    let losses: Vec<f64> = validation
        .map(|window| {
            let difference = first_block(&other, window) - first_block(&model, window);
            difference
                .square()
                .mean(tch::Kind::Double)
                .double_value(&[])
        })
        .collect();
    let measured = losses.iter().sum::<f64>() / losses.len() as f64;
    let reported = recovered.steps.last().unwrap().loss_after;
    assert!(
        (measured / reported - 1.0).abs() < 1e-3,
        "{measured} {reported}"
    );
}

#[test]
fn refuses_bad_options_short_texts_and_unfit_results() {
    let Fixture {
        config, weights, ..
    } = fixture("llama");
    let model = LanguageModel::open(config, &weights, ModelOptions::default()).unwrap();
    let tokens = text(&model);
    let new = |tokens: &[u32], options| BlockRecovery::new(&model, tokens, options).map(|_| ());
    assert!(matches!(
        new(&tokens[1..], OPTIONS),
        Err(Error::Model(nwc_lm::Error::TextTooShort {
            n_tokens: 383,
            window: 384
        }))
    ));
    for options in [
        BlockOptions {
            n_train_windows: 0,
            ..OPTIONS
        },
        BlockOptions {
            n_validation_windows: 0,
            ..OPTIONS
        },
        BlockOptions {
            batch_windows: 0,
            ..OPTIONS
        },
        BlockOptions {
            learning_rate: f64::NAN,
            ..OPTIONS
        },
    ] {
        assert!(matches!(new(&tokens, options), Err(Error::Argument { .. })));
    }
    let mut recovery = BlockRecovery::new(&model, &tokens, OPTIONS).unwrap();
    let short = |_: &str, weights: &Array2<f32>| {
        Ok(Some(QuantizedLinear {
            normalized: weights.clone(),
            row_scales: vec![1.0],
        }))
    };
    assert!(matches!(
        recovery.recover_block(&mut { short }),
        Err(Error::CodedShape { .. })
    ));
    let nan = |_: &str, weights: &Array2<f32>| {
        let row_scales = vec![f32::NAN; weights.nrows()];
        Ok(Some(QuantizedLinear {
            normalized: weights.clone(),
            row_scales,
        }))
    };
    assert!(matches!(
        recovery.recover_block(&mut { nan }),
        Err(Error::CodedNonFinite { .. })
    ));
    // A failed block can be tried again.
    assert_eq!(recovery.next_block_idx(), Some(0));
}
