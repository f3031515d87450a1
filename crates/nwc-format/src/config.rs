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
