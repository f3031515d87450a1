//! `config.json` as Python writes it: top-level entries found in its text, without a strict parser.
//!
//! Python's `json` writes `NaN` and `Infinity`, editors add a byte order mark. What must come back byte for byte is
//! never parsed and written anew.

use std::ops::Range;

use nwc_format::{insert_quantization_text, remove_quantization_text};
use serde_json::{Map, Value};

/// Where a config says how its weights are stored.
const KEY: &str = "quantization_config";

/// A configuration with our entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked<'a> {
    /// What loaders read.
    pub(crate) bytes: Vec<u8>,
    /// The original, where [`unmarked`] would not give it back.
    pub(crate) original: Option<&'a [u8]>,
}

/// Sets our entry in a configuration, where its text can be understood and no other method has the place.
pub(crate) fn marked(original: &[u8]) -> Marked<'_> {
    let text = std::str::from_utf8(original).ok();
    let inserted = text.and_then(|text| {
        insert_quantization_text(text, &Map::new())
            .ok()
            .or_else(|| insert_into_python(text))
    });
    let bytes = inserted.map_or_else(|| original.to_vec(), String::into_bytes);
    let original = (unmarked(&bytes) != original).then_some(original);
    Marked { bytes, original }
}

/// Takes our entry out of a configuration; without one, `bytes` themselves.
pub(crate) fn unmarked(bytes: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return bytes.to_vec();
    };
    if let Ok(removed) = remove_quantization_text(text) {
        return removed.into_bytes();
    }
    let is_ours = value_of(text, KEY).is_some_and(|v| v.get("quant_method") == Some(&"nwc".into()));
    match is_ours.then(|| without_entry(text, KEY)).flatten() {
        Some(removed) => removed.into_bytes(),
        None => bytes.to_vec(),
    }
}

/// Our entry as the last one of a text that is JSON only to Python.
fn insert_into_python(text: &str) -> Option<String> {
    let entries = entries(text)?;
    let last = entries.last()?;
    if entries.iter().any(|entry| entry.key == KEY) {
        return None;
    }
    // The entry as it is spelled in a config that has nothing else.
    let alone = insert_quantization_text("{}", &Map::new()).ok()?;
    let entry = alone.strip_prefix('{')?.strip_suffix('}')?;
    let (before, after) = text.split_at_checked(last.whole.end)?;
    Some(format!("{before},{entry}{after}"))
}

/// One entry of the outermost object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// From the key's first quote to the end of the value.
    pub(crate) whole: Range<usize>,
    /// The value.
    pub(crate) value: Range<usize>,
}

/// The entries of the object that `text` is, in their order; `None` where it is no object as JSON or Python has it.
pub(crate) fn entries(text: &str) -> Option<Vec<Entry>> {
    let mut scanner = Scanner {
        text: text.as_bytes(),
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
    };
    let entries = scanner.object(text)?;
    scanner.blanks();
    (scanner.at == text.len()).then_some(entries)
}

/// The value of a top-level key, `NaN` and infinities in it read as null.
///
/// `None` where there is no such key, or the text cannot be understood.
pub(crate) fn value_of(text: &str, key: &str) -> Option<Value> {
    let entries = entries(text)?;
    let entry = entries.iter().rev().find(|entry| entry.key == key)?;
    let value = text.get(entry.value.clone())?;
    serde_json::from_str(value)
        .or_else(|_| serde_json::from_str(&without_specials(value)))
        .ok()
}

/// `text` without a top-level entry and the comma that goes with it, every other byte as it was; `None` where there is
/// no such entry.
pub(crate) fn without_entry(text: &str, key: &str) -> Option<String> {
    let entries = entries(text)?;
    let idx = entries.iter().position(|entry| entry.key == key)?;
    let cut = match (
        idx.checked_sub(1).and_then(|i| entries.get(i)),
        entries.get(idx + 1),
    ) {
        // With the comma before it, else with that after it.
        (Some(before), _) => before.whole.end..entries[idx].whole.end,
        (None, Some(after)) => entries[idx].whole.start..after.whole.start,
        (None, None) => entries[idx].whole.clone(),
    };
    Some(format!(
        "{}{}",
        text.get(..cut.start)?,
        text.get(cut.end..)?
    ))
}

