//! The method as `cargo xtask reproduce` shows it: every way of quantising at about 3 and about 4 bits, side by side.

use anyhow::{Result, ensure};

use super::measure::Row;
use super::rows::{self, Family, Plan};
use super::sections::{KL, LINEARS, name_of, plot};
use super::{Bench, CALIBRATE_S, Inputs, ROW_S, Results, measure_all, write_json};
use crate::progress::Steps;
use crate::report::{Cell, Plot, Section, Table, Text};

/// What continuing a text with the original takes.
const CONTINUE_S: f64 = 10.0;

/// What is shown of it.
#[derive(Debug)]
pub(crate) struct Overview {
    about: Text,
    pub(crate) table: Table,
    plot: Plot,
    continuations: Table,
}

impl Overview {
    /// What each step takes on two free cores, seconds.
    pub(crate) fn expected_s() -> Vec<f64> {
        let mut expected = vec![CALIBRATE_S / 2.0, CONTINUE_S];
        expected.extend(rows::overview().iter().map(|_| ROW_S));
        expected
    }

    /// In reading order.
    pub(crate) fn into_sections(self) -> Vec<Section> {
        vec![
            Section::Text(self.about),
            Section::Table(self.table),
            Section::Plot(self.plot),
            Section::Table(self.continuations),
        ]
    }
}

/// Measures what is not measured yet, and writes `quality.json`.
///
/// # Errors
/// Where calibration or any row fails.
pub(crate) fn overview(inputs: &Inputs, steps: &mut Steps) -> Result<Overview> {
    let bench = Bench::new(inputs)?;
    steps.begin("calibrate", CALIBRATE_S / 2.0);
    bench.calibrate()?;
    steps.begin("continue a text with the original", CONTINUE_S);
    let original = bench.continuation_of(&inputs.model)?.unwrap_or_default();
    let results = measure_all(&bench, rows::overview(), &[], steps);
    write_json(&inputs.out.join("quality.json"), &results)?;
    let missing = results.missing.join(", ");
    ensure!(
        missing.is_empty(),
        "these rows could not be measured: {missing}"
    );
    Ok(of(inputs, &results, &original))
}

fn of(inputs: &Inputs, results: &Results, original: &str) -> Overview {
    let rows = &results.rows;
    Overview {
        about: about(inputs, rows),
        table: table(rows),
        plot: plot(rows, label, KL, LINEARS),
        continuations: continuations(inputs, rows, original),
    }
}

fn about(inputs: &Inputs, rows: &[(Plan, Row)]) -> Text {
    let reference = rows
        .first()
        .map_or(0.0, |(_, row)| row.evaluation.reference_perplexity);
    let n_tokens = rows.first().map_or(0, |(_, row)| row.evaluation.n_tokens);
    Text {
        title: "The whole method at a glance".into(),
        paragraphs: vec![
            format!(
                "The linear weights of {} are quantised by each method at about 3 and about 4 bits; everything else stays \
                 as it is. Each model is then compared with the original on {n_tokens} tokens of {}: KL divergence in \
                 nats a token, perplexity (the original's is {reference:.3}), and how often both hold the same next token \
                 most likely. Lower bits and lower KL are better.",
                name_of(&inputs.model),
                name_of(&inputs.texts.evaluation),
            ),
            format!(
                "Statistics come from {} windows of 1024 tokens and {} of 512 of {}: fewer than `cargo xtask quality` \
                 takes, so that this report is made in half an hour; figures there are a little better.",
                inputs.windows.hessian,
                inputs.windows.fisher,
                name_of(&inputs.texts.calibration),
            ),
        ],
    }
}

/// What each family does, in a few words.
fn explained(family: Family) -> &'static str {
    match family {
        Family::RoundToNearest => "each weight to its grid's nearest point, no statistics",
        Family::Gptq => "the same grids, errors fed back",
        Family::Ldlq128 => {
            "the paper's preset: learned codec, quality levels, feedback after 128 columns"
        }
        Family::LatentStates => {
            "learned codec with curvature, latents on a trellis, feedback after every column"
        }
        Family::Trellis => {
            "no learned transform: steps from curvature, trellis, feedback after every column"
        }
        _ => "",
    }
}

