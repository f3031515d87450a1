//! Sparse checkpoints stay sparse: zeros come back as zeros and cost less than weights.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use nwc::{Checkpoint, CodecChoice, CompressOptions, Inspection, NoProgress, RateTarget};
use nwc_tests::restored::{codecs, round_trip, round_trip_with};
use nwc_tests::{TestTensor, gaussian, write_checkpoint};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

const COLS: usize = 256;

/// A Gaussian tensor with the weights pruned that `is_zero` names by row and column.
fn pruned(
    name: &str,
    shape: &[usize],
    dtype: Dtype,
    mut is_zero: impl FnMut(&mut ChaCha8Rng, usize, usize) -> bool,
) -> TestTensor {
    let mut rng = ChaCha8Rng::seed_from_u64(shape.iter().product::<usize>() as u64);
    let cols = *shape.last().unwrap();
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|i| {
            let value = 0.02 * gaussian(&mut rng);
            match is_zero(&mut rng, i / cols, i % cols) {
                true => 0.0,
                false => value,
            }
        })
        .collect();
    TestTensor::from_values(name, shape, dtype, &values)
}

fn unstructured(share: f64) -> impl FnMut(&mut ChaCha8Rng, usize, usize) -> bool {
    move |rng, _, _| rng.random_bool(share)
}

/// Two zeros among four neighbours of a row.
fn two_of_four() -> impl FnMut(&mut ChaCha8Rng, usize, usize) -> bool {
    let mut left = 2;
    move |rng, _, col| {
        let place = col % 4;
        if place == 0 {
            left = 2;
        }
        let is_zero = rng.random_range(0..4 - place) < left;
        left -= usize::from(is_zero);
        is_zero
    }
}

/// A model of two linears.
fn model(weights: [TestTensor; 2]) -> Vec<TestTensor> {
    let names = ["layers.0.up_proj.weight", "layers.0.down_proj.weight"];
    let named = weights.into_iter().zip(names);
    named
        .map(|(tensor, name)| TestTensor {
            name: name.into(),
            ..tensor
        })
        .collect()
}

fn two(
    is_zero: impl Fn() -> Box<dyn FnMut(&mut ChaCha8Rng, usize, usize) -> bool>,
) -> Vec<TestTensor> {
    let one = |rows| pruned("", &[rows, COLS], Dtype::BF16, is_zero());
    model([one(512), one(320)])
}

#[test]
fn zeros_come_back_as_zeros_in_every_dtype_and_shape() {
    let mut tensors = Vec::new();
    for (idx, share) in [0.04, 0.1, 0.5, 0.9, 0.99].into_iter().enumerate() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let name = format!("layers.{idx}.{dtype:?}.weight");
            tensors.push(pruned(&name, &[128, 100], dtype, unstructured(share)));
        }
    }
    tensors.push(pruned(
        "two.of_four.weight",
        &[96, 128],
        Dtype::BF16,
        two_of_four(),
    ));
    tensors.push(pruned(
        "experts",
        &[4, 64, 96],
        Dtype::BF16,
        unstructured(0.5),
    ));
    // Rows and columns of zeros beside single ones.
    tensors.push(pruned(
        "lanes.weight",
        &[128, 96],
        Dtype::F32,
        |rng, row, col| row % 5 == 0 || col == 95 || col == 0 || rng.random_bool(0.3),
    ));
    // Columns that hold much more than others, and rows of every size.
    let mut uneven = pruned("uneven.weight", &[128, 96], Dtype::F32, |rng, _, col| {
        rng.random_bool([0.0, 0.5, 0.95][col % 3])
    });
    let values: Vec<f32> = uneven
        .bytes
        .as_chunks()
        .0
        .iter()
        .enumerate()
        .map(|(i, &b)| f32::from_le_bytes(b) * [1e-20_f32, 1.0, 1e20][i / 96 % 3])
        .collect();
    uneven.bytes = TestTensor::from_values("", &[128, 96], Dtype::F32, &values).bytes;
    tensors.push(uneven);
    let mut n_sparse = 0;
    round_trip(&tensors, |tensor| {
        tensor.assert_sound();
        tensor.assert_zeros_kept();
        let nmse = tensor.nmse(0..tensor.before.len() / tensor.cols);
        assert!(nmse < 0.03, "{}: {nmse}", tensor.label);
        n_sparse += 1;
    });
    assert_eq!(n_sparse, 2 * tensors.len());
}

fn compress(tensors: &[TestTensor], codec: &CodecChoice) -> Inspection {
    let dir = tempfile::tempdir().unwrap();
    let [original, packed] = ["original", "packed"].map(|n| dir.path().join(n));
    write_checkpoint(&original, &[tensors.to_vec()]);
    let options = CompressOptions::new(codec.clone());
    nwc::compress(&original, &packed, &options, &NoProgress).unwrap()
}

