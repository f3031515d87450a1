//! What was measured, as sections of the report.

use super::Plan;
use super::figures;
use super::results::{Measurements, Rate};
use crate::quantisers::ecsq::Point;
use crate::report::{Axis, Cell, Plot, Scale, Section, Series, Style, Table};

const MIB: f64 = 1_048_576.0;
/// Nothing coarser is worth drawing: round to nearest at 2 bits a weight is worse than zeros.
const MAX_DRAWN_NMSE: f64 = 0.3;

/// All sections, in reading order.
pub(super) fn all(found: &Measurements, plan: &Plan, program: String) -> Vec<Section> {
    let mut sections = vec![
        Section::Table(figures::table(found)),
        Section::Plot(curves(found)),
        Section::Table(rates(found)),
        Section::Table(reference(found)),
        Section::Table(set_up(found, plan, program)),
    ];
    sections.extend(problems(found).map(Section::Table));
    sections
}

fn rates(found: &Measurements) -> Table {
    let columns = [
        "λ",
        "bpw_payload",
        "bpw_payload, linear",
        "bpw_total",
        "ideal",
        "overhead, %",
        "nMSE",
        "nMSE, normalised, linear",
        "gap to ECSQ",
        "gap, ECSQ paying for row scales too",
        "compress, s",
        "decompress, s",
        "peak, MiB",
    ];
    Table {
        title: "A row per λ".into(),
        columns: columns.map(String::from).into(),
        rows: found
            .rates
            .iter()
            .map(|rate| rate_row(rate, found.reference.row_scale_bits))
            .collect(),
        note: Some(
            "Bits a weight. bpw_payload: stored payload, scales and levels of the coded tensors; linear: without \
             embeddings. bpw_total: all bytes of all weight files over all parameters. Ideal: −Σ log2 p of the \
             coded tensors under the tables used; overhead: payload bytes over it. nMSE: ‖W−Ŵ‖²/‖W‖² of the coded \
             tensors; normalised: the mean of it over rows, linear weights only. Peak: resident memory of \
             decompression, mapped files included."
                .into(),
        ),
    }
}

fn rate_row(rate: &Rate, row_scale_bits: f64) -> Vec<Cell> {
    let totals = &rate.totals;
    let gap = |bits: f64| match rate.gap_to_ecsq {
        Some(gap) => Cell::number(gap - bits, 3),
        None => "–".into(),
    };
    vec![
        Cell::number(rate.lambda, 0),
        Cell::number(totals.bpw_payload, 3),
        Cell::number(totals.bpw_payload_linear, 3),
        Cell::number(totals.bpw_total, 3),
        Cell::number(totals.bpw_estimated, 3),
        Cell::number(totals.payload_overhead * 100.0, 3),
        Cell::number(totals.nmse, 6),
        Cell::number(totals.nmse_normalized_linear, 6),
        gap(0.0),
        gap(row_scale_bits),
        Cell::number(rate.compress.wall_s, 1),
        Cell::number(rate.decompress.wall_s, 1),
        match rate.decompress.peak_bytes {
            Some(bytes) => Cell::number(bytes as f64 / MIB, 0),
            None => "–".into(),
        },
    ]
}

fn curves(found: &Measurements) -> Plot {
    let ours: Vec<(f64, f64)> = found
        .rates
        .iter()
        .map(|rate| {
            let totals = &rate.totals;
            (totals.bpw_payload_linear, totals.nmse_normalized_linear)
        })
        .collect();
    // A little beyond our finest, so that curves do not end where they are read.
    let finest = ours.iter().map(|point| point.1).fold(1e-3, f64::min) / 4.0;
    let drawn = |points: &[Point]| -> Vec<(f64, f64)> {
        points
            .iter()
            .filter(|point| (finest..=MAX_DRAWN_NMSE).contains(&point.nmse))
            .map(|point| (point.bits, point.nmse))
            .collect()
    };
    let bound = [MAX_DRAWN_NMSE, finest].map(|nmse| (gaussian_bits(nmse), nmse));
    let series = |name: &str, style, points| Series {
        name: name.into(),
        style,
        points,
    };
    let axis = |label: &str, scale| Axis {
        label: label.into(),
        scale,
    };
    Plot {
        title: "Rate and distortion of the linear weights".into(),
        x: axis("bits a weight", Scale::Linear),
        y: axis("nMSE after row normalisation", Scale::Log),
        series: vec![
            series("nwc, stored bytes", Style::Curve, ours),
            series("ECSQ, entropy", Style::Bound, drawn(&found.reference.ecsq)),
            series(
                "round to nearest in groups, stored bytes",
                Style::Points,
                drawn(&found.reference.round_to_nearest),
            ),
            series("Gaussian bound", Style::Bound, bound.into()),
        ],
        note: Some(reference_note(found)),
    }
}

