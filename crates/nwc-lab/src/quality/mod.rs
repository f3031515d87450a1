//! `cargo xtask quality`: what each part of the method is worth in KL divergence, beside other quantisers.
//!
//! Every row of the table is a model: quantised, evaluated by `nwc-cli eval` against the original, removed.
//! A row is kept in a file of its own as soon as it is measured, so an interrupted run goes on where it was.

mod compare;
mod findings;
mod measure;
mod method;
mod overview;
mod rows;
mod sections;
mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use self::measure::{Bench, Row};
pub(crate) use self::measure::{Quantised, Windows};
pub(crate) use self::overview::{Overview, overview};
use self::rows::{Family, Plan};
pub(crate) use self::text::Texts;
use crate::flags::QualityFlags;
use crate::progress::Steps;
use crate::report::{Report, Section};
use crate::{model, peers, program};
use xtask::workspace;

/// What calibration and a row take on two free cores.
const CALIBRATE_S: f64 = 120.0;
const ROW_S: f64 = 40.0;

/// What is measured with what.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    /// A Hugging Face checkpoint folder.
    pub(crate) model: PathBuf,
    /// An `nwc-cli` that has LibTorch; the environment must let it find the libraries.
    pub(crate) cli: PathBuf,
    pub(crate) texts: Texts,
    /// The λ of the pretrained codecs to run.
    pub(crate) lambdas: Vec<f64>,
    /// Tokens in a window of evaluation.
    pub(crate) ctx: usize,
    /// Tokens to evaluate.
    pub(crate) max_tokens: usize,
    /// Names of the rows or families to measure; all where empty.
    pub(crate) only: Vec<String>,
    /// Recovery at every λ.
    pub(crate) full: bool,
    /// How much is calibrated on.
    pub(crate) windows: Windows,
    /// A text for each model to continue.
    pub(crate) prompt: Option<String>,
    /// The `peers.json` that is shown beside our rows, where it is there.
    pub(crate) peers: PathBuf,
    /// Where results go and are kept.
    pub(crate) out: PathBuf,
}

/// What came out.
#[derive(Debug)]
struct Results {
    rows: Vec<(Plan, Row)>,
    /// Names of the rows that could not be measured or were not asked for.
    missing: Vec<String>,
}

/// What `quality.json` holds of a row.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    family: &'static str,
    what: &'static str,
    lambda: Option<f64>,
    #[serde(flatten)]
    row: &'a Row,
}

/// Makes everything ready, measures, and writes `quality.json`, `report.json` and `report.html`.
pub(crate) fn run(flags: &QualityFlags) -> Result<()> {
    let texts = Texts::find(flags.calibration_text.as_deref(), flags.text.as_deref())?;
    check_flags(flags)?;
    let inputs = Inputs {
        model: match &flags.model {
            Some(dir) => dir.clone(),
            None => model::provide()?,
        },
        cli: program::path()?,
        texts,
        lambdas: flags.lambdas.clone(),
        ctx: flags.ctx,
        max_tokens: flags.max_tokens,
        only: flags.only.clone(),
        full: flags.full,
        windows: Windows::FULL,
        prompt: None,
        peers: peers::results(),
        out: flags.out.clone(),
    };
    let report = Report {
        title: "Quality".into(),
        sections: sections(&inputs)?,
    };
    report.write(&inputs.out)?;
    let n_failed = n_failed(&inputs)?;
    ensure!(n_failed == 0, "{n_failed} rows could not be measured");
    Ok(())
}

/// Measures what is asked for and not measured yet, writes `quality.json`, and gives the report's sections.
///
/// A row that fails is named on stderr and in the first section; the others are measured all the same.
///
/// # Errors
/// Where calibration fails or a file cannot be read or written.
pub(crate) fn sections(inputs: &Inputs) -> Result<Vec<Section>> {
    let bench = Bench::new(inputs)?;
    let plans = rows::all(&inputs.lambdas, inputs.full);
    let rows_s = plans.iter().map(|_| ROW_S);
    let mut steps = Steps::new([CALIBRATE_S].into_iter().chain(rows_s));
    steps.begin("calibrate", CALIBRATE_S);
    bench.calibrate()?;
    let mut results = measure_all(&bench, plans, &inputs.only, &mut steps);
    results.rows.sort_by_key(|(plan, _)| plan.family);
    write_json(&inputs.out.join("quality.json"), &results)?;
    results.rows.extend(bench.peers_in(&inputs.peers));
    Ok(sections::of(inputs, &results))
}

