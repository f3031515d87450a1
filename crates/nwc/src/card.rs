//! The model card of a compressed folder, a `README.md` for model hubs, and the way back to the original one.
//!
//! The original card stands below ours. Its head, the YAML between `---`, would be shown as text there, so that it stands
//! in the marker between the two, spelled in hexadecimal.

#[cfg(feature = "encode")]
use std::fmt::Write as _;

#[cfg(feature = "encode")]
use crate::report::Inspection;

/// The file's name.
pub(crate) const CARD_NAME: &str = "README.md";
/// Begins the line between our card and the original one.
const BELOW: &[u8] = b"<!-- nwc: the original card is below, its head was ";
/// Ends that line.
const END: &[u8] = b" -->\n";
/// The last line of a card where there was no original one.
const NONE: &[u8] = b"<!-- nwc: there was no original card -->\n";
/// Entries of the original's head that are true of the compressed model, too.
#[cfg(feature = "encode")]
const KEPT: [&str; 7] = [
    "license",
    "license_name",
    "license_link",
    "language",
    "library_name",
    "pipeline_tag",
    "datasets",
];

/// What a `README.md` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Original {
    /// No card of ours.
    Itself,
    /// A card of ours above this one.
    Below(Vec<u8>),
    /// A card of ours alone.
    None,
}

impl Original {
    /// Finds the original card in the file's bytes.
    pub(crate) fn of(card: &[u8]) -> Self {
        let Some((start, line)) = lines(card)
            .find(|(_, line)| *line == NONE || (line.starts_with(BELOW) && line.ends_with(END)))
        else {
            return Self::Itself;
        };
        if line == NONE {
            return Self::None;
        }
        let head = line.get(BELOW.len()..line.len() - END.len());
        match head.and_then(from_hex) {
            Some(mut original) => {
                original.extend_from_slice(&card[start + line.len()..]);
                Self::Below(original)
            }
            None => Self::Itself,
        }
    }
}

/// Lines with their ends, and where they start.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    bytes.split_inclusive(|&b| b == b'\n').map(move |line| {
        start += line.len();
        (start - line.len(), line)
    })
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let pairs = text.chunks_exact(2);
    let is_whole = pairs.remainder().is_empty();
    let bytes = pairs.map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?));
    bytes.collect::<Option<_>>().filter(|_| is_whole)
}

/// The card of a compressed folder above its `original` one, where there was one.
///
/// `title` is what the model is called, `base` its id on a hub.
#[cfg(feature = "encode")]
pub(crate) fn write(
    title: &str,
    base: Option<&str>,
    inspection: &Inspection,
    original: Option<&[u8]>,
) -> Vec<u8> {
    let head = original.map_or(&b""[..], head_of);
    let mut text = String::from("---\n");
    if let Some(base) = base {
        _ = writeln!(text, "base_model: {base}\nbase_model_relation: quantized");
    }
    text.push_str(&kept_entries(head));
    text.push_str("tags:\n- nwc\n- quantized\n---\n");
    let name = base.unwrap_or(title);
    let totals = &inspection.totals;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    _ = writeln!(
        text,
        "# {title}, compressed\n{name} with its weights stored by `nwc` in {:.2} bits per parameter.\n\n| | |\n|---|---|",
        totals.bpw_total
    );
    _ = writeln!(text, "| parameters | {} |", totals.n_params);
    _ = writeln!(
        text,
        "| weights | {:.1} MB of {:.1} MB |",
        megabytes(totals.total_bytes),
        megabytes(totals.original_bytes)
    );
    if totals.n_coded > 0 {
        let bits = totals.bpw_payload_linear;
        _ = writeln!(text, "| bits per linear weight | {bits:.2} |");
        _ = writeln!(
            text,
            "| squared error over squared norm | {:.2e} |",
            totals.nmse
        );
    }
    for (key, value) in &inspection.provenance {
        // A digest means nothing to those who read a card.
        let value = if key == "statistics" { "yes" } else { value };
        _ = writeln!(text, "| {key} | {} |", value.replace(['|', '\n'], " "));
    }
    text.push_str(
        "\nTo get an ordinary checkpoint: `nwc-cli decompress FOLDER OUT`. \
         From Python, without unpacking to disk:\n\n```python\nimport nwc.transformers\nfrom transformers import AutoModel\n\n\
         model = AutoModel.from_pretrained(\"FOLDER\")\n```\n\n",
    );
    let mut card = text.into_bytes();
    match original {
        Some(original) => {
            card.extend_from_slice(BELOW);
            card.extend(
                head.iter()
                    .flat_map(|byte| format!("{byte:02x}").into_bytes()),
            );
            card.extend_from_slice(END);
            card.extend_from_slice(&original[head.len()..]);
        }
        None => card.extend_from_slice(NONE),
    }
    card
}

