//! The product as it is sold: compression guided by statistics, on a small checkpoint with made-up statistics.
//!
//! Nothing here needs LibTorch. Each test fails where one part of the guided path is switched off.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::path::{Path, PathBuf};

use nwc::ndarray::{Array1, Array2, Axis};
use nwc::{
    Checkpoint, CodecChoice, CompressOptions, Curvature, DecodeOptions, Feedback, Inspection,
    NoProgress, QualityLevels, RateTarget, StatisticsWriter, Steps,
};
use nwc_tests::{TestTensor, gaussian, write_checkpoint};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

const UP: &str = "model.layers.0.mlp.up_proj.weight";
const DOWN: &str = "model.layers.0.mlp.down_proj.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
const ROWS: usize = 96;
const COLS: usize = 64;

/// A checkpoint of two linears and a tied embedding in a temporary folder, and statistics for it.
struct Case {
    dir: tempfile::TempDir,
    /// `[ROWS, COLS]`, as the model has it.
    up: Array2<f32>,
    hessian: Array2<f32>,
    fisher: Vec<f32>,
    /// Whether the linears are stored `[in, out]`.
    is_transposed: bool,
}

/// Inputs of strongly differing size that go together: what feedback and column steps live on.
fn inputs(n: usize, cols: usize, seed: u64) -> Array2<f32> {
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

fn second_moments(x: &Array2<f32>) -> Array2<f32> {
    x.t().dot(x) / x.nrows() as f32
}

impl Case {
    fn new(is_transposed: bool) -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Statistics with the output Fisher times `fisher_factor`.
    fn write_statistics(&self, name: &str, fisher_factor: f32) -> PathBuf {
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

    fn compress(&self, out: &str, options: &CompressOptions) -> Inspection {
        nwc::compress(self.path("model"), self.path(out), options, &NoProgress).unwrap()
    }

    /// What `UP` is restored to, `[ROWS, COLS]`.
    fn restored_up(&self, out: &str) -> Array2<f32> {
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
    fn proxy_loss(&self, out: &str) -> f64 {
        let delta = self.restored_up(out) - &self.up;
        f64::from((delta.dot(&self.hessian) * &delta).sum())
    }
}

fn trellis(target: RateTarget) -> CodecChoice {
    CodecChoice::Trellis {
        target,
        n_states: 8,
    }
}

fn guided(codec: CodecChoice, stats: &Path) -> CompressOptions {
    let mut options = CompressOptions::new(codec);
    options.statistics = Some(stats.to_path_buf());
    options.ablation.curvature = Curvature::PerToken;
    options
}

fn codecs() -> [(&'static str, CodecChoice); 2] {
    [
        ("trellis", trellis(RateTarget::BpwPayload(3.0))),
        ("learned", CodecChoice::Pretrained { lambda: 100.0 }),
    ]
}

fn row<'a>(inspection: &'a Inspection, name: &str) -> &'a nwc::TensorSummary {
    inspection.tensors.iter().find(|t| t.name == name).unwrap()
}

#[test]
fn feedback_lowers_the_proxy_loss() {
    let case = Case::new(false);
    for (name, codec) in codecs() {
        let mut options = guided(codec, &case.path("stats"));
        case.compress(&format!("{name}-with"), &options);
        options.ablation.feedback = None;
        case.compress(&format!("{name}-without"), &options);
        let with = case.proxy_loss(&format!("{name}-with"));
        let without = case.proxy_loss(&format!("{name}-without"));
        assert!(
            with < 0.75 * without,
            "{name}: {with} with, {without} without"
        );
    }
}

#[test]
fn the_paper_feeds_back_after_blocks() {
    let case = Case::new(false);
    let codec = CodecChoice::Pretrained { lambda: 100.0 };
    let mut options = guided(codec, &case.path("stats"));
    options.ablation.feedback = Some(Feedback {
        block_cols: 1,
        ..Feedback::paper()
    });
    case.compress("each", &options);
    options.ablation.feedback = Some(Feedback {
        block_cols: 32,
        ..Feedback::paper()
    });
    case.compress("blocks", &options);
    let (each, blocks) = (case.proxy_loss("each"), case.proxy_loss("blocks"));
    assert!(each < blocks, "{each} after each column, {blocks} after 32");
}

/// Squared error of the rows that `of` picks, a weight.
fn error_of(case: &Case, out: &str, axis: Axis, of: impl Fn(usize) -> bool) -> f64 {
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

#[test]
fn steps_follow_rows_columns_and_layers() {
    let case = Case::new(false);
    let mut options = guided(trellis(RateTarget::BpwPayload(4.0)), &case.path("stats"));
    options.ablation.feedback = None;
    let ratio = |steps: Steps, name: &str, axis: Axis, many: usize, few: usize| {
        let mut options = options.clone();
        options.ablation.steps = steps;
        case.compress(name, &options);
        let period = if axis == Axis(0) { 6 } else { 8 };
        let of = |which: usize| error_of(&case, name, axis, move |i| i % period == which);
        of(few) / of(many)
    };
    // Important rows (5 of 6) and columns (7 of 8) get smaller errors, where steps follow them.
    let rows = ratio(Steps::Full, "full", Axis(0), 5, 0);
    assert!(rows > 8.0, "rows: {rows}");
    let rows = ratio(Steps::Columns, "columns", Axis(0), 5, 0);
    assert!(rows < 3.0, "rows without row steps: {rows}");
    let cols = ratio(Steps::Columns, "columns-again", Axis(1), 7, 0);
    assert!(cols > 8.0, "columns: {cols}");
    let cols = ratio(Steps::Layer, "layer", Axis(1), 7, 0);
    assert!(cols < 2.0, "columns without column steps: {cols}");
}

#[test]
fn a_fisher_that_is_larger_in_one_layer_moves_bits_there() {
    let case = Case::new(false);
    let options = |stats: &str| guided(trellis(RateTarget::BpwPayload(4.0)), &case.path(stats));
    let before = case.compress("before", &options("stats"));
    // Four times the cost of an error is half the step: a bit more.
    let changed = Case::new(false);
    let path = changed.path("more");
    let run = serde_json::json!({"test": "more"});
    let mut writer = StatisticsWriter::create(&path, &run).unwrap();
    let names = |name: &str| vec![name.to_owned()];
    writer
        .hessian(UP, &names(UP), 400, changed.hessian.view())
        .unwrap();
    let down_hessian = second_moments(&inputs(400, ROWS, 12));
    writer
        .hessian(DOWN, &names(DOWN), 400, down_hessian.view())
        .unwrap();
    let fisher: Vec<f32> = case.fisher.iter().map(|f| 16.0 * f).collect();
    writer.output_fisher(UP, &fisher).unwrap();
    writer.output_fisher(DOWN, &case.fisher[..COLS]).unwrap();
    let fingerprint = nwc::fingerprint(changed.path("model")).unwrap();
    writer
        .finish(fingerprint, "made up".into(), 400, 400)
        .unwrap();
    let after = changed.compress(
        "after",
        &guided(trellis(RateTarget::BpwPayload(4.0)), &path),
    );
    let gap = |inspection: &Inspection| row(inspection, UP).bpw - row(inspection, DOWN).bpw;
    let moved = gap(&after) - gap(&before);
    assert!(
        (1.6..2.4).contains(&moved),
        "two bits expected, {moved} moved"
    );
}

#[test]
fn curvature_of_sequences_changes_what_is_coded_finely() {
    let case = Case::new(false);
    let mut options = guided(trellis(RateTarget::BpwPayload(4.0)), &case.path("stats"));
    options.ablation.feedback = None;
    let late_over_early = |name: &str| {
        let late = error_of(&case, name, Axis(1), |j| j >= 3 * COLS / 4);
        late / error_of(&case, name, Axis(1), |j| j < COLS / 4)
    };
    case.compress("tokens", &options);
    options.ablation.curvature = Curvature::PerSequence;
    case.compress("sequences", &options);
    let (tokens, sequences) = (late_over_early("tokens"), late_over_early("sequences"));
    assert!(
        sequences < 0.7 * tokens,
        "{sequences} by sequences, {tokens} by tokens"
    );
}

#[test]
fn important_columns_get_higher_quality_levels() {
    let case = Case::new(false);
    let codec = CodecChoice::Pretrained { lambda: 100.0 };
    let mut options = guided(codec, &case.path("stats"));
    options.ablation.feedback = None;
    options.quality_levels = Some(QualityLevels::Shares(vec![0.2, 0.1]));
    case.compress("levels", &options);
    options.quality_levels = Some(QualityLevels::Shares(vec![]));
    case.compress("flat", &options);
    let diagonal: Vec<f32> = case.hessian.diag().to_vec();
    let mut sorted = diagonal.clone();
    sorted.sort_by(f32::total_cmp);
    let limit = sorted[COLS - 6];
    let of = |name: &str, is_important: bool| {
        error_of(&case, name, Axis(1), |j| {
            (diagonal[j] >= limit) == is_important
        })
    };
    assert!(of("levels", true) < 0.5 * of("flat", true));
    assert!(of("levels", false) > 0.5 * of("flat", false));
}

#[test]
fn transposed_matrices_come_back_as_they_were_stored() {
    let case = Case::new(true);
    let plain = Case::new(false);
    for (name, codec) in codecs() {
        case.compress(name, &guided(codec.clone(), &case.path("stats")));
        plain.compress(name, &guided(codec, &plain.path("stats")));
        let delta = case.restored_up(name) - &case.up;
        let nmse =
            delta.iter().map(|e| e * e).sum::<f32>() / case.up.iter().map(|w| w * w).sum::<f32>();
        assert!(nmse < 0.2, "{name}: {nmse}");
        // Statistics are of `[out, in]` either way, so the same matrix is coded alike.
        assert_eq!(case.restored_up(name), plain.restored_up(name), "{name}");
        let verified =
            nwc::verify(case.path(name), &DecodeOptions::default(), &NoProgress).unwrap();
        assert!(verified.failures.is_empty(), "{:?}", verified.failures);
    }
}

#[test]
fn sizes_are_met() {
    let case = Case::new(false);
    let check = |name: &str, target: RateTarget, found: &dyn Fn(&Inspection) -> f64, asked: f64| {
        for stats in [None, Some(case.path("stats"))] {
            let mut options = CompressOptions::new(trellis(target));
            options.statistics = stats.clone();
            let out = format!("{name}-{}", stats.is_some());
            let inspection = case.compress(&out, &options);
            let off = found(&inspection) / asked - 1.0;
            assert!(off.abs() < 0.005, "{out}: off by {off}");
        }
    };
    for bits in [2.5, 4.0, 6.0] {
        let payload = |i: &Inspection| i.totals.bpw_payload_linear;
        check(
            &format!("payload{bits}"),
            RateTarget::BpwPayload(bits),
            &payload,
            bits,
        );
    }
    let total = |i: &Inspection| i.totals.bpw_total;
    check("total", RateTarget::BpwTotal(7.0), &total, 7.0);
    let bytes = |i: &Inspection| i.totals.total_bytes as f64;
    check("bytes", RateTarget::TotalBytes(20_000), &bytes, 20_000.0);
}

#[test]
fn predicted_kl_aims_where_it_says() {
    let case = Case::new(false);
    // What the errors made cost by the statistics' own second-order model, without feedback: ½ Σ E[g²] H_jj e².
    let cost = |out: &str| {
        let delta = case.restored_up(out) - &case.up;
        let mut kl = 0.0;
        for ((i, j), e) in delta.indexed_iter() {
            kl += 0.5 * f64::from(case.fisher[i] * case.hessian[[j, j]] * e * e);
        }
        kl
    };
    let mut found = Vec::new();
    for max_kl in [0.04, 0.01] {
        let mut options = guided(trellis(RateTarget::MaxKl(max_kl)), &case.path("stats"));
        options.ablation.feedback = None;
        let out = format!("kl{max_kl}");
        case.compress(&out, &options);
        found.push(cost(&out));
    }
    // One of three matrices: its share of the cost goes with its share of the weights.
    let share = (ROWS * COLS) as f64 / (2 * ROWS * COLS + 160 * COLS) as f64;
    let ratio = found[0] / (0.04 * share);
    assert!(
        (0.6..1.6).contains(&ratio),
        "{ratio} of the share of what was asked for"
    );
    let ratio = found[0] / found[1];
    assert!(
        (3.0..5.0).contains(&ratio),
        "a quarter of the divergence: {ratio}"
    );
}

#[test]
fn a_tied_embedding_gets_its_bits() {
    let case = Case::new(false);
    let bits = |out: &str, embedding_bits: Option<f64>| {
        let mut options = guided(trellis(RateTarget::BpwPayload(4.0)), &case.path("stats"));
        options.embedding_bits = embedding_bits;
        row(&case.compress(out, &options), EMBEDDING).bpw
    };
    let default = bits("default", None);
    let none = bits("none", Some(0.0));
    let two = bits("two", Some(2.0));
    assert!(
        (0.8..1.2).contains(&(default - none)),
        "{default} against {none}"
    );
    assert!((1.8..2.2).contains(&(two - none)), "{two} against {none}");
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let case = Case::new(false);
    for (name, codec) in codecs() {
        let options = guided(codec, &case.path("stats"));
        let bytes = [1, 2, 3].map(|n_threads| {
            let out = format!("{name}-{n_threads}");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
            pool.build()
                .unwrap()
                .install(|| case.compress(&out, &options));
            std::fs::read(case.path(&out).join("model.safetensors")).unwrap()
        });
        assert!(bytes.iter().all(|b| *b == bytes[0]), "{name}");
    }
}
