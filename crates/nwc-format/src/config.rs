//! The `quantization_config` entry of a model's `config.json`, by which tools know how its weights are stored.

use serde_json::{Map, Value, json};

use crate::layout::{CONFIG_KEY, QUANT_METHOD};
use crate::{Error, FORMAT_VERSION, Result};

/// Adds `"quantization_config": {"quant_method": "nwc", "version": 1, …}` at the end of a config; an entry of ours that
/// is there already is replaced in place. `extra` follows the two fixed keys.
///
/// # Errors
/// [`Error::Argument`] where `config` is no object, where it has an entry of another method, or where `extra` has a
/// fixed key.
pub fn insert_quantization_config(config: &mut Value, extra: &Map<String, Value>) -> Result<()> {
    let object = as_object(config)?;
    match object.get(CONFIG_KEY) {
        None | Some(Value::Null) => {}
        Some(entry) if is_ours(entry) => {}
        Some(entry) => {
            let method = entry.get("quant_method").unwrap_or(&Value::Null);
            return Err(Error::argument(
                format!("`{CONFIG_KEY}` of the config"),
                format!("that of method {method}"),
                format!("none, or that of \"{QUANT_METHOD}\""),
            ));
        }
    }
    let mut entry = Map::new();
    entry.insert("quant_method".into(), json!(QUANT_METHOD));
    entry.insert("version".into(), json!(FORMAT_VERSION));
    for (key, value) in extra {
        if entry.insert(key.clone(), value.clone()).is_some() {
            return Err(Error::argument(
                format!("key of `{CONFIG_KEY}`"),
                format!("`{key}`"),
                "any but `quant_method`, `version` and those before it",
            ));
        }
    }
    object.insert(CONFIG_KEY.into(), Value::Object(entry));
    Ok(())
}

/// Takes our entry out of a config and returns it; the other keys keep their order. `None` where there is none.
///
/// # Errors
/// [`Error::Argument`] where `config` is no object. An entry of another method is left alone.
pub fn remove_quantization_config(config: &mut Value) -> Result<Option<Value>> {
    let object = as_object(config)?;
    if object.get(CONFIG_KEY).is_some_and(is_ours) {
        Ok(object.shift_remove(CONFIG_KEY))
    } else {
        Ok(None)
    }
}

/// The version in our entry of a config; `None` where there is no entry of ours.
///
/// # Errors
/// [`Error::Version`] for a version that this build does not read; [`Error::Table`] where it is no number.
pub fn quantization_version(config: &Value) -> Result<Option<u32>> {
    let Some(entry) = config.get(CONFIG_KEY).filter(|entry| is_ours(entry)) else {
        return Ok(None);
    };
    let version = entry.get("version").unwrap_or(&Value::Null);
    match version.as_u64() {
        Some(found) if found == u64::from(FORMAT_VERSION) => Ok(Some(FORMAT_VERSION)),
        Some(found) => Err(Error::Version {
            found,
            supported: FORMAT_VERSION,
        }),
        None => Err(Error::Table {
            what: format!("`{CONFIG_KEY}.version`"),
            found: version.to_string(),
            expected: FORMAT_VERSION.to_string(),
        }),
    }
}

fn is_ours(entry: &Value) -> bool {
    entry.get("quant_method").and_then(Value::as_str) == Some(QUANT_METHOD)
}

fn as_object(config: &mut Value) -> Result<&mut Map<String, Value>> {
    let found = match config {
        Value::Object(object) => return Ok(object),
        Value::Array(_) => "an array",
        Value::Null => "null",
        _ => "a single value",
    };
    Err(Error::argument(
        "the model's config",
        found,
        "a JSON object",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"z":1,"architectures":["A"],"rope":{"theta":1e5}}"#;

    fn config() -> Value {
        serde_json::from_str(CONFIG).unwrap()
    }

    #[track_caller]
    fn check_error<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }

    #[test]
    fn entry_goes_in_and_out_and_keys_keep_their_order() {
        let mut changed = config();
        assert_eq!(quantization_version(&changed).unwrap(), None);
        let extra = Map::from_iter([("bpw_total".to_owned(), json!(3.5))]);
        insert_quantization_config(&mut changed, &extra).unwrap();
        let entry = r#","quantization_config":{"quant_method":"nwc","version":1,"bpw_total":3.5}}"#;
        let expected = config().to_string().strip_suffix('}').unwrap().to_owned() + entry;
        assert_eq!(changed.to_string(), expected);
        insert_quantization_config(&mut changed, &extra).unwrap();
        assert_eq!(changed.to_string(), expected);
        assert_eq!(quantization_version(&changed).unwrap(), Some(1));
        let removed = remove_quantization_config(&mut changed).unwrap().unwrap();
        assert_eq!(removed["bpw_total"], 3.5);
        assert_eq!(changed.to_string(), config().to_string());
        assert_eq!(remove_quantization_config(&mut changed).unwrap(), None);
    }

    #[test]
    fn other_methods_are_left_alone() {
        let mut other = json!({"quantization_config": {"quant_method": "gptq"}});
        check_error(
            insert_quantization_config(&mut other, &Map::new()),
            "`quantization_config` of the config is that of method \"gptq\", allowed is none, or that of \"nwc\"",
        );
        assert_eq!(remove_quantization_config(&mut other).unwrap(), None);
        assert_eq!(quantization_version(&other).unwrap(), None);
        let mut null = json!({"quantization_config": null});
        insert_quantization_config(&mut null, &Map::new()).unwrap();
        assert_eq!(quantization_version(&null).unwrap(), Some(1));
    }

    #[test]
    fn wrong_arguments_and_versions_are_named() {
        check_error(
            insert_quantization_config(&mut json!([]), &Map::new()),
            "the model's config is an array, allowed is a JSON object",
        );
        let extra = Map::from_iter([("version".to_owned(), json!(2))]);
        check_error(
            insert_quantization_config(&mut config(), &extra),
            "key of `quantization_config` is `version`, allowed is any but `quant_method`, `version` and those before it",
        );
        let with_version =
            |version| json!({"quantization_config": {"quant_method": "nwc", "version": version}});
        check_error(
            quantization_version(&with_version(json!(2))),
            "format version 2, this build reads version 1",
        );
        check_error(
            quantization_version(&with_version(json!("1"))),
            "`quantization_config.version` is \"1\", expected 1",
        );
    }
}
