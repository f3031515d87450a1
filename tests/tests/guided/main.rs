//! The product as it is sold: compression guided by statistics, on a small checkpoint with made-up statistics.
//!
//! Nothing here needs LibTorch. Each test fails where one part of the guided path is switched off.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

mod case;
mod learned;
mod recovery;
mod sizes;

use nwc::ndarray::Axis;
use nwc::{
    CodecChoice, Curvature, DecodeOptions, Feedback, Inspection, NoProgress, RateTarget,
    StatisticsWriter, Steps,
};

use crate::case::{
    COLS, Case, DOWN, ROWS, UP, codecs, error_of, guided, inputs, row, second_moments, trellis,
};

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
