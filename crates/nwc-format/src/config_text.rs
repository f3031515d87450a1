//! Our entry in the text of a `config.json`, so that taking it out again gives back the original bytes.
//!
//! Going through a JSON value would respell numbers (`1e-05` as `1e-5`) and indentation, and a decompressed folder
//! could no longer be compared with the original by digest.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{insert_quantization_config, remove_quantization_config};
use crate::layout::CONFIG_KEY;
use crate::{Error, Result};

/// The text of a config with our entry added as its last key, every other byte as it was.
///
/// Where the key is there already (as `null`, or an entry of ours), the whole text is written anew with two blanks of
/// indentation.
///
/// # Errors
/// [`Error::Json`] where `text` is no JSON; else as [`insert_quantization_config`].
pub fn insert_quantization_text(text: &str, extra: &Map<String, Value>) -> Result<String> {
    let original = parse(text)?;
    let mut changed = original.clone();
    insert_quantization_config(&mut changed, extra)?;
    let entry = changed.get(CONFIG_KEY).unwrap_or(&Value::Null);
    if original.get(CONFIG_KEY).is_some() {
        return to_text(&changed);
    }
    // `text` is an object: the last brace closes it, and only white space follows.
    let Some((before, after)) = text.rfind('}').and_then(|end| text.split_at_checked(end)) else {
        return to_text(&changed);
    };
    let head = before.trim_end();
    let space = before.get(head.len()..).unwrap_or("");
    let comma = if original.as_object().is_some_and(Map::is_empty) {
        ""
    } else {
        ","
    };
    Ok(format!(
        "{head}{comma}{}{entry}{space}{after}",
        start_of_entry()
    ))
}

/// The text of a config without our entry. What [`insert_quantization_text`] added comes out without a trace; an entry
/// that another tool wrote or moved comes out too, with the text written anew. Without an entry of ours, `text` itself.
///
/// # Errors
/// [`Error::Json`] where `text` is no JSON; [`Error::Argument`] where it is no object.
pub fn remove_quantization_text(text: &str) -> Result<String> {
    let mut changed = parse(text)?;
    if remove_quantization_config(&mut changed)?.is_none() {
        return Ok(text.to_owned());
    }
    match cut_entry(text) {
        Some(cut) if parse(&cut).is_ok_and(|value| value == changed) => Ok(cut),
        _ => to_text(&changed),
    }
}

/// Undoes the insertion; `None` where the entry is not as we write it.
fn cut_entry(text: &str) -> Option<String> {
    let start = text.rfind(&start_of_entry())?;
    let (head, entry) = text.split_at_checked(start)?;
    let entry = entry.strip_prefix(&start_of_entry())?;
    let mut values = serde_json::Deserializer::from_str(entry).into_iter::<Value>();
    values.next()?.ok()?;
    let rest = entry.get(values.byte_offset()..)?;
    Some(format!("{}{rest}", head.strip_suffix(',').unwrap_or(head)))
}

/// Starts with a newline, which no JSON string holds unescaped: found again, it is not inside a string.
fn start_of_entry() -> String {
    format!("\n  \"{CONFIG_KEY}\": ")
}

fn parse(text: &str) -> Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Value::deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|source| Error::Json {
            what: "the model's config".into(),
            source,
        })
}

fn to_text(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|source| Error::Json {
            what: "the model's config".into(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantization_version;

    fn extra() -> Map<String, Value> {
        Map::from_iter([(
            "note".to_owned(),
            Value::from("},\n  \"quantization_config\": "),
        )])
    }

    #[track_caller]
    fn check_restored(text: &str) {
        let changed = insert_quantization_text(text, &extra()).unwrap();
        assert_eq!(
            quantization_version(&parse(&changed).unwrap()).unwrap(),
            Some(1),
            "{changed}"
        );
        assert_eq!(remove_quantization_text(&changed).unwrap(), text);
    }

    #[test]
    fn original_bytes_come_back() {
        check_restored("{\n  \"eps\": 1e-05,\n  \"a\": [1, 2]\n}\n");
        check_restored("{\"a\":{\"b\":1}}");
        check_restored("{}");
        check_restored(" { \r\n } \t\n");
        check_restored("{\n    \"quantization_config_2\": 1.00 ,\n    \"}\": \"}\"\n}");
        check_restored("{\n  \"x\": {\n  \"quantization_config\": {\"quant_method\": \"nwc\"}}\n}");
    }

    #[test]
    fn entry_reads_well() {
        assert_eq!(
            insert_quantization_text("{\n  \"a\": 1\n}\n", &Map::new()).unwrap(),
            "{\n  \"a\": 1,\n  \"quantization_config\": {\"quant_method\":\"nwc\",\"version\":1}\n}\n"
        );
    }

    #[test]
    fn entries_moved_or_replaced_still_come_out() {
        let moved = r#"{"quantization_config":{"version":1,"quant_method":"nwc"},"a":1}"#;
        assert_eq!(
            remove_quantization_text(moved).unwrap(),
            "{\n  \"a\": 1\n}\n"
        );
        let twice = insert_quantization_text(moved, &Map::new()).unwrap();
        assert_eq!(
            remove_quantization_text(&twice).unwrap(),
            "{\n  \"a\": 1\n}\n"
        );
        for untouched in [r#"{"quantization_config":{"quant_method":"awq"}}"#, "{ }"] {
            assert_eq!(remove_quantization_text(untouched).unwrap(), untouched);
        }
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in ["", "{", "{} {}", "[]", "3"] {
            insert_quantization_text(text, &Map::new()).unwrap_err();
            remove_quantization_text(text).unwrap_err();
        }
    }
}
