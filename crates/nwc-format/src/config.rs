//! The `quantization_config` entry of a model's `config.json`, by which tools know how its weights are stored.
//!
//! The entry goes into the text and comes out of it; every other byte stays, so that a decompressed folder can be
//! compared with the original by digest.

use std::ops::Range;

use serde_json::Value;

use crate::layout::{CONFIG_KEY, QUANT_METHOD};
use crate::members::Object;
use crate::{Error, FORMAT_VERSION, Result};

/// The key of our entry that holds what stood in its place.
const REPLACES_KEY: &str = "replaces";
/// Where models of text and images say how their language model is made.
const TEXT_CONFIG_KEY: &str = "text_config";

/// What our entry says besides method and version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuantizationEntry {
    /// 8, 4 or 2, of [`QuantizationEntry::hub_bits`].
    pub bits: u8,
    /// More, for people, in this order.
    pub extra: Vec<(String, Value)>,
}

impl QuantizationEntry {
    /// The largest of 8, 4 and 2 that is not above the payload bits a weight, and 2 below that: a model hub counts
    /// 8 / bits parameters for a byte of a U8 tensor, and caps at that what `total_parameters` says.
    pub fn hub_bits(payload_bits_per_weight: f64) -> u8 {
        match payload_bits_per_weight {
            bits if bits >= 8.0 => 8,
            bits if bits >= 4.0 => 4,
            _ => 2,
        }
    }

    fn to_json(&self, replaced: Option<&str>) -> Result<String> {
        let mut json = format!(
            r#"{{"quant_method":"{QUANT_METHOD}","version":{FORMAT_VERSION},"bits":{}"#,
            self.bits
        );
        for (idx, (key, value)) in self.extra.iter().enumerate() {
            let before = &self.extra[..idx];
            let is_taken = ["quant_method", "version", "bits", REPLACES_KEY]
                .contains(&key.as_str())
                || before.iter().any(|(other, _)| other == key);
            if is_taken {
                return Err(Error::argument(
                    format!("key of `{CONFIG_KEY}`"),
                    format!("`{key}`"),
                    "any but `quant_method`, `version`, `bits`, `replaces` and those before it",
                ));
            }
            json += &format!(",{}:{value}", Value::from(key.as_str()));
        }
        if let Some(replaced) = replaced {
            json += &format!(",\"{REPLACES_KEY}\":{replaced}");
        }
        Ok(json + "}")
    }
}

/// The text of a `config.json` with our entry: as its last member, or in the place of an entry that is there, which it
/// keeps under `replaces`. An entry of ours is taken out first.
///
/// # Errors
/// [`Error::Argument`] where `text` is no JSON object, has the key twice, or where a key of `entry` is taken. `NaN`,
/// `Infinity` and a byte-order mark are let through as they are.
pub fn insert_quantization_text(text: &str, entry: &QuantizationEntry) -> Result<String> {
    let text = remove_quantization_text(text)?;
    let config = parse(&text)?;
    Ok(match place(&config)? {
        Some(idx) => {
            let value = config.members[idx].value.clone();
            let replaced = text.get(value.clone());
            replace(&text, value, &entry.to_json(replaced)?)
        }
        None => {
            let entry = entry.to_json(None)?;
            let (end, comma) = match config.members.last() {
                Some(last) => (last.value.end, ","),
                None => (config.open, ""),
            };
            replace(
                &text,
                end..end,
                &format!("{comma}{}{entry}", start_of_entry()),
            )
        }
    })
}

/// The text of a config without our entry: what [`insert_quantization_text`] was given, byte for byte. An entry that
/// another tool moved comes out too. Without an entry of ours, `text` itself.
///
/// # Errors
/// [`Error::Argument`] where `text` is no JSON object or has the key twice.
pub fn remove_quantization_text(text: &str) -> Result<String> {
    let config = parse(text)?;
    let Some(idx) = place(&config)? else {
        return Ok(text.to_owned());
    };
    let member = &config.members[idx];
    let value = text.get(member.value.clone()).unwrap_or("");
    let Some(entry) = ours(value)? else {
        return Ok(text.to_owned());
    };
    if let Some(idx) = entry.member(REPLACES_KEY).map_err(wrong)? {
        let replaced = value.get(entry.members[idx].value.clone());
        return Ok(replace(text, member.value.clone(), replaced.unwrap_or("")));
    }
    Ok(replace(text, whole_member(&config, idx), ""))
}

