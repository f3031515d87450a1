//! Scales of a model that was rounded.

use ndarray::{Array1, Array2, Axis};
use nwc_lm::{ModelOptions, OverlaidWeights};

use super::*;
use crate::blocks::QuantizedLinear;
use crate::testing::{Fixture, fixture, round, text};

#[test]
fn tuned_scales_lower_the_divergence() {
    let Fixture {
        config, weights, ..
    } = fixture("llama");
    let model = LanguageModel::open(config.clone(), &weights, ModelOptions::default()).unwrap();
    let tokens = text(&model);
    let mut replaced = BTreeMap::new();
    for linear in model.linears().unwrap() {
        let original = weights.tensors[&linear.weight_name].clone();
        let matrix = Array2::from_shape_vec((linear.n_out, linear.n_in), original.data).unwrap();
        let QuantizedLinear {
            normalized,
            row_scales,
        } = round(&matrix);
        let decoded = normalized * &Array1::from(row_scales).insert_axis(Axis(1));
        let data = decoded.iter().copied().collect();
        let shape = original.shape;
        replaced.insert(linear.weight_name, WeightTensor { shape, data });
    }
    let coded: BTreeSet<String> = replaced.keys().cloned().collect();
    let decoded = OverlaidWeights {
        base: &weights,
        replaced,
    };
    let student = LanguageModel::open(config, &decoded, ModelOptions::default()).unwrap();
    let options = ScaleOptions {
        window: 16,
        n_train_windows: 16,
        n_validation_windows: 8,
        learning_rate: 1e-2,
        validate_every: 8,
    };
    let run = |options| tune_scales(&model, &student, &coded, &tokens, &options, &mut |_, _| ());
    let tuned = run(options).unwrap();
    assert!(
        tuned.kl_after < 0.97 * tuned.kl_before,
        "{} {}",
        tuned.kl_before,
        tuned.kl_after
    );
    assert_eq!(run(options).unwrap(), tuned, "the same every time");
    // The head is no part of a block; every other linear has a gain a row, and norms are tuned beside them.
    let n_gains: usize = tuned.gains.values().map(Vec::len).sum();
    let blocks = model.linears().unwrap().into_iter();
    let n_rows: usize = blocks
        .filter(|linear| linear.block_idx.is_some())
        .map(|linear| linear.n_out)
        .sum();
    assert_eq!(n_gains, n_rows);
    assert!(tuned.tensors.keys().all(|name| name.contains("norm")));
    for bad in [
        ScaleOptions {
            validate_every: 0,
            ..options
        },
        ScaleOptions {
            learning_rate: f64::NAN,
            ..options
        },
        ScaleOptions {
            n_validation_windows: 24,
            ..options
        },
    ] {
        assert!(run(bad).is_err());
    }
}
