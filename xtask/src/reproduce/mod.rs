//! `cargo xtask reproduce`: compresses a real model at every rate, decompresses it, and writes the report.
//! `cargo xtask pretrain`: trains the codec set that it takes.
//!
//! Measuring is done by an optimised build: the command builds one together with `nwc-cli` and goes on in it.

mod codecs;
mod figures;
mod measure;
mod reference;
mod results;
mod round_trip;
mod scalar;
mod sections;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::flags::{PretrainFlags, ReproduceFlags};
use crate::quality::{self, Texts};
use crate::{model, optimized, peers};

/// Tokens in a window, and tokens in all, where quality is measured: as `cargo xtask quality` does by default.
const QUALITY_CTX: usize = 1024;
const QUALITY_TOKENS: usize = 4096;

/// Everything that measuring needs, made ready.
#[derive(Debug)]
pub(crate) struct Plan {
    /// A Hugging Face checkpoint folder.
    pub(crate) model: PathBuf,
    /// The optimised `nwc-cli`.
    pub(crate) cli: PathBuf,
    /// Evaluation text, where there is one.
    pub(crate) text: Option<PathBuf>,
    /// The λ of the codecs to run, rising.
    pub(crate) lambdas: Vec<f64>,
    /// Where results go.
    pub(crate) out: PathBuf,
    /// Whether the codec set is trained first.
    pub(crate) retrain: bool,
}

/// Makes everything ready, measures, and writes `report.json` and `report.html`.
pub(crate) fn run(flags: &ReproduceFlags) -> Result<()> {
    let lambdas = checked_lambdas(&flags.lambdas)?;
    if let Some(dir) = &flags.model {
        check_model(dir)?;
    }
    if let Some(file) = &flags.text {
        ensure!(file.is_file(), "--text {}: no such file", file.display());
        // Fails before anything is built.
        Texts::find(Some(&Texts::find(None, None)?.calibration), Some(file))?;
    }
    if !optimized::is_running() {
        return optimized::build_and_go_on(needs_torch(flags));
    }
    let plan = Plan {
        model: model_folder(flags.model.as_deref())?,
        cli: optimized::cli()?,
        text: flags.text.clone(),
        lambdas,
        out: flags.out.clone(),
        retrain: flags.retrain,
    };
    let (found, mut report) = measure::measure(&plan)?;
    report.write_with(&found, &plan.out)?;
    if let Some(inputs) = quality_inputs(&plan)? {
        report.sections.extend(quality::sections(&inputs)?);
        report.write_with(&found, &plan.out)?;
    }
    writeln!(std::io::stdout(), "{}", figures::table(&found).to_text())?;
    let problems: Vec<_> = found
        .rates
        .iter()
        .flat_map(|rate| &rate.round_trip.problems)
        .collect();
    if let Some(first) = problems.first() {
        bail!(
            "the round trip has {} problems, the first is {first}",
            problems.len()
        );
    }
    Ok(())
}

/// `cargo xtask pretrain`: trains the set in `codecs/` anew.
pub(crate) fn pretrain(flags: &PretrainFlags) -> Result<()> {
    let lambdas = checked_lambdas(&flags.lambdas)?;
    if let Some(dir) = &flags.model {
        check_model(dir)?;
    }
    if !optimized::is_running() {
        return optimized::build_and_go_on(true);
    }
    let model = model_folder(flags.model.as_deref())?;
    codecs::replace_set(&optimized::cli()?, &model, &lambdas)
}

fn model_folder(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir.to_path_buf()),
        None => model::provide(),
    }
}

/// Training and running the language model are the parts that need LibTorch.
fn needs_torch(flags: &ReproduceFlags) -> bool {
    flags.retrain || flags.text.is_some()
}

/// What the table of quality is made from; `None` without a text.
fn quality_inputs(plan: &Plan) -> Result<Option<quality::Inputs>> {
    let Some(text) = &plan.text else {
        return Ok(None);
    };
    let calibration = Texts::find(None, None)?.calibration;
    Ok(Some(quality::Inputs {
        model: plan.model.clone(),
        cli: plan.cli.clone(),
        texts: Texts::find(Some(&calibration), Some(text))?,
        lambdas: plan.lambdas.clone(),
        ctx: QUALITY_CTX,
        max_tokens: QUALITY_TOKENS,
        only: Vec::new(),
        full: false,
        peers: peers::results(),
        out: plan.out.join("quality"),
    }))
}

fn checked_lambdas(lambdas: &[f64]) -> Result<Vec<f64>> {
    if let Some(lambda) = lambdas
        .iter()
        .find(|lambda| !(lambda.is_finite() && **lambda > 0.0))
    {
        bail!("--lambdas: {lambda} is not a positive number");
    }
    let mut lambdas = lambdas.to_vec();
    lambdas.sort_by(f64::total_cmp);
    lambdas.dedup();
    Ok(lambdas)
}

fn check_model(dir: &Path) -> Result<()> {
    ensure!(dir.is_dir(), "--model {}: no such folder", dir.display());
    let has_weights = ["model.safetensors", "model.safetensors.index.json"]
        .iter()
        .any(|name| dir.join(name).is_file());
    let has_config = dir.join("config.json").is_file();
    ensure!(
        has_weights && has_config,
        "--model {}: a Hugging Face folder holds config.json and model.safetensors (or its index)",
        dir.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambdas_are_put_in_order() {
        assert_eq!(
            checked_lambdas(&[100.0, 30.0, 100.0]).unwrap(),
            [30.0, 100.0]
        );
        for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                checked_lambdas(&[30.0, lambda])
                    .unwrap_err()
                    .to_string()
                    .contains("--lambdas")
            );
        }
    }

    #[test]
    fn a_folder_without_weights_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            check_model(dir.path())
                .unwrap_err()
                .to_string()
                .contains("config.json")
        );
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        std::fs::write(dir.path().join("model.safetensors"), "").unwrap();
        check_model(dir.path()).unwrap();
    }
}