/// The text of a config without its entry, whoever wrote it, and the entry's value as it stood: for a model whose
/// weights are plain from now on. An entry of ours is taken out first.
///
/// Where the config itself has none, the one of its `text_config` is taken, which models of text and images have.
///
/// # Errors
/// [`Error::Argument`] where `text` is no JSON object or has a key twice.
pub fn take_quantization_text(text: &str) -> Result<(String, Option<String>)> {
    let text = remove_quantization_text(text)?;
    let config = parse(&text)?;
    if let Some(idx) = place(&config)? {
        let value = text.get(config.members[idx].value.clone()).unwrap_or("");
        let taken = value.to_owned();
        return Ok((replace(&text, whole_member(&config, idx), ""), Some(taken)));
    }
    if let Some(idx) = config.member(TEXT_CONFIG_KEY).map_err(wrong)? {
        let place = config.members[idx].value.clone();
        let inner = text.get(place.clone()).unwrap_or("");
        // A value that is no object has no entry.
        if let Ok(object) = Object::parse(inner)
            && let Some(idx) = self::place(&object)?
        {
            let taken = inner.get(object.members[idx].value.clone()).unwrap_or("");
            let without = replace(inner, whole_member(&object, idx), "");
            let taken = taken.to_owned();
            return Ok((replace(&text, place, &without), Some(taken)));
        }
    }
    Ok((text, None))
}

/// What to cut for a member to be gone, with one of the commas beside it.
fn whole_member(object: &Object, idx: usize) -> Range<usize> {
    let member = &object.members[idx];
    let before = idx.checked_sub(1).and_then(|idx| object.members.get(idx));
    match (before, object.members.get(idx + 1)) {
        (Some(before), _) => before.value.end..member.value.end,
        (None, Some(after)) => member.start..after.start,
        (None, None) => object.open..member.value.end,
    }
}

/// The object that `value` is, where it is an entry of ours.
fn ours(value: &str) -> Result<Option<Object>> {
    // An entry that is no object is somebody else's.
    let Ok(entry) = Object::parse(value) else {
        return Ok(None);
    };
    let method = entry.member("quant_method").map_err(wrong)?;
    let method = method.and_then(|idx| value.get(entry.members[idx].value.clone()));
    let is_ours = method.is_some_and(|method| {
        serde_json::from_str::<String>(method).is_ok_and(|method| method == QUANT_METHOD)
    });
    Ok(is_ours.then_some(entry))
}

fn parse(text: &str) -> Result<Object> {
    Object::parse(text).map_err(wrong)
}

fn place(config: &Object) -> Result<Option<usize>> {
    config.member(CONFIG_KEY).map_err(wrong)
}

fn wrong(found: &'static str) -> Error {
    Error::argument(
        "the model's config",
        found,
        "a JSON object with each key once",
    )
}

fn start_of_entry() -> String {
    format!("\n  \"{CONFIG_KEY}\": ")
}

