//! The text files beside this one: a model's tensors, a line each.

use nwc_tests::TestTensor;
use safetensors::Dtype;

/// What should become of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Code,
    /// Kept, for a reason with these words.
    Keep(String),
    /// Stored under another name.
    Tied(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) expected: Expected,
}

/// One model: its configuration, in the first line, and its tensors.
///
/// A line is `NAME SHAPE code`, `NAME SHAPE keep WORDS` or `NAME SHAPE tied OTHER`; a shape is `2x3`, or `-` for a single
/// number. `#` in a name stands for layers 0 and 1. Lines that begin with `//` are comments.
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) config: String,
    pub(crate) rows: Vec<Row>,
}

impl Table {
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        let (config, lines) = text.split_once('\n').unwrap();
        let json: serde_json::Value = serde_json::from_str(config).unwrap();
        let name = ["model_type", "_class_name"]
            .iter()
            .find_map(|key| json[key].as_str());
        let mut rows = Vec::new();
        for line in lines
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with("//"))
        {
            let layers = if line.contains('#') { 0..2 } else { 0..1 };
            rows.extend(layers.map(|layer: usize| row(&line.replace('#', &layer.to_string()))));
        }
        Self {
            name: name.unwrap().into(),
            config: config.into(),
            rows,
        }
    }

    /// Gaussian weights of those shapes; tied ones are the same.
    pub(crate) fn tensors(&self) -> Vec<TestTensor> {
        let seed_of = |name: &str| self.rows.iter().position(|row| row.name == name).unwrap();
        let tensor = |row: &Row| {
            let seed = match &row.expected {
                Expected::Tied(other) => seed_of(other),
                _ => seed_of(&row.name),
            };
            TestTensor::gaussian(&row.name, &row.shape, Dtype::BF16, seed as u64)
        };
        self.rows.iter().map(tensor).collect()
    }
}

#[track_caller]
fn row(line: &str) -> Row {
    let mut words = line.split_whitespace();
    let (name, shape) = (words.next().unwrap(), words.next().unwrap());
    let verb = words.next().unwrap_or_else(|| panic!("no verdict: {line}"));
    let rest = words.collect::<Vec<_>>().join(" ");
    Row {
        name: name.into(),
        shape: match shape {
            "-" => Vec::new(),
            sizes => sizes.split('x').map(|n| n.parse().unwrap()).collect(),
        },
        expected: match verb {
            "code" => Expected::Code,
            "keep" => Expected::Keep(rest),
            "tied" => Expected::Tied(rest),
            other => panic!("verdict {other}: {line}"),
        },
    }
}
