//! A small checkpoint with made-up statistics, and how it is compressed here.

use std::path::{Path, PathBuf};

use nwc::ndarray::{Array1, Array2, Axis};
use nwc::{
    Checkpoint, CodecChoice, CompressOptions, Curvature, Inspection, NoProgress, RateTarget,
    StatisticsWriter,
};
use nwc_tests::{TestTensor, gaussian, write_checkpoint};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

pub(crate) const UP: &str = "model.layers.0.mlp.up_proj.weight";
pub(crate) const DOWN: &str = "model.layers.0.mlp.down_proj.weight";
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const ROWS: usize = 96;
pub(crate) const COLS: usize = 64;

/// A checkpoint of two linears and a tied embedding in a temporary folder, and statistics for it.
pub(crate) struct Case {
    pub(crate) dir: tempfile::TempDir,
    /// `[ROWS, COLS]`, as the model has it.
    pub(crate) up: Array2<f32>,
    pub(crate) hessian: Array2<f32>,
    pub(crate) fisher: Vec<f32>,
    /// Whether the linears are stored `[in, out]`.
    pub(crate) is_transposed: bool,
}

/// Inputs of strongly differing size that go together: what feedback and column steps live on.
pub(crate) fn inputs(n: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut x = Array2::from_shape_simple_fn((n, cols), || gaussian(&mut rng));
    for mut row in x.rows_mut() {
        for j in 1..cols {
            row[j] = 0.4 * row[j] + 0.9 * row[j - 1];
        }
    }
    for (j, mut col) in x.columns_mut().into_iter().enumerate() {
        col *= 4.0_f32.powf((j % 8) as f32 / 4.0 - 1.0);
    }
    x
}

pub(crate) fn second_moments(x: &Array2<f32>) -> Array2<f32> {
    x.t().dot(x) / x.nrows() as f32
}

