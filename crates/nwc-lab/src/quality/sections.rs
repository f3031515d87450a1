//! What was measured, as tables, a plot and sentences.

use super::findings;
use super::measure::Row;
use super::rows::{Family, IDEA_BITS, Plan};
use super::{Inputs, Results};
use crate::report::{Axis, Bars, Cell, Plot, Scale, Section, Series, Style, Table, Text};

/// The sections of a report.
pub(super) fn of(inputs: &Inputs, results: &Results) -> Vec<Section> {
    let rows = &results.rows;
    let table = |title: &str, is_learned, note: &str| {
        let shown = rows
            .iter()
            .filter(|(plan, _)| plan.family.is_learned() == is_learned);
        Section::Table(table(title, shown, note))
    };
    vec![
        Section::Text(Text {
            title: "Quality: how it is measured".into(),
            paragraphs: set_up(inputs, results),
        }),
        table(
            "The paper's ablation",
            true,
            "Each of the first seven adds to the one above it; λ is that of the pretrained codec. \
             What --preset paper does is \"+ LDLQ 128\". \
             bpw linear: stored payload, scales and levels of the linear weights in bits a weight. \
             bpw total: every byte of the output over all parameters, the embeddings kept as they are.",
        ),
        table(
            "Beside it, on the same harness",
            false,
            "Rates of the baselines are computed from what they would store: codes, an f16 scale and a zero point \
             of as many bits as a code for every group of 128 columns of a row (64 where 128 does not divide; \
             GPTQ: the same, in its own order, first column to last, each group's grid from the compensated \
             weights); for ECSQ the empirical entropy of each matrix and 16 bits a row; for k-means the codes \
             and an f16 codebook for every matrix. The trellis' are those of its files. Those of llama.cpp are the \
             bytes of the matrices in its file, whose types stand in brackets: a type whose blocks of 256 do not \
             divide a row gives way to one with blocks of 32. No importance matrix.",
        ),
        Section::Plot(plot(rows, Family::label, KL, LINEARS)),
        Section::Plot(plot(rows, Family::label, KL, ALL_COUNTED)),
        Section::Plot(plot(rows, Family::label, PERPLEXITY, ALL_COUNTED)),
        Section::Bars(ideas(rows)),
        Section::Text(Text {
            title: "What each step is worth".into(),
            paragraphs: findings::of_the_ladder(rows),
        }),
        Section::Text(Text {
            title: "Against each other at equal KL".into(),
            paragraphs: findings::beside_it(rows),
        }),
    ]
}

/// The last part of a path.
pub(super) fn name_of(path: &std::path::Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn set_up(inputs: &Inputs, results: &Results) -> Vec<String> {
    let mut paragraphs = vec![format!(
        "KL divergence (nats a token, to the model as it was), perplexity and top-1 agreement of {} on the first \
         {} tokens of {} in windows of {}. Hessians from {} windows of 1024 tokens of {}, output Fisher and curvature from {} of \
         512. Only linear weights are quantised.",
        name_of(&inputs.model),
        inputs.max_tokens,
        name_of(&inputs.texts.evaluation),
        inputs.ctx,
        inputs.windows.hessian,
        name_of(&inputs.texts.calibration),
        inputs.windows.fisher,
    )];
    if let Some((_, row)) = results.rows.first() {
        paragraphs.push(format!(
            "The original's perplexity there is {:.3}.",
            row.evaluation.reference_perplexity
        ));
    }
    if !results.missing.is_empty() {
        let missing = results.missing.join(", ");
        paragraphs.push(format!("Not measured, so not shown: {missing}."));
    }
    paragraphs
}

fn table<'a>(title: &str, rows: impl Iterator<Item = &'a (Plan, Row)>, note: &str) -> Table {
    let columns = [
        "what",
        "at",
        "bpw linear",
        "bpw total",
        "nMSE",
        "perplexity",
        "KL",
        "± standard error",
        "99 % KL",
        "top-1 agreement, %",
    ];
    Table {
        title: title.into(),
        columns: columns.map(String::from).to_vec(),
        rows: rows.map(|(plan, row)| cells(plan, row)).collect(),
        note: Some(note.into()),
    }
}

