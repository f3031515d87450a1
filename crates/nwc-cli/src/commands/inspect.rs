//! `inspect`.

use std::fmt::Write;
use std::path::Path;

use nwc::{Inspection, TensorSummary, Totals};

use crate::args::InspectArgs;
use crate::outcome::{Outcome, print};

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<Outcome> {
    let inspection = nwc::inspect(&args.dir)?;
    if let Some(file) = &args.html {
        let page = inspection.to_html(&title(&args.dir));
        nwc::write_file(file, page.as_bytes())?;
        print(&summary(&inspection.totals))?;
    } else if args.json {
        print(&(serde_json::to_string_pretty(&inspection)? + "\n"))?;
    } else {
        print(&table(&inspection))?;
    }
    Ok(Outcome::Done)
}

/// The folder's own name, also where it is given as `.`.
fn title(dir: &Path) -> String {
    let absolute = dir.canonicalize();
    let named = absolute.as_deref().unwrap_or(dir).file_name();
    named.unwrap_or(dir.as_os_str()).to_string_lossy().into()
}

/// A row per tensor, then the totals.
pub(crate) fn table(inspection: &Inspection) -> String {
    let header = ["tensor", "shape", "dtype", "coding", "bits/weight", "nMSE"];
    let rows: Vec<[String; 6]> = inspection.tensors.iter().map(row).collect();
    let mut widths = header.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    push_row(&mut out, &header.map(String::from), &widths);
    for row in &rows {
        push_row(&mut out, row, &widths);
    }
    out.push('\n');
    out.push_str(&summary(&inspection.totals));
    out
}

/// The totals in words.
pub(crate) fn summary(totals: &Totals) -> String {
    let mut out = String::new();
    let mut line = |label: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{label:<16} {value}");
    };
    if totals.n_coded > 0 {
        line(
            "bpw_payload",
            format!(
                "{:.4} over {} coded weights ({:.4} over the linear ones; {:.4} ideal)",
                totals.bpw_payload, totals.n_coded, totals.bpw_payload_linear, totals.bpw_estimated
            ),
        );
    }
    line(
        "bpw_total",
        format!(
            "{:.4} over {} parameters",
            totals.bpw_total, totals.n_params
        ),
    );
    line(
        "bytes",
        format!(
            "{} from {} ({:.1} %): coded {}, kept {}, codecs {}",
            totals.total_bytes,
            totals.original_bytes,
            100.0 * totals.total_bytes as f64 / totals.original_bytes.max(1) as f64,
            totals.coded_bytes,
            totals.lossless_bytes,
            totals.codec_bytes
        ),
    );
    if totals.n_coded > 0 {
        line("nMSE", format!("{:.6}", totals.nmse));
    }
    out
}

fn row(tensor: &TensorSummary) -> [String; 6] {
    let coding = match &tensor.reason {
        Some(reason) => format!("{} ({reason})", tensor.coding),
        None => tensor.coding.clone(),
    };
    [
        tensor.name.clone(),
        format!("{:?}", tensor.shape),
        tensor.dtype.clone(),
        coding,
        format!("{:.4}", tensor.bpw),
        tensor
            .nmse
            .map_or_else(|| "-".into(), |x| format!("{x:.6}")),
    ]
}

fn push_row(out: &mut String, cells: &[String; 6], widths: &[usize; 6]) {
    for (idx, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = if idx == 0 { "" } else { "  " };
        // Numbers to the right, words to the left; writing to a string cannot fail.
        let _ = if idx >= 4 {
            write!(out, "{gap}{cell:>width$}")
        } else {
            write!(out, "{gap}{cell:<width$}")
        };
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}
