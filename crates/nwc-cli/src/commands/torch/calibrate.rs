//! `calibrate`.

use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nwc::StatisticsWriter;
use nwc::ndarray::Array2;
use nwc_lm::{
    CalibrationOptions, CalibrationStep, ModelOptions, Residency, StatisticsSink, calibrate,
    generate,
};
use serde_json::json;

use super::source::{Weights, device, read_text};
use crate::args::CalibrateArgs;
use crate::outcome::Outcome;

pub(crate) fn run(args: &CalibrateArgs, quiet: bool) -> anyhow::Result<Outcome> {
    // One block's weights at a time: a model of any depth fits.
    let weights = Weights::open(&args.model)?;
    let model = weights.model(ModelOptions {
        device: device(&args.device)?,
        residency: Residency::PerBlock,
    })?;
    let fingerprint = nwc::fingerprint(&args.model)?;
    let bar = Steps::new(quiet);
    let (tokens, text) = match args.self_generated {
        Some(n_windows) => {
            let whole = weights.model(ModelOptions {
                device: device(&args.device)?,
                residency: Residency::Whole,
            })?;
            let windows = generate(&whole, n_windows, args.ctx, args.seed, &mut |done, of| {
                bar.show("generate", done, of);
            })?;
            (windows.concat(), "self-generated".to_owned())
        }
        None => {
            let text = read_text(&args.text)?;
            let tokens = weights
                .tokenizer()?
                .encode(&text, model.config().vocab_size)
                .with_context(|| first_name(&args.text))?;
            (tokens, nwc::digest(text.as_bytes()))
        }
    };
    let options = CalibrationOptions {
        hessian_window: args.ctx,
        hessian_n_windows: args.windows,
        fisher_window: (args.ctx / 2).max(2),
        fisher_n_windows: args.fisher_windows,
        seed: args.seed,
        ..CalibrationOptions::standard()
    };
    let run = json!({
        "fingerprint": fingerprint,
        "text": text,
        "ctx": args.ctx,
        "windows": args.windows,
        "fisher_windows": args.fisher_windows,
        "seed": args.seed,
        "output_moments": args.output_moments,
        "curvature": !args.no_curvature,
    });
    let mut sink = Sink {
        writer: StatisticsWriter::create(&args.out, &run)?,
        wants_output_moments: args.output_moments,
        wants_curvature: !args.no_curvature,
    };
    let transposed = model.linears()?.into_iter().filter(|l| l.transposed);
    sink.writer
        .set_transposed(transposed.map(|l| l.weight_name));
    let report = calibrate(
        &model,
        &tokens,
        &options,
        &mut sink,
        &mut |step| match step {
            CalibrationStep::Hessian(done, of) => bar.show("Hessians", done, of),
            CalibrationStep::Fisher(done, of) => bar.show("output Fisher", done, of),
        },
    )?;
    bar.finish();
    for expert in &report.unseen_experts {
        tracing::warn!(
            expert,
            "no token reached it; the mean of its siblings stands in"
        );
    }
    sink.writer.finish(
        fingerprint,
        text,
        report.hessian_n_tokens,
        report.fisher_n_tokens,
    )?;
    Ok(Outcome::Done)
}

fn first_name(paths: &[std::path::PathBuf]) -> String {
    let first = paths.first().map_or(Path::new("text"), |p| p.as_path());
    first.display().to_string()
}

/// Hands what calibration finds to the file.
struct Sink {
    writer: StatisticsWriter,
    wants_output_moments: bool,
    wants_curvature: bool,
}

impl StatisticsSink for Sink {
    fn hessian(
        &mut self,
        input_key: &str,
        linears: &[String],
        n_tokens: u64,
        hessian: Array2<f32>,
    ) -> nwc_lm::Result<()> {
        self.writer
            .hessian(input_key, linears, n_tokens, hessian.view())
            .map_err(|e| sink_error(input_key, &e))
    }

    fn output_fisher(&mut self, linear: &str, fisher: Vec<f32>) -> nwc_lm::Result<()> {
        self.writer
            .output_fisher(linear, &fisher)
            .map_err(|e| sink_error(linear, &e))
    }

    fn output_moments(&mut self, linear: &str, blocks: Vec<Array2<f32>>) -> nwc_lm::Result<()> {
        self.writer
            .output_moments(linear, &blocks)
            .map_err(|e| sink_error(linear, &e))
    }

    fn wants_output_moments(&self) -> bool {
        self.wants_output_moments
    }

    fn has_output_moments(&self, linear: &str) -> bool {
        self.writer.has_output_moments(linear)
    }

    fn curvature(&mut self, linear: &str, cols: Array2<f32>, rows: Vec<f32>) -> nwc_lm::Result<()> {
        self.writer
            .curvature(linear, cols.view(), &rows)
            .map_err(|e| sink_error(linear, &e))
    }

    fn wants_curvature(&self) -> bool {
        self.wants_curvature
    }

    fn stored_hessian(&self, input_key: &str) -> nwc_lm::Result<Option<Array2<f32>>> {
        self.writer
            .stored_hessian(input_key)
            .map_err(|e| sink_error(input_key, &e))
    }

    fn has_curvature(&self, linear: &str) -> bool {
        self.writer.has_curvature(linear)
    }

    fn has_hessian(&self, input_key: &str) -> bool {
        self.writer.has_hessian(input_key)
    }

    fn has_output_fisher(&self, linear: &str) -> bool {
        self.writer.has_output_fisher(linear)
    }
}

fn sink_error(name: &str, error: &nwc::Error) -> nwc_lm::Error {
    nwc_lm::Error::Sink {
        name: name.into(),
        message: crate::outcome::chain(error),
    }
}

/// A bar over steps of different kinds.
struct Steps {
    bar: ProgressBar,
}

impl Steps {
    fn new(quiet: bool) -> Self {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        if let Ok(style) =
            ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}, {eta} left")
        {
            bar.set_style(style);
        }
        Self { bar }
    }

    fn show(&self, what: &str, done: usize, of: usize) {
        if self.bar.prefix() != what {
            self.bar.set_prefix(what.to_owned());
            self.bar.reset();
        }
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
        tracing::info!(what, done, of, "calibrating");
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