fn cells(plan: &Plan, row: &Row) -> Vec<Cell> {
    let e = &row.evaluation;
    let at = match (plan.lambda, plan.family) {
        (Some(lambda), _) => format!("λ {lambda}"),
        (None, Family::LlamaCpp) => format!("{} ({})", plan.rate, shares(row)),
        (None, _) => format!("{} bits", plan.rate),
    };
    vec![
        plan.family.label().into(),
        at.into(),
        Cell::number(row.bpw_payload, 3),
        Cell::number(row.bpw_total, 3),
        Cell::number(row.nmse, 6),
        Cell::number(e.perplexity, 3),
        Cell::number(e.kl, 4),
        Cell::number(e.kl_standard_error, 4),
        Cell::number(e.kl_99_percent, 3),
        Cell::number(100.0 * e.top1_agreement, 2),
    ]
}

/// What the linear weights are really stored as, the commonest first.
fn shares(row: &Row) -> String {
    let mut shares: Vec<_> = row.stored_as.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    let shown = shares
        .iter()
        .map(|(name, share)| format!("{:.1} % {name}", 100.0 * **share));
    shown.collect::<Vec<_>>().join(", ")
}

/// What an axis shows of a row, and what it is called.
pub(super) type Quantity = (&'static str, fn(&Row) -> f64);

pub(super) const KL: Quantity = ("KL divergence, nats a token", |row| row.evaluation.kl);
const PERPLEXITY: Quantity = ("perplexity", |row| row.evaluation.perplexity);
pub(super) const LINEARS: Quantity = ("linear weight", |row| row.bpw_payload);
const ALL_COUNTED: Quantity = ("parameter, everything counted", |row| row.bpw_total);

/// A curve for each family, named by `label`.
pub(super) fn plot(
    rows: &[(Plan, Row)],
    label: fn(Family) -> &'static str,
    (what, cost): Quantity,
    (of, bits): Quantity,
) -> Plot {
    let series = Family::ALL.into_iter().filter_map(|family| {
        let mut points: Vec<(f64, f64)> = rows
            .iter()
            .filter(|(plan, _)| plan.family == family)
            .map(|(_, row)| (bits(row), cost(row)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (!points.is_empty()).then(|| Series {
            name: label(family).into(),
            style: match family {
                // Its types are no steps of one scheme.
                Family::LlamaCpp => Style::Points,
                _ => Style::Curve,
            },
            points,
        })
    });
    Plot {
        title: format!("{what} over bits a {of}"),
        x: Axis {
            label: format!("bits a {of}"),
            scale: Scale::Linear,
        },
        y: Axis {
            label: what.into(),
            scale: Scale::Log,
        },
        series: series.collect(),
        note: None,
    }
}

/// What each idea of the trellis family is worth at the rates at which all were measured.
fn ideas(rows: &[(Plan, Row)]) -> Bars {
    let at = |family: Family, rate: &str| {
        rows.iter()
            .find(|(plan, _)| plan.family == family && plan.rate == rate)
            .map(|(_, row)| (row.bpw_payload, row.evaluation.kl))
    };
    let mut bars = Vec::new();
    for rate in IDEA_BITS.map(|bits| bits.to_string()) {
        for pair in IDEAS.windows(2) {
            let (Some(before), Some(after)) = (at(pair[0], &rate), at(pair[1], &rate)) else {
                continue;
            };
            // KL falls by a factor of four for a bit.
            let worth = before.0 - after.0 + 0.5 * (before.1 / after.1).log2();
            bars.push((format!("{rate} bits: {}", pair[1].label()), worth));
        }
    }
    Bars {
        title: "What each idea of the trellis family is worth".into(),
        unit: "bits a weight".into(),
        bars,
        note: Some(
            "Each against the one above it, all with feedback after every column; the first against a scalar quantiser \
             whose steps follow the scale of each row. KL at the same bits, turned into bits at the same KL by a factor \
             of four for a bit."
                .into(),
        ),
    }
}

/// The ideas, each with all before it.
const IDEAS: [Family; 6] = [
    Family::ScalarRowScales,
    Family::ScalarLayer,
    Family::ScalarColumns,
    Family::ScalarFull,
    Family::TrellisTokens,
    Family::Trellis,
];

/// Rows of every family, each a tenth of a bit better than the one before, for tests.
#[cfg(test)]
pub(super) fn sample_rows() -> Vec<(Plan, Row)> {
    use crate::program::Evaluation;
    let mut plans = super::rows::all(&[30.0, 100.0], true);
    let peers = super::rows::peers();
    plans.extend(peers.clone());
    let row = |plan: Plan| {
        let bits = match plan.lambda {
            Some(lambda) => lambda.log2() / 2.0,
            None => match peers.iter().position(|peer| *peer == plan) {
                Some(idx) => 3.0 + idx as f64 / 2.0,
                None => plan.rate.parse().unwrap(),
            },
        };
        let idx = Family::ALL.iter().position(|f| *f == plan.family).unwrap();
        let kl = (-2.0 * (bits + 0.1 * idx as f64)).exp2();
        let json = serde_json::json!({
            "name": plan.name(),
            "key": {
                "model": "m", "calibration_text": "c", "evaluation_text": "e", "ctx": 1024,
                "max_tokens": 4096, "codec": null, "command": "x",
            },
            "bpw_payload": bits,
            "bpw_total": bits + 1.0,
            "nmse": 0.01,
            "evaluation": Evaluation {
                n_tokens: 4092,
                perplexity: 25.0,
                reference_perplexity: 23.0,
                kl,
                kl_standard_error: 0.001,
                kl_99_percent: 1.0,
                top1_agreement: 0.9,
            },
            "seconds": [1.0, 2.0],
        });
        (plan, serde_json::from_value(json).unwrap())
    };
    plans.into_iter().map(row).collect()
}

/// Inputs of which nothing is read, for tests.
#[cfg(test)]
pub(super) fn sample_inputs() -> Inputs {
    use super::text::Texts;
    Inputs {
        model: "models/small".into(),
        cli: "nwc-cli".into(),
        texts: Texts {
            calibration: "a/valid.txt".into(),
            evaluation: "a/test.txt".into(),
        },
        lambdas: vec![30.0, 100.0],
        ctx: 1024,
        max_tokens: 4096,
        only: Vec::new(),
        full: true,
        windows: super::Windows::FULL,
        prompt: None,
        peers: "peers.json".into(),
        out: "out".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn a_type_is_shown_with_what_it_stands_for() {
        let mut rows = sample_rows().into_iter();
        let (plan, mut row) = rows.find(|(plan, _)| plan.rate == "Q4_K_M").unwrap();
        row.stored_as = [("Q4_K".into(), 0.26), ("Q5_0".into(), 0.74)].into();
        let at = &cells(&plan, &row)[1];
        assert_eq!(*at, Cell::from("Q4_K_M (74.0 % Q5_0, 26.0 % Q4_K)"));
    }

    #[test]
    fn everything_measured_is_in_a_table_and_the_plot() {
        let inputs = sample_inputs();
        let results = Results {
            rows: sample_rows(),
            missing: vec!["rtn-9".into()],
        };
        let sections = of(&inputs, &results);
        let mut n_rows = 0;
        for section in &sections {
            match section {
                Section::Table(table) => {
                    n_rows += table.rows.len();
                    assert!(
                        table
                            .rows
                            .iter()
                            .all(|row| row.len() == table.columns.len())
                    );
                }
                Section::Plot(plot) => assert_eq!(plot.series.len(), Family::ALL.len()),
                Section::Bars(bars) => {
                    assert_eq!(bars.bars.len(), 10);
                    // The sample saves a tenth of a bit with every family that comes later.
                    assert!(bars.bars.iter().all(|bar| (bar.1 - 0.1).abs() < 1e-6));
                }
                Section::Text(text) => assert!(!text.paragraphs.is_empty()),
            }
        }
        assert_eq!(n_rows, results.rows.len());
        let report = Report {
            title: "Quality".into(),
            sections,
        };
        let dir = tempfile::tempdir().unwrap();
        report.write(dir.path()).unwrap();
    }
}
