//! `train`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nwc_train::{DeviceChoice, TrainConfig, TrainProgress, Trainer, TrainingData};

use crate::args::{Device, TrainArgs};
use crate::outcome::Outcome;

/// Steps between two checkpoints: a few seconds with the small presets.
const CHECKPOINT_EVERY: usize = 100;

pub(crate) fn run(args: &TrainArgs, quiet: bool) -> anyhow::Result<Outcome> {
    if let Some(file) = &args.refreeze {
        return refreeze(args, file);
    }
    let lambda = args.lambda.context("--lambda is missing")?;
    let mut config = TrainConfig::preset(&args.preset, lambda)
        .with_context(|| format!("--preset is {}, allowed: paper, small, tiny", args.preset))?;
    config.seed = args.seed;
    config.codec.n_states = args.states;
    config.device = device(args.device)?;
    if let Some(steps) = args.steps {
        ensure!(steps > 0, "--steps is 0, allowed: 1 and more");
        config = config.with_steps(steps);
    }
    config.validate()?;
    let data = training_data(&args.model, &args.preset)?;
    let mut trainer = match &args.resume {
        Some(file) if file.exists() => {
            let bytes =
                fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let trainer = Trainer::resume(&bytes, &data, config.device)
                .with_context(|| format!("checkpoint {}", file.display()))?;
            ensure!(
                TrainConfig {
                    device: config.device,
                    ..trainer.config().clone()
                } == config,
                "checkpoint {} was made with other settings",
                file.display()
            );
            trainer
        }
        _ => Trainer::new(config, &data)?,
    };
    let bar = progress_bar(&trainer, quiet);
    while !trainer.is_done() {
        if let Some(progress) = trainer.step()? {
            show(&bar, &progress);
        }
        if let Some(file) = &args.resume
            && trainer.n_steps_done() % CHECKPOINT_EVERY == 0
        {
            nwc::write_file(file, &trainer.checkpoint()?)?;
        }
    }
    bar.finish_and_clear();
    let trained = trainer.finish()?;
    nwc::write_file(&args.out, &trained.codec.to_bytes()?)?;
    nwc::write_file(
        &args.out.with_extension("json"),
        trained.curve_json().as_bytes(),
    )?;
    Ok(Outcome::Done)
}

/// Writes the codec in `file` rebuilt for another number of states, and its measurements beside it as .json.
fn refreeze(args: &TrainArgs, file: &Path) -> anyhow::Result<Outcome> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let data = training_data(&args.model, "small")?;
    let (codec, levels) = nwc_train::refreeze(&bytes, args.states, &data)
        .with_context(|| file.display().to_string())?;
    nwc::write_file(&args.out, &codec.to_bytes()?)?;
    let report = serde_json::json!({ "codec": codec.config(), "levels": levels });
    nwc::write_file(
        &args.out.with_extension("json"),
        report.to_string().as_bytes(),
    )?;
    Ok(Outcome::Done)
}

/// Linear weights with normalised rows; for the paper's preset (arXiv 2510.11234), raw weights scaled as a whole.
fn training_data(dir: &Path, preset: &str) -> anyhow::Result<TrainingData> {
    let is_paper = preset == "paper";
    let mut matrices = Vec::new();
    nwc::for_each_linear(dir, !is_paper, |_, weights| {
        matrices.push(weights);
        anyhow::Ok(())
    })?;
    let data = TrainingData::from_matrices(matrices)?;
    Ok(if is_paper { data.standardized()? } else { data })
}

/// Training knows no other CUDA device than the first.
fn device(device: Device) -> anyhow::Result<DeviceChoice> {
    match device {
        Device::Cpu => Ok(DeviceChoice::Cpu),
        Device::Cuda(0) => Ok(DeviceChoice::Cuda),
        Device::Auto => Ok(DeviceChoice::Auto),
        other => bail!("--device is {other}, allowed for training: cpu, cuda, auto"),
    }
}

fn progress_bar(trainer: &Trainer<'_>, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let n_steps = trainer.config().n_steps() as u64;
    let bar = ProgressBar::with_draw_target(Some(n_steps), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("train {wide_bar} {pos}/{len} steps, {msg}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: &TrainProgress) {
    bar.set_position(progress.n_steps_done as u64);
    bar.set_message(format!(
        "{:.3} bits a weight, nMSE {:.5}",
        progress.point.bits_per_weight, progress.point.nmse
    ));
    tracing::info!(
        step = progress.n_steps_done,
        bits_per_weight = progress.point.bits_per_weight,
        nmse = progress.point.nmse,
        loss = progress.point.loss,
        "training"
    );
}
