//! A checkpoint with statistics on disk, handed over as families see it: what tests of planning stand on.

#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::collections::BTreeMap;
use std::fs::File;

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_format::{DType, PlainWriter, plain_header_bytes};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Layer, Layers};
use crate::classify::Overrides;
use crate::folder::Source;
use crate::options::{Cancel, Curvature, Feedback, NoProgress, NonFinite};
use crate::statistics::StatisticsWriter;
use crate::survey::{Guide, Plan, Scope};

/// A weight tensor, `[out, in]`, and what is known of it.
pub(crate) struct Matrix {
    pub(crate) name: &'static str,
    pub(crate) weights: Array2<f32>,
    pub(crate) hessian: Option<Array2<f32>>,
    pub(crate) fisher: Option<Vec<f32>>,
}

impl Matrix {
    /// One of which nothing is known.
    pub(crate) fn plain(name: &'static str, weights: Array2<f32>) -> Self {
        Self {
            name,
            weights,
            hessian: None,
            fisher: None,
        }
    }

    /// One with both statistics.
    pub(crate) fn guided(
        name: &'static str,
        weights: Array2<f32>,
        hessian: Array2<f32>,
        fisher: Vec<f32>,
    ) -> Self {
        Self {
            name,
            weights,
            hessian: Some(hessian),
            fisher: Some(fisher),
        }
    }
}

/// Roughly standard normal numbers, `[rows, cols]`.
pub(crate) fn random(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, cols), || {
        (0..6).map(|_| rng.random_range(-1.0..1.0_f32)).sum::<f32>() / 2_f32.sqrt()
    })
}

/// The second moment of `dim` inputs that go together, input `j` of size `size(j)`.
pub(crate) fn second_moment(dim: usize, seed: u64, size: impl Fn(usize) -> f32) -> Array2<f32> {
    let mut inputs = random(2 * dim, dim, seed);
    for mut input in inputs.rows_mut() {
        for j in 1..dim {
            input[j] = 0.6 * input[j] + 0.8 * input[j - 1];
        }
        for (j, x) in input.iter_mut().enumerate() {
            *x *= size(j);
        }
    }
    inputs.t().dot(&inputs) / (2 * dim) as f32
}

/// Writes `matrices` as a checkpoint with statistics, where something is known, and hands its layers to `check`.
pub(crate) fn with_layers<T>(
    matrices: &[Matrix],
    feedback: Option<Feedback>,
    check: impl FnOnce(&Layers<'_>) -> T,
) -> T {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let tensors: Vec<_> = matrices
        .iter()
        .map(|m| (m.name.to_owned(), DType::F32, m.weights.shape().to_vec()))
        .collect();
    let none = BTreeMap::new();
    let file = File::create(model.join("model.safetensors")).unwrap();
    let mut writer = PlainWriter::new(file, plain_header_bytes(&tensors, &none).unwrap()).unwrap();
    for ((name, dtype, shape), matrix) in tensors.iter().zip(matrices) {
        let bytes: Vec<u8> = matrix
            .weights
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect();
        writer.tensor(name, *dtype, shape, &bytes).unwrap();
    }
    writer.finish(&none).unwrap();

    let statistics = dir.path().join("statistics");
    let mut writer = StatisticsWriter::create(&statistics, &serde_json::json!({})).unwrap();
    for matrix in matrices {
        let name = matrix.name;
        if let Some(hessian) = &matrix.hessian {
            let hessian: ArrayView2<'_, f32> = hessian.view();
            writer.hessian(name, &[name.into()], 10, hessian).unwrap();
        }
        if let Some(fisher) = &matrix.fisher {
            writer.output_fisher(name, fisher).unwrap();
        }
    }
    let fingerprint = crate::fingerprint(&model).unwrap();
    writer
        .finish(fingerprint, "made up".into(), 10, 10)
        .unwrap();
    let is_known = |m: &Matrix| m.hessian.is_some() || m.fisher.is_some();
    let statistics = matrices.iter().any(is_known).then_some(statistics);

    let source = Source::open(&model).unwrap();
    let overrides = Overrides::default();
    let plan = Plan::new(&source, Scope::All, NonFinite::Refuse, &overrides).unwrap();
    let statistics = statistics.as_deref();
    let guide = Guide::open(statistics, Curvature::PerToken, feedback, &plan.fingerprint).unwrap();
    let layers: Vec<_> = plan
        .coded()
        .map(|(planned, role, shape)| Layer::new(planned, role, shape, &guide))
        .collect();
    assert_eq!(layers.len(), matrices.len(), "all are coded");
    check(&Layers::new(layers, &guide, Cancel(&NoProgress)))
}