impl Case {
    pub(crate) fn new(is_transposed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut matrix = |rows, cols, scale: f32| {
            Array2::from_shape_simple_fn((rows, cols), || scale * gaussian(&mut rng))
        };
        let up = matrix(ROWS, COLS, 0.05);
        let down = matrix(COLS, ROWS, 0.05);
        let embedding = matrix(160, COLS, 0.05);
        let stored = |name: &str, weights: &Array2<f32>| {
            let weights = match is_transposed && name != EMBEDDING {
                true => weights.t().as_standard_layout().into_owned(),
                false => weights.clone(),
            };
            let values: Vec<f32> = weights.iter().copied().collect();
            TestTensor::from_values(name, weights.shape(), Dtype::F32, &values)
        };
        write_checkpoint(
            &dir.path().join("model"),
            &[vec![
                stored(EMBEDDING, &embedding),
                stored(UP, &up),
                stored(DOWN, &down),
            ]],
        );
        let hessian = second_moments(&inputs(400, COLS, 11));
        let fisher = (0..ROWS)
            .map(|i| 0.01 * 8.0_f32.powf((i % 6) as f32 / 3.0))
            .collect();
        let case = Self {
            dir,
            up,
            hessian,
            fisher,
            is_transposed,
        };
        case.write_statistics("stats", 1.0);
        case
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Statistics with the output Fisher times `fisher_factor`.
    pub(crate) fn write_statistics(&self, name: &str, fisher_factor: f32) -> PathBuf {
        let path = self.path(name);
        let run = serde_json::json!({"test": name});
        let mut writer = StatisticsWriter::create(&path, &run).unwrap();
        if self.is_transposed {
            writer.set_transposed([UP, DOWN].map(str::to_owned));
        }
        let down_hessian = second_moments(&inputs(400, ROWS, 12));
        let fisher = |rows: usize| -> Vec<f32> {
            (0..rows)
                .map(|i| fisher_factor * self.fisher[i % ROWS])
                .collect()
        };
        let n_tokens = 400;
        let linears = |name: &str| vec![name.to_owned()];
        writer
            .hessian(UP, &linears(UP), n_tokens, self.hessian.view())
            .unwrap();
        writer
            .hessian(DOWN, &linears(DOWN), n_tokens, down_hessian.view())
            .unwrap();
        let head = Array2::from_diag(&Array1::from_elem(COLS, 1.0_f32));
        writer
            .hessian(EMBEDDING, &linears(EMBEDDING), n_tokens, head.view())
            .unwrap();
        writer.output_fisher(UP, &fisher(ROWS)).unwrap();
        writer.output_fisher(DOWN, &fisher(COLS)).unwrap();
        writer.output_fisher(EMBEDDING, &fisher(160)).unwrap();
        // Curvature that asks for the opposite of the Hessian: late columns and rows matter most.
        let columns = Array1::from_iter((0..COLS).map(|j| 100.0_f32.powf(j as f32 / COLS as f32)));
        let rows: Vec<f32> = (0..ROWS)
            .map(|i| 0.05 * 20.0_f32.powf(i as f32 / ROWS as f32))
            .collect();
        writer
            .curvature(UP, Array2::from_diag(&columns).view(), &rows)
            .unwrap();
        let fingerprint = nwc::fingerprint(self.path("model")).unwrap();
        writer
            .finish(fingerprint, "made up".into(), n_tokens, n_tokens)
            .unwrap();
        path
    }

    pub(crate) fn compress(&self, out: &str, options: &CompressOptions) -> Inspection {
        nwc::compress(self.path("model"), self.path(out), options, &NoProgress).unwrap()
    }

    /// What `UP` is restored to, `[ROWS, COLS]`.
    pub(crate) fn restored_up(&self, out: &str) -> Array2<f32> {
        let values = Checkpoint::open(self.path(out))
            .unwrap()
            .tensor(UP)
            .unwrap();
        match self.is_transposed {
            true => Array2::from_shape_vec((COLS, ROWS), values)
                .unwrap()
                .reversed_axes(),
            false => Array2::from_shape_vec((ROWS, COLS), values).unwrap(),
        }
    }

    /// `tr(Δ H Δᵀ)` of `UP`.
    pub(crate) fn proxy_loss(&self, out: &str) -> f64 {
        let delta = self.restored_up(out) - &self.up;
        f64::from((delta.dot(&self.hessian) * &delta).sum())
    }
}

pub(crate) fn trellis(target: RateTarget) -> CodecChoice {
    CodecChoice::Trellis {
        target,
        n_states: 8,
    }
}

pub(crate) fn guided(codec: CodecChoice, stats: &Path) -> CompressOptions {
    let mut options = CompressOptions::new(codec);
    options.statistics = Some(stats.to_path_buf());
    options.ablation.curvature = Curvature::PerToken;
    options
}

pub(crate) fn codecs() -> [(&'static str, CodecChoice); 2] {
    [
        ("trellis", trellis(RateTarget::BpwPayload(3.0))),
        ("learned", CodecChoice::Pretrained { lambda: 100.0 }),
    ]
}

pub(crate) fn row<'a>(inspection: &'a Inspection, name: &str) -> &'a nwc::TensorSummary {
    inspection.tensors.iter().find(|t| t.name == name).unwrap()
}

/// Squared error of the rows that `of` picks, a weight.
pub(crate) fn error_of(case: &Case, out: &str, axis: Axis, of: impl Fn(usize) -> bool) -> f64 {
    let delta = case.restored_up(out) - &case.up;
    let lanes = delta
        .axis_iter(axis)
        .enumerate()
        .filter(|(idx, _)| of(*idx));
    let (sum, n) = lanes.fold((0.0, 0), |(sum, n), (_, lane)| {
        (
            sum + lane.iter().map(|e| f64::from(e * e)).sum::<f64>(),
            n + lane.len(),
        )
    });
    sum / n as f64
}
