//! The density against CompressAI's, on values that `fixtures/parity/export_compressai.py` exported.

use std::path::Path;

use safetensors::SafeTensors;

use super::*;

/// Both sides compute in f32; two sigmoids near ½ lie within 6e-8 of the truth, and a likelihood is their difference.
const TOLERANCE: f64 = 1e-5;
/// Probability outside CompressAI's outer two quantiles (`docs/METHOD.md` 1.3).
const TAIL_MASS: f64 = 1e-9;

fn fixture(check: impl FnOnce(&EntropyBottleneck, &dyn Fn(&str) -> Vec<f32>)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/parity/entropy_bottleneck.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap();
        data.data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect()
    };
    let n_channels = file.tensor("inputs").unwrap().shape()[0];
    let mut density = EntropyBottleneck::new(&vec![1.0; n_channels], Device::Cpu).unwrap();
    for (name, tensor) in &mut density.tensors {
        let [_, kind, layer] = name.split('.').collect::<Vec<_>>()[..] else {
            panic!("{name}");
        };
        let shape = tensor.size();
        *tensor = learnt(
            &values(&format!("parameter/_{kind}{layer}")),
            &shape,
            Device::Cpu,
        )
        .unwrap();
    }
    check(&density, &values);
}

#[test]
fn likelihoods_are_those_of_compressai() {
    fixture(|density, values| {
        let inputs = values("inputs");
        let inputs = Tensor::from_slice(&inputs).reshape([density.n_channels, -1]);
        let found = to_vec(&density.likelihood(&inputs).unwrap()).unwrap();
        let expected = values("likelihoods");
        assert_eq!(found.len(), expected.len());
        assert!(
            expected.iter().any(|&p| p > 0.01)
                && expected
                    .iter()
                    .any(|&p| f64::from(p) <= LIKELIHOOD_BOUND * 1.01)
        );
        for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = f64::from((found - expected).abs());
            assert!(
                error <= TOLERANCE * f64::from(*expected) + 2e-7,
                "likelihood {idx} is {found}, CompressAI {expected}"
            );
        }
    });
}

#[test]
fn quantiles_are_those_of_compressai() {
    fixture(|density, values| {
        for (name, probability) in [
            ("medians", 0.5),
            ("lower_tails", TAIL_MASS / 2.0),
            ("upper_tails", 1.0 - TAIL_MASS / 2.0),
        ] {
            for (found, expected) in density
                .quantiles(probability)
                .unwrap()
                .iter()
                .zip(values(name))
            {
                // CompressAI stops at 1e-4 relative plus 1e-3.
                assert!(
                    (found - expected).abs() <= 2e-3 + 2e-4 * expected.abs(),
                    "{name}: {found}, CompressAI {expected}"
                );
            }
        }
    });
}

#[test]
fn a_new_density_is_as_wide_as_asked() {
    let deviations = [0.5f32, 3.0, 150.0];
    let density = EntropyBottleneck::new(&deviations, Device::Cpu).unwrap();
    let (medians, first, n) = (vec![0.0; 3], vec![-2000; 3], 4001);
    for (pmf, deviation) in density
        .integer_likelihoods(&medians, &first, n)
        .unwrap()
        .iter()
        .zip(deviations)
    {
        let sum: f64 = pmf.iter().sum();
        assert!((sum - 1.0).abs() < 1e-4, "sum {sum}");
        let variance: f64 = pmf
            .iter()
            .zip(-2000..)
            .map(|(p, symbol)| p * f64::from(symbol * symbol))
            .sum();
        let found = (variance - 1.0 / 12.0).max(0.0).sqrt();
        assert!(
            (found / f64::from(deviation) - 1.0).abs() < 0.35,
            "{found}, asked {deviation}"
        );
    }
}

#[test]
fn likelihoods_below_the_bound_still_have_a_gradient() {
    let density = EntropyBottleneck::new(&[1.0], Device::Cpu).unwrap();
    let input = Tensor::from_slice(&[-12.0f32])
        .reshape([1, 1])
        .set_requires_grad(true);
    let likelihood = density.likelihood(&input).unwrap();
    // Up to f32's rounding.
    assert!(f64::try_from(&likelihood).unwrap() >= LIKELIHOOD_BOUND * 0.999);
    likelihood.backward();
    assert!(f64::try_from(input.grad()).unwrap() > 0.0);
}