/// The head of a card with both of its `---` lines; empty where it has none.
#[cfg(feature = "encode")]
fn head_of(card: &[u8]) -> &[u8] {
    let is_rule = |line: &[u8]| line.trim_ascii_end() == b"---";
    let mut lines = lines(card);
    if !lines.next().is_some_and(|(_, line)| is_rule(line)) {
        return b"";
    }
    match lines.find(|(_, line)| is_rule(line)) {
        Some((start, line)) => &card[..start + line.len()],
        None => b"",
    }
}

/// The entries that are kept of a head, each with the lines that belong to it.
#[cfg(feature = "encode")]
fn kept_entries(head: &[u8]) -> String {
    let Ok(head) = std::str::from_utf8(head) else {
        return String::new();
    };
    let mut kept = String::new();
    let mut is_kept = false;
    for line in head.lines().skip(1).filter(|line| line.trim_end() != "---") {
        let is_inner = line.starts_with([' ', '-', '\t']);
        if !is_inner {
            is_kept = line
                .split_once(':')
                .is_some_and(|(key, _)| KEPT.contains(&key));
        }
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(original: Option<&[u8]>) -> Vec<u8> {
        let inspection = Inspection::joined([]);
        write("model", Some("org/model"), &inspection, original)
    }

    #[test]
    fn the_original_comes_back() {
        let originals: [&[u8]; 8] = [
            b"",
            b"# A model\nText without an end",
            b"---\nlicense: mit\n---\n# A model\n",
            b"---\r\nlicense: mit\r\n---\r\n# A model\r\n",
            b"---\nno end\n",
            b"---\n---",
            b"\xff\xfe---\n",
            b"---\nlicense: \xff\n---\nx",
        ];
        for original in originals {
            let card = card(Some(original));
            assert_eq!(Original::of(&card), Original::Below(original.into()));
            assert_eq!(Original::of(original), Original::Itself);
            // A card of a card.
            let twice = self::card(Some(&card));
            assert_eq!(Original::of(&twice), Original::Below(card));
        }
        assert_eq!(Original::of(&card(None)), Original::None);
    }

    #[test]
    fn what_is_true_still_is_kept() {
        let head = b"---\nlicense: mit\nlanguage:\n- en\n- de\nbase_model: other\ntags: [a]\npipeline_tag: x\n---\nbody\n";
        let text = String::from_utf8(card(Some(head))).unwrap();
        let expected = "---\nbase_model: org/model\nbase_model_relation: quantized\nlicense: mit\nlanguage:\n- en\n- de\n\
                        pipeline_tag: x\ntags:\n- nwc\n- quantized\n---\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("\nbody\n"), "{text}");
    }

    #[test]
    fn what_only_looks_like_a_marker_is_none() {
        for text in [
            "<!-- nwc: the original card is below, its head was 0g -->\n",
            "<!-- nwc: the original card is below, its head was 0 -->\n",
            " <!-- nwc: there was no original card -->\n",
        ] {
            assert_eq!(Original::of(text.as_bytes()), Original::Itself, "{text}");
        }
    }
}