/// `NaN`, `Infinity` and `-Infinity` outside strings as `null`.
fn without_specials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut is_escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !in_string {
            let special = ["-Infinity", "Infinity", "NaN"]
                .into_iter()
                .find(|s| rest.starts_with(s));
            if let Some(special) = special {
                out.push_str("null");
                rest = rest.get(special.len()..).unwrap_or_default();
                continue;
            }
        }
        match c {
            '"' if !is_escaped => in_string = !in_string,
            _ => {}
        }
        is_escaped = in_string && c == '\\' && !is_escaped;
        out.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    out
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn object(&mut self, text: &str) -> Option<Vec<Entry>> {
        self.blanks();
        self.take(b'{')?;
        self.blanks();
        let mut entries = Vec::new();
        if self.take(b'}').is_some() {
            return Some(entries);
        }
        loop {
            self.blanks();
            let start = self.at;
            self.string()?;
            let key = serde_json::from_str(text.get(start..self.at)?).ok()?;
            self.blanks();
            self.take(b':')?;
            self.blanks();
            let value_start = self.at;
            self.value()?;
            entries.push(Entry {
                key,
                whole: start..self.at,
                value: value_start..self.at,
            });
            self.blanks();
            if self.take(b'}').is_some() {
                return Some(entries);
            }
            self.take(b',')?;
        }
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    /// Skips a value: brackets are counted, not understood; what is in them is a reader's concern.
    fn value(&mut self) -> Option<()> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b'}' | b']' if depth == 0 => break,
                b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => break,
                _ => self.at += 1,
            }
            if depth == 0 && matches!(self.text.get(start), Some(b'"' | b'{' | b'[')) {
                break;
            }
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_without(text: &str, expected: &str) {
        assert_eq!(
            without_entry(text, "q").as_deref(),
            Some(expected),
            "{text}"
        );
    }

    #[test]
    fn an_entry_comes_out_and_nothing_else_changes() {
        check_without(
            "{\n  \"a\": 1e-05,\n  \"q\": {\"x\": [1, \"}\"]},\n  \"b\": NaN\n}\n",
            "{\n  \"a\": 1e-05,\n  \"b\": NaN\n}\n",
        );
        check_without("{\"q\": null, \"a\": -Infinity}", "{\"a\": -Infinity}");
        check_without("{ \"q\" : \"\\\"q\\\": 1\" }", "{  }");
        check_without(
            "\u{feff}{\"a\": [Infinity],\"q\":3}\r\n",
            "\u{feff}{\"a\": [Infinity]}\r\n",
        );
        for without in [
            "{}",
            "{\"a\": {\"q\": 1}}",
            "{\"a\": \"q\"}",
            "[]",
            "{\"q\": 1",
            "{\"q\"}",
            "{\"q\": }",
            "",
            "{\"q\": \"\\",
        ] {
            assert_eq!(without_entry(without, "q"), None, "{without}");
        }
    }

    #[track_caller]
    fn check_marked(text: &[u8], needs_original: bool) {
        let marked = marked(text);
        assert_eq!(marked.original.is_some(), needs_original);
        if !needs_original {
            assert_eq!(unmarked(&marked.bytes), text);
        }
    }

    #[test]
    fn every_config_comes_back() {
        check_marked(b"{\n  \"a\": 1e-05\n}\n", false);
        check_marked(b"{\n  \"a\": [Infinity],\n  \"b\": NaN\n}\n", false);
        check_marked(b"{\"quantization_config\": null, \"z\": 1.0E+2}", true);
        check_marked(
            b"{\"quantization_config\": {\"quant_method\": \"fp8\"}}",
            false,
        );
        check_marked(b"\xef\xbb\xbf{\"a\": 1}", false);
        check_marked(b"{\"a\": \"gr\xf6\xdfe\"}", false);
        check_marked(b"no JSON", false);
        check_marked(b"", false);
        check_marked(b"{\"a\": NaN, \"quantization_config\": null}", false);
        let text = String::from_utf8(marked(b"{\"a\": NaN}").bytes).unwrap();
        assert!(text.contains("\"quant_method\":\"nwc\""), "{text}");
        assert_eq!(entries(&text).unwrap().len(), 2, "{text}");
    }

    #[test]
    fn values_with_numbers_that_json_has_not() {
        let text = "{\"a\": 1, \"q\": {\"limits\": [0.0, Infinity, -Infinity], \"s\": \"NaN \\\" NaN\", \"n\": NaN}}";
        assert_eq!(
            value_of(text, "q"),
            Some(serde_json::json!({"limits": [0.0, null, null], "s": "NaN \" NaN", "n": null}))
        );
        assert_eq!(value_of(text, "a"), Some(1.into()));
        assert_eq!(value_of(text, "limits"), None);
        assert_eq!(value_of("nonsense", "q"), None);
    }
}
