//! What is measured, as sections of the report.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Plan;
use crate::report::{Cell, Report, Section, Table};

/// Measures everything in the plan.
///
/// # Errors
/// Where a command fails or a result cannot be read.
pub(super) fn measure(plan: &Plan) -> Result<Report> {
    Ok(Report {
        title: "Rate and distortion".into(),
        sections: vec![Section::Table(setup(plan)?)],
    })
}

/// What was run on what.
fn setup(plan: &Plan) -> Result<Table> {
    let name = plan
        .model
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut weights_bytes = 0;
    for entry in fs::read_dir(&plan.model)
        .with_context(|| format!("cannot read {}", plan.model.display()))?
    {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            weights_bytes += fs::metadata(&path)?.len();
        }
    }
    let lambdas: Vec<_> = plan.lambdas.iter().map(ToString::to_string).collect();
    let text = match &plan.text {
        Some(path) => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        None => "none".into(),
    };
    let rows = [
        ("Model", Cell::from(name)),
        (
            "Its weight files, MB",
            Cell::number(weights_bytes as f64 / 1e6, 1),
        ),
        ("λ", Cell::from(lambdas.join(", "))),
        ("Evaluation text", Cell::from(text)),
        ("Program", Cell::from(program_version(plan)?)),
        (
            "Codecs",
            Cell::from(if plan.retrain {
                "trained for this report"
            } else {
                "from codecs/"
            }),
        ),
    ];
    Ok(Table {
        title: "Set-up".into(),
        columns: vec!["".into(), "".into()],
        rows: rows
            .into_iter()
            .map(|(name, cell)| vec![Cell::from(name), cell])
            .collect(),
        note: None,
    })
}

fn program_version(plan: &Plan) -> Result<String> {
    let output = Command::new(&plan.cli).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {}", plan.cli.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
