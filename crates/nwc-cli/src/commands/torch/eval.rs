//! `eval`.

use std::fmt::Write;
use std::slice;

use anyhow::Context;
use nwc_lm::{
    CheckpointWeights, Evaluation, EvaluationOptions, ModelOptions, ZeroShot, evaluate,
    parse_choice_items, zero_shot,
};
use serde::Serialize;
use serde_json::json;

use super::read_text;
use crate::args::EvalArgs;
use crate::outcome::{Outcome, print};
use crate::progress::Steps;

/// The report as JSON has it.
#[derive(Debug, Serialize)]
struct Report {
    n_windows: usize,
    n_tokens: usize,
    perplexity: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_perplexity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kl: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_standard_error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_99_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top1_agreement: Option<f64>,
}

pub(crate) fn run(args: &EvalArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = ModelOptions {
        device: args.device.into(),
        ..ModelOptions::default()
    };
    let weights = CheckpointWeights::open(&args.model)?;
    let reference = args.reference.as_deref();
    let reference_weights = reference.map(CheckpointWeights::open).transpose()?;
    let model = weights.model(options)?;
    let reference = reference_weights
        .as_ref()
        .map(|r| r.model(options))
        .transpose()?;
    let bar = Steps::new(quiet);
    if let Some(text) = &args.text {
        let tokens = weights
            .tokenizer()?
            .encode(
                &read_text(slice::from_ref(text))?,
                model.config().vocab_size,
            )
            .with_context(|| text.display().to_string())?;
        let evaluation = evaluate(
            &model,
            reference.as_ref(),
            &tokens,
            EvaluationOptions {
                window: args.ctx,
                max_tokens: args.max_tokens,
            },
            &mut |done, of| bar.show("windows", done, of),
        )?;
        bar.finish();
        report(&Report::from(evaluation), args.json)?;
    }
    if let Some(path) = &args.zero_shot {
        let items = parse_choice_items(&read_text(slice::from_ref(path))?)
            .with_context(|| path.display().to_string())?;
        let result = zero_shot(&model, &weights.tokenizer()?, &items, &mut |done, of| {
            bar.show("questions", done, of);
        })?;
        bar.finish();
        report_choices(&result, args.json)?;
    }
    Ok(Outcome::Done)
}

fn report_choices(result: &ZeroShot, as_json: bool) -> anyhow::Result<()> {
    let (error, normalized_error) = result.standard_errors;
    if as_json {
        let json = json!({
            "n_items": result.n_items,
            "accuracy": result.accuracy,
            "accuracy_standard_error": error,
            "normalized_accuracy": result.normalized_accuracy,
            "normalized_accuracy_standard_error": normalized_error,
        });
        return print(&format!("{json:#}\n"));
    }
    print(&format!(
        "items           {}\naccuracy        {:.4} ± {error:.4}\nby length       {:.4} ± {normalized_error:.4}\n",
        result.n_items, result.accuracy, result.normalized_accuracy
    ))
}

impl From<Evaluation> for Report {
    fn from(e: Evaluation) -> Self {
        let c = e.comparison;
        Self {
            n_windows: e.n_windows,
            n_tokens: e.n_tokens,
            perplexity: e.perplexity,
            reference_perplexity: c.as_ref().map(|c| c.reference_perplexity),
            kl: c.as_ref().map(|c| c.mean_kl),
            kl_standard_error: c.as_ref().map(|c| c.kl_standard_error),
            kl_99_percent: c.as_ref().map(|c| c.kl_99_percent),
            top1_agreement: c.as_ref().map(|c| c.top1_agreement),
        }
    }
}

fn report(report: &Report, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print(&(serde_json::to_string_pretty(report)? + "\n"));
    }
    let mut out = String::new();
    writeln!(
        out,
        "tokens          {} in {} windows",
        report.n_tokens, report.n_windows
    )?;
    write!(out, "perplexity      {:.4}", report.perplexity)?;
    match report.reference_perplexity {
        Some(reference) => writeln!(out, " (reference {reference:.4})")?,
        None => out.push('\n'),
    }
    if let (Some(kl), Some(error)) = (report.kl, report.kl_standard_error) {
        writeln!(out, "KL              {kl:.5} ± {error:.5} nats per token")?;
    }
    if let Some(kl) = report.kl_99_percent {
        writeln!(out, "99 % KL         {kl:.5}")?;
    }
    if let Some(share) = report.top1_agreement {
        writeln!(out, "top-1 agreement {:.2} %", 100.0 * share)?;
    }
    print(&out)
}