/// D(R) = 2^−2R of a Gaussian, turned round.
fn gaussian_bits(nmse: f64) -> f64 {
    0.5 * (1.0 / nmse).log2()
}

fn reference(found: &Measurements) -> Table {
    let row = |name: &str, setting: Cell, point: &Point| {
        vec![
            name.into(),
            setting,
            Cell::number(point.bits, 3),
            Cell::number(point.nmse, 7),
            Cell::number(point.bits - gaussian_bits(point.nmse), 3),
        ]
    };
    let ecsq = found.reference.ecsq.iter();
    let rounded = found.reference.round_to_nearest.iter();
    Table {
        title: "Scalar quantisers on the same weights".into(),
        columns: [
            "quantiser",
            "step or index bits",
            "bits",
            "nMSE, normalised",
            "over the Gaussian bound",
        ]
        .map(String::from)
        .into(),
        rows: ecsq
            .map(|point| row("ECSQ", Cell::number(point.setting, 4), point))
            .chain(
                rounded.map(|point| row("round to nearest", Cell::number(point.setting, 0), point)),
            )
            .collect(),
        note: Some(reference_note(found)),
    }
}

fn reference_note(found: &Measurements) -> String {
    let reference = &found.reference;
    let sample = match reference.row_stride {
        0 | 1 => "all rows".to_owned(),
        stride => format!("every {stride}th row"),
    };
    format!(
        "ECSQ: uniform step in row standard deviations, centroids, bits as the empirical entropy of all symbols \
         of the model under one table, nothing stored; round to nearest: a uniform grid for every 64 or 128 \
         columns of a row, packed codes, an f16 scale and a zero point as stored. Both over {sample} of {} linear weights. \
         Ours pays {:.4} bits a weight for row scales, ECSQ nothing.",
        reference.n_linear, reference.row_scale_bits
    )
}

/// What was run on what.
fn set_up(found: &Measurements, plan: &Plan, program: String) -> Table {
    let name = |path: &std::path::Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let totals = found.rates.first().map(|rate| &rate.totals);
    let mut rows = vec![
        ("Model", Cell::from(name(&plan.model))),
        (
            "Parameters",
            Cell::number(totals.map_or(0.0, |t| t.n_params as f64), 0),
        ),
        (
            "Linear weights",
            Cell::number(found.reference.n_linear as f64, 0),
        ),
        (
            "Original tensors, MB",
            Cell::number(totals.map_or(0.0, |t| t.original_bytes as f64 / 1e6), 1),
        ),
        (
            "Codecs",
            Cell::from(if plan.retrain {
                "preset small, trained for this report; embeddings with the same codec"
            } else {
                "pretrained set; embeddings at the next better λ"
            }),
        ),
        (
            "Threads",
            Cell::from(format!("{} of {}", found.n_threads, cores())),
        ),
        ("Processor", Cell::from(processor())),
        ("Program", Cell::from(program)),
    ];
    if let Some(threads) = &found.threads {
        rows.push((
            "Compress with 1 thread, s",
            Cell::number(threads.compress_one.wall_s, 1),
        ));
    }
    Table {
        title: "Set-up".into(),
        columns: vec!["".into(), "".into()],
        rows: rows
            .into_iter()
            .map(|(name, cell)| vec![Cell::from(name), cell])
            .collect(),
        note: None,
    }
}

fn cores() -> String {
    std::thread::available_parallelism().map_or("unknown".into(), |n| n.to_string())
}

/// The processor's own name, from Linux' /proc.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown".into(), |(_, name)| name.trim().to_owned())
}

/// What is wrong with the round trips, where something is.
fn problems(found: &Measurements) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = found
        .rates
        .iter()
        .flat_map(|rate| {
            let problems = rate.round_trip.problems.iter();
            problems.map(|problem| vec![rate.lambda.to_string().into(), problem.as_str().into()])
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        title: "Problems".into(),
        columns: vec!["λ".into(), "what".into()],
        rows,
        note: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::*;

    #[test]
    fn every_row_is_as_long_as_its_head() {
        let mut found = sample();
        found.rates[0].round_trip.problems.push("x: y".into());
        let problems = problems(&found).unwrap();
        assert_eq!(problems.rows.len(), 1);
        for table in [
            rates(&found),
            reference(&found),
            figures::table(&found),
            problems,
        ] {
            for row in &table.rows {
                assert_eq!(row.len(), table.columns.len(), "{}", table.title);
            }
        }
    }

    #[test]
    fn the_bound_is_on_the_plot_with_ours() {
        let plot = curves(&sample());
        assert_eq!(plot.series[0].points.len(), 3);
        let (bits, nmse) = plot.series[3].points[1];
        assert!(nmse < 0.0003 && ((-2.0 * bits).exp2() / nmse - 1.0).abs() < 1e-9);
    }
}