fn replace(text: &str, place: Range<usize>, with: &str) -> String {
    let mut text = text.to_owned();
    text.replace_range(place, with);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entry() -> QuantizationEntry {
        QuantizationEntry {
            bits: 4,
            extra: vec![("note".to_owned(), json!("},\n  \"quantization_config\": "))],
        }
    }

    #[track_caller]
    fn check_restored(text: &str) {
        let changed = insert_quantization_text(text, &entry()).unwrap();
        assert!(changed.contains(r#""quant_method":"nwc""#), "{changed}");
        assert_eq!(remove_quantization_text(&changed).unwrap(), text);
        // Twice is once.
        assert_eq!(
            insert_quantization_text(&changed, &entry()).unwrap(),
            changed
        );
    }

    #[test]
    fn original_bytes_come_back() {
        check_restored("{\n  \"eps\": 1e-05,\n  \"a\": [1, 2]\n}\n");
        check_restored("{\"a\":{\"b\":1}}");
        check_restored("{}");
        check_restored(" { \r\n } \t\n");
        check_restored("{\n    \"quantization_config_2\": 1.00 ,\n    \"}\": \"}\\\"\"\n}");
        check_restored("{\n  \"x\": {\n  \"quantization_config\": {\"quant_method\": \"nwc\"}}\n}");
        // As Python and some editors write.
        check_restored("\u{feff}{\"a\": [NaN, -Infinity], \"b\": Infinity}\n");
        // What stood there comes back, whoever wrote it.
        check_restored("{\"quantization_config\": null, \"a\": 1}");
        check_restored(
            "{\"a\": 1, \"quantization_config\": {\n  \"quant_method\": \"fp8\", \"x\": NaN } }",
        );
        check_restored("{\"quantization_config\": []}");
    }

    #[test]
    fn entry_reads_well() {
        let insert = |text| {
            let entry = QuantizationEntry {
                bits: QuantizationEntry::hub_bits(3.7),
                extra: vec![("bpw_total".into(), json!(3.5)), ("a".into(), json!([]))],
            };
            insert_quantization_text(text, &entry).unwrap()
        };
        assert_eq!(
            insert("{\n  \"a\": 1\n}\n"),
            "{\n  \"a\": 1,\n  \"quantization_config\": \
             {\"quant_method\":\"nwc\",\"version\":2,\"bits\":2,\"bpw_total\":3.5,\"a\":[]}\n}\n"
        );
        assert_eq!(
            insert("{\"quantization_config\": {\"quant_method\": \"fp8\"}}"),
            "{\"quantization_config\": {\"quant_method\":\"nwc\",\"version\":2,\"bits\":2,\
             \"bpw_total\":3.5,\"a\":[],\"replaces\":{\"quant_method\": \"fp8\"}}}"
        );
    }

    #[test]
    fn bits_are_those_a_hub_knows() {
        let bits = [9.0, 8.0, 7.9, 4.0, 3.99, 2.0, 1.2, f64::NAN].map(QuantizationEntry::hub_bits);
        assert_eq!(bits, [8, 8, 4, 4, 2, 2, 2, 2]);
    }

    #[test]
    fn entries_moved_still_come_out() {
        let check = |text: &str, expected: &str| {
            assert_eq!(remove_quantization_text(text).unwrap(), expected);
        };
        let ours = r#""quantization_config":{"version":1,"quant_method":"nwc"}"#;
        check(&format!("{{{ours},\"a\":1}}"), "{\"a\":1}");
        check(
            &format!("{{\"b\":2 , {ours},\"a\":1}}"),
            "{\"b\":2,\"a\":1}",
        );
        check(&format!("{{ {ours} }}"), "{ }");
        for untouched in [r#"{"quantization_config":{"quant_method":"awq"}}"#, "{ }"] {
            check(untouched, untouched);
        }
    }

    #[test]
    fn the_entry_of_another_tool_is_taken_out() {
        let check = |text: &str, expected: &str, taken: Option<&str>| {
            let found = take_quantization_text(text).unwrap();
            assert_eq!(found, (expected.to_owned(), taken.map(str::to_owned)));
            // As well with our entry in its place.
            let marked = insert_quantization_text(text, &entry()).unwrap();
            assert_eq!(take_quantization_text(&marked).unwrap(), found);
        };
        check(
            "{\n  \"a\": 1e-05,\n  \"quantization_config\": {\"x\": NaN},\n  \"b\": 2\n}\n",
            "{\n  \"a\": 1e-05,\n  \"b\": 2\n}\n",
            Some("{\"x\": NaN}"),
        );
        check("{\"quantization_config\": null}", "{}", Some("null"));
        check(
            "{\"text_config\": {\"quantization_config\": {\"bits\": 4}, \"a\": 1}}",
            "{\"text_config\": {\"a\": 1}}",
            Some("{\"bits\": 4}"),
        );
        for plain in [
            "{\"a\": 1}",
            "{\"text_config\": [1]}",
            "{\"text_config\": {}}",
        ] {
            check(plain, plain, None);
        }
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in [
            "",
            "{",
            "{} {}",
            "[]",
            "3",
            "{\"a\":}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":[}",
            "{\"a\" 1}",
            "{a:1}",
        ] {
            insert_quantization_text(text, &entry()).unwrap_err();
            remove_quantization_text(text).unwrap_err();
        }
        let error = |result: Result<String>| result.unwrap_err().to_string();
        assert_eq!(
            error(remove_quantization_text(
                r#"{"quantization_config":1,"quantization\u005fconfig":2}"#
            )),
            "the model's config is a key that is there twice, allowed is a JSON object with each key once"
        );
        for key in ["version", "note"] {
            let mut entry = entry();
            entry.extra.push((key.into(), json!(1)));
            assert_eq!(
                error(insert_quantization_text("{}", &entry)),
                format!(
                    "key of `quantization_config` is `{key}`, allowed is any but `quant_method`, `version`, `bits`, \
                     `replaces` and those before it"
                )
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "[{}\\[\\]\",:\\\\ nN1é\u{feff}]{0,24}") {
            let _ = remove_quantization_text(&text);
            if let Ok(changed) = insert_quantization_text(&text, &entry()) {
                prop_assert_eq!(remove_quantization_text(&changed).unwrap(), text);
            }
        }

        #[test]
        fn any_object_comes_back(members in prop::collection::btree_map("[a-z\"\\\\é]{0,4}", prop::num::f64::ANY, 0..4)) {
            let text = serde_json::to_string(&members).unwrap();
            let changed = insert_quantization_text(&text, &entry()).unwrap();
            let value: serde_json::Value = serde_json::from_str(&changed).unwrap();
            prop_assert_eq!(&value["quantization_config"]["version"], 2);
            prop_assert_eq!(remove_quantization_text(&changed).unwrap(), text);
        }
    }
}