/// Bits a weight and relative squared error of the whole model.
fn rate_and_error(inspection: &Inspection) -> (f64, f64) {
    let n = inspection.tensors.len() as f64;
    let error = inspection
        .tensors
        .iter()
        .map(|t| t.nmse.unwrap())
        .sum::<f64>()
        / n;
    (inspection.totals.bpw_payload, error)
}

/// At the same error a half-empty matrix takes half of the symbols' bits and a mask's entropy.
#[test]
fn zeros_cost_less_than_weights() {
    let masks = [
        ("unstructured", 1.0, two(|| Box::new(unstructured(0.5)))),
        ("2:4", 6.0_f64.log2() / 4.0, two(|| Box::new(two_of_four()))),
    ];
    let full = two(|| Box::new(|_, _, _| false));
    for (family, _) in codecs() {
        let codec = match family {
            "trellis" => CodecChoice::Trellis {
                target: RateTarget::Step(0.28),
                n_states: 8,
            },
            _ => CodecChoice::Pretrained { lambda: 300.0 },
        };
        let (full_rate, full_error) = rate_and_error(&compress(&full, &codec));
        for (mask, mask_bits, tensors) in &masks {
            let (rate, error) = rate_and_error(&compress(tensors, &codec));
            // At the error of the full model; a bit more for each weight that is left is a quarter of the error.
            let rate = rate + 0.5 * 0.5 * (error / full_error).log2();
            // What does not shrink with the matrix: scales, and in a learned codec chunks that are filled up.
            let most = 0.5 * full_rate + mask_bits + 0.15;
            assert!(
                rate < most,
                "{family}, {mask}: {rate} bits, full {full_rate}"
            );
        }
    }
}

#[test]
fn a_size_that_is_asked_for_is_met_by_sparse_models() {
    let tensors = two(|| Box::new(unstructured(0.5)));
    for bits in [2.0, 3.0] {
        let codec = CodecChoice::Trellis {
            target: RateTarget::BpwPayload(bits),
            n_states: 8,
        };
        let (rate, _) = rate_and_error(&compress(&tensors, &codec));
        assert!((rate / bits - 1.0).abs() < 0.01, "asked for {bits}, {rate}");
    }
}

#[test]
fn a_learned_codec_with_a_trellis_keeps_zeros() {
    let tensors = two(|| Box::new(unstructured(0.5)));
    let (_, learned) = codecs()
        .into_iter()
        .find(|(family, _)| *family == "neural")
        .unwrap();
    let mut options = CompressOptions::new(learned);
    options.latent_states = Some(8);
    let mut n_tensors = 0;
    round_trip_with("neural", &options, &tensors, &mut |tensor| {
        tensor.assert_sound();
        tensor.assert_zeros_kept();
        n_tensors += 1;
    });
    assert_eq!(n_tensors, 2);
}

#[test]
fn few_zeros_need_no_mask() {
    let some = compress(&two(|| Box::new(unstructured(0.01))), &codecs()[1].1);
    let none = compress(&two(|| Box::new(|_, _, _| false)), &codecs()[1].1);
    let names = |inspection: &Inspection| -> Vec<usize> {
        inspection
            .tensors
            .iter()
            .map(|t| t.n_bytes as usize / 1000)
            .collect()
    };
    assert_eq!(names(&some), names(&none));
}

/// Tuning does not know what was pruned: what it makes of zeros is not coded.
#[test]
fn weights_that_were_tuned_do_not_fill_zeros() {
    let tensors = two(|| Box::new(unstructured(0.5)));
    for (family, codec) in codecs() {
        let dir = tempfile::tempdir().unwrap();
        let [original, packed] = ["original", "packed"].map(|n| dir.path().join(n));
        write_checkpoint(&original, std::slice::from_ref(&tensors));
        let name = &tensors[0].name;
        let n: usize = tensors[0].shape.iter().product();
        let mut tune = |linears: &nwc::LinearCoder<'_>| {
            assert!(linears.coded_names().any(|coded| coded == name));
            let values = [(name.clone(), vec![0.01; n])].into();
            Ok(nwc::Recovered {
                values,
                ..Default::default()
            })
        };
        let options = CompressOptions::new(codec);
        nwc::compress_recovered(&original, &packed, &options, &mut tune, &NoProgress).unwrap();
        let [before, after] =
            [&original, &packed].map(|dir| Checkpoint::open(dir).unwrap().tensor(name).unwrap());
        for (w, d) in before.iter().zip(&after) {
            assert_eq!(*w == 0.0, *d == 0.0, "{family}: {w} {d}");
        }
    }
}
