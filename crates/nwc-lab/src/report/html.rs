//! One page that holds everything it shows.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Bars, Cell, Plot, Report, Section, Table, plot};

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fcfcfa; --line: #d8d8d2; --soft: #62666d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e3; --paper: #17181a; --line: #3a3c40; --soft: #a0a4ab; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: left; }
th { font-weight: 600; } .number { text-align: right; }
.note { color: var(--soft); font-size: .9rem; }
svg { width: 100%; height: auto; }
.bars { width: 26rem; } .bar { height: .9rem; background: #3a7bd5; }
.bar.below { background: none; outline: 2px solid #e27326; }
summary { color: var(--soft); cursor: pointer; }
";

/// The page of `report`.
///
/// # Errors
/// Where a plot cannot be drawn.
pub(super) fn page(report: &Report) -> Result<String> {
    let title = escaped(&report.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    for section in &report.sections {
        match section {
            Section::Text(text) => {
                heading(&mut out, &text.title);
                for paragraph in &text.paragraphs {
                    let _ = writeln!(out, "<p>{}</p>", escaped(paragraph));
                }
            }
            Section::Table(section) => {
                heading(&mut out, &section.title);
                table(&mut out, section);
            }
            Section::Bars(section) => {
                heading(&mut out, &section.title);
                bars(&mut out, section);
            }
            Section::Plot(section) => {
                heading(&mut out, &section.title);
                plot_with_figures(&mut out, section)?;
            }
        }
    }
    out.push_str("</body>\n</html>\n");
    Ok(out)
}

fn heading(out: &mut String, title: &str) {
    let _ = writeln!(out, "<h2>{}</h2>", escaped(title));
}

fn table(out: &mut String, table: &Table) {
    out.push_str("<div class=\"wide\"><table>\n");
    if table.columns.iter().any(|name| !name.is_empty()) {
        out.push_str("<tr>");
        for (idx, name) in table.columns.iter().enumerate() {
            let is_number = table
                .rows
                .iter()
                .any(|row| matches!(row.get(idx), Some(Cell::Number { .. })));
            let class = if is_number { " class=\"number\"" } else { "" };
            let _ = write!(out, "<th{class}>{}</th>", escaped(name));
        }
        out.push_str("</tr>\n");
    }
    for row in &table.rows {
        out.push_str("<tr>");
        for cell in row {
            let class = if matches!(cell, Cell::Number { .. }) {
                " class=\"number\""
            } else {
                ""
            };
            let _ = write!(out, "<td{class}>{}</td>", escaped(&cell.shown()));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    note(out, table.note.as_deref());
}

/// A row a bar; bars below zero are hollow.
fn bars(out: &mut String, section: &Bars) {
    let longest = section
        .bars
        .iter()
        .map(|(_, value)| value.abs())
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max);
    out.push_str("<div class=\"wide\"><table>\n");
    let _ = writeln!(
        out,
        "<tr><th></th><th class=\"number\">{}</th><th></th></tr>",
        escaped(&section.unit)
    );
    for (label, value) in &section.bars {
        let share = if longest > 0.0 && value.is_finite() {
            100.0 * value.abs() / longest
        } else {
            0.0
        };
        let class = if *value < 0.0 { "bar below" } else { "bar" };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"number\">{value:.3}</td>\
             <td class=\"bars\"><div class=\"{class}\" style=\"width: {share:.1}%\"></div></td></tr>",
            escaped(label)
        );
    }
    out.push_str("</table></div>\n");
    note(out, section.note.as_deref());
}

/// The drawing, and below it the figures it is drawn from.
fn plot_with_figures(out: &mut String, plot: &Plot) -> Result<()> {
    let svg = plot::svg(plot)?;
    let label = escaped(&format!(
        "{}: {} over {}",
        plot.title, plot.y.label, plot.x.label
    ));
    let named = svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{label}\" "),
        1,
    );
    let _ = writeln!(out, "{named}");
    note(out, plot.note.as_deref());
    out.push_str("<details><summary>Figures</summary>\n");
    let points = plot
        .series
        .iter()
        .flat_map(|series| series.points.iter().map(move |point| (series, point)));
    let rows =
        points.map(|(series, &(x, y))| vec![series.name.as_str().into(), figure(x), figure(y)]);
    let figures = Table {
        title: String::new(),
        columns: vec!["series".into(), plot.x.label.clone(), plot.y.label.clone()],
        rows: rows.collect(),
        note: None,
    };
    table(out, &figures);
    out.push_str("</details>\n");
    Ok(())
}

/// A number with five digits that count.
fn figure(value: f64) -> Cell {
    let magnitude = if value == 0.0 || !value.is_finite() {
        0.0
    } else {
        value.abs().log10().floor()
    };
    Cell::number(value, (4.0 - magnitude).clamp(0.0, 12.0) as usize)
}

fn note(out: &mut String, text: Option<&str>) {
    if let Some(text) = text {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escaped(text));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_page_holds_everything_and_asks_for_nothing() {
        let page = page(&sample()).unwrap();
        for text in [
            "<h1>Rate &lt;&amp; distortion&gt;</h1>",
            "<p>a &lt; b</p>",
            "<td>ecsq</td><td class=\"number\">3.04</td>",
            "<p class=\"note\">note</p>",
            "<svg role=\"img\"",
            "<td>codec</td><td class=\"number\">2.0000</td><td class=\"number\">0.10000</td>",
        ] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
        for outside in ["src=", "href=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn figures_show_what_counts() {
        let check = |value: f64, shown: &str| assert_eq!(figure(value).shown(), shown);
        check(5.43215678, "5.4322");
        check(0.000123456, "0.00012346");
        check(0.0, "0.0000");
        check(123456.7, "123457");
    }
}
