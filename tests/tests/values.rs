//! Weights of any size come back finite, none worse than zeros would be, and zeros come back as zeros.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use half::{bf16, f16};
use nwc_tests::restored::round_trip;
use nwc_tests::{TestTensor, gaussian};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// A matrix of 64 columns whose row `i` is Gaussian with deviation `scale(i)`.
fn rows_of(name: &str, rows: usize, dtype: Dtype, scale: impl Fn(usize) -> f32) -> TestTensor {
    let mut rng = ChaCha8Rng::seed_from_u64(rows as u64);
    let values: Vec<f32> = (0..rows * 64)
        .map(|i| gaussian(&mut rng) * scale(i / 64))
        .collect();
    TestTensor::from_values(name, &[rows, 64], dtype, &values)
}

#[test]
fn matrices_of_any_size_are_close() {
    let mut tensors = Vec::new();
    for (idx, scale) in [1e-38, 1e-30, 1e-20, 1e-9, 1e-6, 1e4, 1e10, 1e30]
        .into_iter()
        .enumerate()
    {
        for dtype in [Dtype::F32, Dtype::BF16] {
            let name = format!("layers.{idx}.{dtype:?}.weight");
            tensors.push(rows_of(&name, 64, dtype, |_| scale));
        }
    }
    for scale in [3e-6, 1e-4, 1e4] {
        tensors.push(rows_of(
            &format!("half.{scale}.weight"),
            64,
            Dtype::F16,
            |_| scale,
        ));
    }
    round_trip(&tensors, |tensor| {
        tensor.assert_sound();
        let nmse = tensor.nmse(0..64);
        assert!(nmse < 0.02, "{}: {nmse}", tensor.label);
        let recorded = tensor.inspection.nmse.unwrap();
        assert!(
            (nmse - recorded).abs() < 0.1 * nmse,
            "{}: {nmse}, recorded {recorded}",
            tensor.label
        );
    });
}

#[test]
fn every_row_has_its_own_scale() {
    let scale = |row: usize| match row % 8 {
        0 => 1e-6,
        1 => 1e-9,
        2 => 1e-20,
        3 => 1e-37,
        4 => 1e-40,
        5 => 1e20,
        6 => 1e36,
        _ => 0.02,
    };
    let half = |row: usize| [1e-7, 2e-6, 1e-4, 0.02, 1.0, 1e2, 1e3, 1e4][row % 8];
    let tensors = [
        rows_of("a.weight", 128, Dtype::F32, scale),
        rows_of("b.weight", 128, Dtype::BF16, scale),
        rows_of("c.weight", 128, Dtype::F16, half),
    ];
    round_trip(&tensors, |tensor| {
        tensor.assert_sound();
        for row in 0..128 {
            // Subnormals are rounded coarsely by their own dtype.
            let is_subnormal = match tensor.label.contains("F16") && !tensor.label.contains("BF16")
            {
                true => row % 8 == 0,
                false => row % 8 == 4,
            };
            let nmse = tensor.nmse(row..row + 1);
            assert!(
                nmse < if is_subnormal { 1.0 } else { 0.1 },
                "{}, row {row}: {nmse}",
                tensor.label
            );
        }
    });
}

#[test]
fn nothing_near_the_maximum_becomes_infinite() {
    let tensors = DTYPES.map(|dtype| {
        let max = match dtype {
            Dtype::F16 => f16::MAX.to_f32(),
            Dtype::BF16 => bf16::MAX.to_f32(),
            _ => f32::MAX,
        };
        let mut tensor = rows_of(&format!("{dtype:?}.weight"), 64, dtype, |_| max / 8.0);
        let values: Vec<f32> = (0..64 * 64)
            .map(|i| match i % 5 {
                0 => max,
                1 => -max,
                k => max / (k + i % 7) as f32,
            })
            .collect();
        tensor.bytes = TestTensor::from_values("", &[64, 64], dtype, &values).bytes;
        tensor
    });
    round_trip(&tensors, |tensor| {
        tensor.assert_sound();
        assert!(
            tensor.nmse(0..64) < 0.05,
            "{}: {}",
            tensor.label,
            tensor.nmse(0..64)
        );
    });
}

#[test]
fn an_outlier_costs_its_own_row_only() {
    let tensors = [Dtype::F32, Dtype::BF16].map(|dtype| {
        let mut tensor = rows_of(&format!("{dtype:?}.weight"), 64, dtype, |_| 0.02);
        let spot = TestTensor::from_values("", &[1], dtype, &[1e6]).bytes;
        let at = (17 * 64 + 5) * spot.len();
        tensor.bytes[at..at + spot.len()].copy_from_slice(&spot);
        tensor
    });
    round_trip(&tensors, |tensor| {
        tensor.assert_sound();
        for rows in [0..17, 18..64] {
            let nmse = tensor.nmse(rows);
            assert!(nmse < 0.05, "{}: {nmse}", tensor.label);
        }
    });
}

#[test]
fn constant_rows_and_matrices_are_close() {
    let step: Vec<f32> = (0..64 * 64)
        .map(|i| 0.5 + if i % 64 == 0 { 0.002 } else { 0.0 })
        .collect();
    let offset: Vec<f32> = (0..64 * 64)
        .map(|i| 0.5 + 1e-3 * ((i * 37 % 64) as f32 / 64.0))
        .collect();
    let one: Vec<f32> = (0..64 * 64)
        .map(|i| if i == 1093 { 0.75 } else { 0.0 })
        .collect();
    let tensors = [
        TestTensor::from_values("constant.weight", &[64, 64], Dtype::BF16, &[-0.0123; 4096]),
        TestTensor::from_values("ones.weight", &[64, 64], Dtype::F16, &[1.0; 4096]),
        TestTensor::from_values("step.weight", &[64, 64], Dtype::F32, &step),
        TestTensor::from_values("offset.weight", &[64, 64], Dtype::F32, &offset),
        TestTensor::from_values("one.weight", &[64, 64], Dtype::F32, &one),
    ];
    round_trip(&tensors, |tensor| {
        tensor.assert_sound();
        let nmse = tensor.nmse(0..64);
        assert!(nmse < 0.1, "{}: {nmse}", tensor.label);
    });
}

#[test]
fn rows_columns_and_matrices_of_zeros_stay_zeros() {
    for dtype in DTYPES {
        let mut tensors = vec![
            TestTensor::from_values("all.weight", &[128, 64], dtype, &[0.0; 128 * 64]),
            TestTensor::from_values("minus.weight", &[64, 64], dtype, &[-0.0; 4096]),
        ];
        let mut lanes = |name: &str, shape: &[usize], is_zero: &dyn Fn(usize, usize) -> bool| {
            let mut rng = ChaCha8Rng::seed_from_u64(9);
            let cols = *shape.last().unwrap();
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (0..n)
                .map(
                    |i| match (gaussian(&mut rng) * 0.02, is_zero(i / cols, i % cols)) {
                        (_, true) => 0.0,
                        (value, false) => value,
                    },
                )
                .collect();
            tensors.push(TestTensor::from_values(name, shape, dtype, &values));
        };
        lanes("rows.weight", &[200, 64], &|row, _| row >= 170 || row == 3);
        lanes("cols.weight", &[64, 128], &|_, col| col % 4 == 0);
        lanes("both.weight", &[64, 128], &|row, col| {
            row % 9 == 0 || col == 127
        });
        lanes("experts", &[4, 32, 64], &|row, _| (64..96).contains(&row));
        round_trip(&tensors, |tensor| {
            tensor.assert_sound();
            tensor.assert_zeros_kept();
        });
    }
}
