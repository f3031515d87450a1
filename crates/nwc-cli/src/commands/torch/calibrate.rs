//! `calibrate`.

use nwc_lm::{CalibrationOptions, CalibrationStep, CalibrationText, calibrate_checkpoint};

use super::read_text;
use crate::args::CalibrateArgs;
use crate::outcome::Outcome;
use crate::progress::Steps;

pub(crate) fn run(args: &CalibrateArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = CalibrationOptions {
        hessian_window: args.ctx,
        hessian_n_windows: args.windows,
        fisher_window: (args.ctx / 2).max(2),
        fisher_n_windows: args.fisher_windows,
        curvature: !args.no_curvature,
        seed: args.seed,
        ..CalibrationOptions::standard()
    };
    let given = read_text(&args.text)?;
    let text = match args.self_generated {
        Some(n_windows) => CalibrationText::SelfGenerated(n_windows),
        None => CalibrationText::Given(&given),
    };
    let bar = Steps::new(quiet);
    let report = calibrate_checkpoint(
        &args.model,
        &args.out,
        text,
        &options,
        args.device.into(),
        &mut |step| match step {
            CalibrationStep::Generation(done, of) => bar.show("text", done, of),
            CalibrationStep::Hessian(done, of) => bar.show("Hessians", done, of),
            CalibrationStep::Fisher(done, of) => bar.show("output Fisher", done, of),
        },
    )?;
    for expert in &report.unseen_experts {
        tracing::warn!(
            expert,
            "no token reached this expert; it gets the mean statistics of its siblings"
        );
    }
    Ok(Outcome::Done)
}