/// As the overview calls a family.
fn label(family: Family) -> &'static str {
    match family {
        Family::Ldlq128 => "--preset paper",
        Family::RoundToNearest => "round to nearest",
        Family::Gptq => "GPTQ",
        Family::LatentStates => "learned codec, best",
        Family::Trellis => "trellis (recommended)",
        other => other.label(),
    }
}

fn table(rows: &[(Plan, Row)]) -> Table {
    let columns = [
        "method",
        "bits a linear weight, stored",
        "KL",
        "±",
        "perplexity",
        "top-1 agreement, %",
        "nMSE",
        "what it does",
    ];
    Table {
        title: "Methods compared".into(),
        columns: columns.map(String::from).into(),
        rows: rows.iter().map(|(plan, row)| cells(plan, row)).collect(),
        note: Some(
            "Stored bits count codes, scales, zero points and side information. Those of round to nearest and GPTQ are \
             computed from what they would store: an f16 scale and a zero point for every group of 64 or 128 columns."
                .into(),
        ),
    }
}

fn cells(plan: &Plan, row: &Row) -> Vec<Cell> {
    let e = &row.evaluation;
    vec![
        label(plan.family).into(),
        Cell::number(row.bpw_payload, 3),
        Cell::number(e.kl, 4),
        Cell::number(e.kl_standard_error, 4),
        Cell::number(e.perplexity, 3),
        Cell::number(100.0 * e.top1_agreement, 2),
        Cell::number(row.nmse, 5),
        explained(plan.family).into(),
    ]
}

fn continuations(inputs: &Inputs, rows: &[(Plan, Row)], original: &str) -> Table {
    let mut shown = vec![vec![
        "the original".into(),
        "32".into(),
        Cell::from(original.trim()),
    ]];
    shown.extend(rows.iter().map(|(plan, row)| {
        let text = row.continuation.as_deref().unwrap_or_default();
        let bits = format!("{:.2}", row.bpw_payload);
        vec![label(plan.family).into(), bits.into(), text.trim().into()]
    }));
    Table {
        title: format!("Continued: \"{} …\"", inputs.prompt.as_deref().unwrap_or_default()),
        columns: ["model", "bits", "continuation"].map(String::from).into(),
        rows: shown,
        note: Some(
            "Always the most likely token, so a difference is the weights' alone. A model of this size repeats itself \
             and is no source of facts, compressed or not."
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::{sample_inputs, sample_rows};
    use super::*;

    #[test]
    fn every_row_is_shown_with_its_text() {
        let wanted = rows::overview();
        let mut rows = sample_rows();
        rows.retain(|(plan, _)| wanted.contains(plan));
        assert!(rows.len() >= 5, "{}", rows.len());
        for (plan, row) in &mut rows {
            row.continuation = Some(format!("text of {}\n", plan.name()));
            assert!(!explained(plan.family).is_empty());
        }
        let n_rows = rows.len();
        let results = Results {
            rows,
            missing: Vec::new(),
        };
        let mut inputs = sample_inputs();
        inputs.prompt = Some("Once".into());
        let overview = of(&inputs, &results, "as it was");
        assert_eq!(overview.table.rows.len(), n_rows);
        let texts = &overview.continuations;
        assert_eq!(texts.rows.len(), n_rows + 1);
        assert_eq!(texts.rows[0][2], Cell::from("as it was"));
        assert!(
            texts
                .rows
                .iter()
                .any(|row| row[2] == Cell::from("text of trellis-3.05"))
        );
        assert!(texts.title.contains("Once"));
        for table in [&overview.table, texts] {
            let len = table.columns.len();
            assert!(table.rows.iter().all(|row| row.len() == len));
        }
        assert_eq!(overview.into_sections().len(), 4);
    }
}
