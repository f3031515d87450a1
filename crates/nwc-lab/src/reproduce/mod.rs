//! `cargo xtask reproduce`: shows the whole method on a real model, and writes the report.
//!
//! Rates, errors and round trips come first and need no LibTorch; then every method quantises the model at about 3
//! and 4 bits, is evaluated against the original, and continues a text.

mod figures;
mod measure;
mod reference;
mod results;
mod round_trip;
mod sections;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::flags::ReproduceFlags;
use crate::progress::Steps;
use crate::quality::{self, Overview, Texts, Windows};
use crate::report::Report;
use crate::{model, peers, program};

/// The λ whose round trips are shown beside the whole method, and those shown alone.
const LAMBDAS: [f64; 2] = [100.0, 300.0];
const QUICK_LAMBDAS: [f64; 6] = [30.0, 50.0, 100.0, 300.0, 1000.0, 10_000.0];
/// Tokens in a window of evaluation.
const CTX: usize = 1024;
/// What getting the model takes.
const MODEL_S: f64 = 30.0;

/// Everything that the round trips need, made ready.
#[derive(Debug)]
pub(crate) struct Plan {
    /// A Hugging Face checkpoint folder.
    pub(crate) model: PathBuf,
    /// The optimised `nwc-cli`.
    pub(crate) cli: PathBuf,
    /// The λ of the codecs to run, rising.
    pub(crate) lambdas: Vec<f64>,
    /// Where results go.
    pub(crate) out: PathBuf,
    /// Whether the codec set is trained first.
    pub(crate) retrain: bool,
}

/// Measures, and writes `report.json` and `report.html`.
pub(crate) fn run(flags: &ReproduceFlags) -> Result<()> {
    let lambdas = match &flags.lambdas {
        Some(lambdas) => model::checked_lambdas(lambdas)?,
        None if flags.quick => QUICK_LAMBDAS.to_vec(),
        None => LAMBDAS.to_vec(),
    };
    let texts = Texts::find(flags.calibration_text.as_deref(), flags.text.as_deref())?;
    quality::check_windows(CTX, flags.max_tokens)?;
    let mut expected_s = vec![MODEL_S];
    expected_s.extend(measure::expected_s(&lambdas));
    if !flags.quick {
        expected_s.extend(Overview::expected_s());
    }
    let mut steps = Steps::new(expected_s);
    steps.begin("the model", MODEL_S);
    let plan = Plan {
        model: model::given_or_provided(flags.model.as_deref())?,
        cli: program::path()?,
        lambdas,
        out: flags.out.clone(),
        retrain: flags.retrain,
    };
    let (found, measured) = measure::measure(&plan, &mut steps)?;
    let mut report = Report {
        title: "Rate and distortion".into(),
        sections: measured,
    };
    let mut tables = vec![figures::table(&found).to_text()];
    if !flags.quick {
        // What is there already can be read meanwhile.
        report.write_with(&found, &plan.out)?;
        let overview = quality::overview(&inputs(flags, &plan, texts), &mut steps)?;
        report.title = "Neural Weight Compression, end to end".into();
        tables.push(overview.table.to_text());
        report.sections.splice(0..0, overview.into_sections());
    }
    report.write_with(&found, &plan.out)?;
    for table in tables {
        writeln!(std::io::stdout(), "{table}")?;
    }
    let trips = found.rates.iter().map(|rate| &rate.round_trip);
    let problems: Vec<_> = trips.flat_map(|trip| &trip.problems).collect();
    if let Some(first) = problems.first() {
        bail!(
            "the round trip has {} problems, the first is {first}",
            problems.len()
        );
    }
    Ok(())
}

/// What the methods are compared with each other on.
fn inputs(flags: &ReproduceFlags, plan: &Plan, texts: Texts) -> quality::Inputs {
    quality::Inputs {
        model: plan.model.clone(),
        cli: plan.cli.clone(),
        texts,
        lambdas: Vec::new(),
        ctx: CTX,
        max_tokens: flags.max_tokens,
        only: Vec::new(),
        full: false,
        windows: Windows::FEW,
        prompt: Some(flags.prompt.clone()),
        peers: peers::results(),
        out: plan.out.join("quality"),
    }
}