/// `cargo xtask peers` from where everything is ready: measures its rows and writes `peers.json`.
///
/// # Errors
/// Where a row cannot be measured or a file cannot be read or written.
pub(crate) fn measure_peers(inputs: &Inputs) -> Result<()> {
    let bench = Bench::new(inputs)?;
    let mut steps = Steps::new(rows::peers().iter().map(|_| ROW_S));
    let results = measure_all(&bench, rows::peers(), &inputs.only, &mut steps);
    write_json(&inputs.peers, &results)?;
    let plans = rows::peers().into_iter();
    let wanted = plans.filter(|plan| plan.is_wanted(&inputs.only));
    let n_failed = wanted.filter(|plan| bench.kept(plan).is_none()).count();
    ensure!(n_failed == 0, "{n_failed} rows could not be measured");
    Ok(())
}

/// Takes the rows that are kept and measures the others that `only` asks for; one that fails is named on stderr.
fn measure_all(bench: &Bench<'_>, plans: Vec<Plan>, only: &[String], steps: &mut Steps) -> Results {
    let mut results = Results {
        rows: Vec::new(),
        missing: Vec::new(),
    };
    for plan in plans {
        let name = plan.name();
        let kept = bench.kept(&plan);
        let row = match kept {
            Some(_) => {
                steps.skip(ROW_S);
                kept
            }
            None if !plan.is_wanted(only) => {
                steps.skip(ROW_S);
                None
            }
            None => {
                steps.begin(&name, ROW_S);
                match bench.measure(&plan) {
                    Ok(row) => {
                        eprintln!("    {}", shown(&row));
                        Some(row)
                    }
                    Err(error) => {
                        eprintln!("    {name} failed: {error:#}");
                        None
                    }
                }
            }
        };
        match row {
            Some(row) => results.rows.push((plan, row)),
            None => results.missing.push(name),
        }
    }
    results
}

/// Rows that were asked for and are not there.
fn n_failed(inputs: &Inputs) -> Result<usize> {
    let bench = Bench::new(inputs)?;
    let plans = rows::all(&inputs.lambdas, inputs.full).into_iter();
    let wanted = plans.filter(|plan| plan.is_wanted(&inputs.only));
    Ok(wanted.filter(|plan| bench.kept(plan).is_none()).count())
}

fn shown(row: &Row) -> String {
    format!(
        "{:.3} bits, KL {:.4}, perplexity {:.3} ({:.0} s and {:.0} s)",
        row.bpw_payload, row.evaluation.kl, row.evaluation.perplexity, row.seconds.0, row.seconds.1
    )
}

fn write_json(path: &Path, results: &Results) -> Result<()> {
    let entries: Vec<Entry<'_>> = results
        .rows
        .iter()
        .map(|(plan, row)| Entry {
            family: plan.family.id(),
            what: plan.family.label(),
            lambda: plan.lambda,
            row,
        })
        .collect();
    let text = serde_json::to_string_pretty(&entries)? + "\n";
    workspace::write_whole(path, &text)
}

/// What can be known to be wrong before anything is built.
fn check_flags(flags: &QualityFlags) -> Result<()> {
    for &lambda in &flags.lambdas {
        nwc::pretrained(lambda as f32).context("--lambdas")?;
    }
    check_windows(flags.ctx, flags.max_tokens)?;
    for wanted in &flags.only {
        let plans = rows::all(&flags.lambdas, flags.full);
        ensure!(
            plans
                .iter()
                .any(|plan| plan.is_wanted(std::slice::from_ref(wanted))),
            "--only {wanted}: no such row; families are {}",
            Family::ALL.map(Family::id).join(", ")
        );
    }
    Ok(())
}

/// Whether windows of `ctx` tokens can be evaluated on `max_tokens`.
///
/// # Errors
/// Where a window has fewer than 2 tokens, or none fits.
pub(crate) fn check_windows(ctx: usize, max_tokens: usize) -> Result<()> {
    ensure!(
        2 <= ctx && ctx <= max_tokens,
        "--ctx {ctx} and --max-tokens {max_tokens}: a window has 2 tokens or more, and one has to be evaluated"
    );
    Ok(())
}

/// Whether `only` names rows of `cargo xtask peers`.
///
/// # Errors
/// Where it names another.
pub(crate) fn check_peers(only: &[String]) -> Result<()> {
    let plans = rows::peers();
    let types: Vec<_> = plans.iter().map(|plan| plan.rate.as_str()).collect();
    for wanted in only {
        ensure!(
            plans
                .iter()
                .any(|plan| plan.is_wanted(std::slice::from_ref(wanted))),
            "--only {wanted}: no such type; types are {}",
            types.join(", ")
        );
    }
    Ok(())
}
