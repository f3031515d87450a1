//! A report: what it holds as JSON, and a page of it that needs nothing but a browser.

mod html;
mod plot;
mod text;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use xtask::workspace;

/// A titled row of sections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) title: String,
    pub(crate) sections: Vec<Section>,
}

/// One part of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Section {
    Table(Table),
    Plot(Plot),
    Bars(Bars),
    Text(Text),
}

/// Named values beside each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bars {
    pub(crate) title: String,
    /// What the values are in.
    pub(crate) unit: String,
    pub(crate) bars: Vec<(String, f64)>,
    /// A sentence below the bars.
    pub(crate) note: Option<String>,
}

/// Paragraphs under a heading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) title: String,
    pub(crate) paragraphs: Vec<String>,
}

/// Rows of cells, each as long as `columns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// A sentence below the table.
    pub(crate) note: Option<String>,
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    /// A number and how many digits are shown after the point.
    Number {
        value: f64,
        digits: usize,
    },
    Text(String),
}

impl Cell {
    /// A number shown with `digits` digits after the point.
    pub(crate) fn number(value: f64, digits: usize) -> Self {
        Self::Number { value, digits }
    }

    /// As it is shown.
    fn shown(&self) -> String {
        match self {
            Self::Number { value, digits } => format!("{value:.digits$}"),
            Self::Text(text) => text.clone(),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// Series over two axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    /// A sentence below the plot.
    pub(crate) note: Option<String>,
}

/// What an axis shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) scale: Scale,
}

/// How values are laid along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scale {
    Linear,
    /// Only positive values are shown.
    Log,
}

/// Named points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) style: Style,
    /// (x, y), in the order in which a line joins them.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Style {
    /// Points joined by a line: something measured at several rates.
    Curve,
    /// Points alone: things measured that no line joins.
    Points,
    /// A thin line without points: a bound or another computed curve.
    Bound,
}

impl Report {
    /// Writes `report.json` and `report.html` into `dir`, which is made where it is not there.
    ///
    /// # Errors
    /// Where a file cannot be written or a plot cannot be drawn.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        self.write_json(dir, serde_json::to_value(self)?)
    }

    /// As [`Report::write`], with everything measured, unrounded, beside the sections in `report.json`.
    ///
    /// # Errors
    /// As [`Report::write`], and where `data` is nothing that JSON can hold.
    pub(crate) fn write_with(&self, data: &impl Serialize, dir: &Path) -> Result<()> {
        let mut json = serde_json::to_value(self)?;
        json["data"] = serde_json::to_value(data)?;
        self.write_json(dir, json)
    }

    fn write_json(&self, dir: &Path, json: serde_json::Value) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (name, text) in [
            ("report.json", serde_json::to_string_pretty(&json)? + "\n"),
            ("report.html", html::page(self)?),
        ] {
            let path = dir.join(name);
            workspace::write_whole(&path, &text)?;
            eprintln!("    wrote {}", path.display());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report with one section of each kind.
    pub(super) fn sample() -> Report {
        let axis = |label: &str, scale| Axis {
            label: label.into(),
            scale,
        };
        let curve = |name: &str, style, points: &[(f64, f64)]| Series {
            name: name.into(),
            style,
            points: points.to_vec(),
        };
        Report {
            title: "Rate <& distortion>".into(),
            sections: vec![
                Section::Text(Text {
                    title: "What".into(),
                    paragraphs: vec!["a < b".into()],
                }),
                Section::Table(Table {
                    title: "Figures".into(),
                    columns: vec!["codec".into(), "bits".into()],
                    rows: vec![vec!["ecsq".into(), Cell::number(3.0449, 2)]],
                    note: Some("note".into()),
                }),
                Section::Bars(Bars {
                    title: "Worth".into(),
                    unit: "bits".into(),
                    bars: vec![("a".into(), 0.25), ("b".into(), -0.05)],
                    note: None,
                }),
                Section::Plot(Plot {
                    title: "Curve".into(),
                    x: axis("bits a weight", Scale::Linear),
                    y: axis("nMSE", Scale::Log),
                    series: vec![
                        curve(
                            "codec",
                            Style::Curve,
                            &[(2.0, 0.1), (3.0, 0.02), (4.0, 0.005)],
                        ),
                        curve("others", Style::Points, &[(3.1, 0.03)]),
                        curve("bound", Style::Bound, &[(2.0, 0.0625), (4.0, 0.0039)]),
                    ],
                    note: None,
                }),
            ],
        }
    }

    #[test]
    fn json_gives_the_report_back() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert!(text.contains(r#""kind":"plot""#), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), sample());
    }

    #[test]
    fn data_stands_beside_the_sections() {
        let dir = tempfile::tempdir().unwrap();
        sample().write_with(&[3.0449], dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join("report.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["data"], serde_json::json!([3.0449]));
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), sample());
    }

    #[test]
    fn both_files_are_written() {
        let dir = tempfile::tempdir().unwrap();
        sample().write(&dir.path().join("deep/er")).unwrap();
        for name in ["report.json", "report.html"] {
            assert!(dir.path().join("deep/er").join(name).is_file());
        }
    }
}
