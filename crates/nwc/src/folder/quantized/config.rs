//! What a folder's configuration files say of quantising.

use std::path::Path;

use nwc_format::take_quantization_text;
use serde_json::Value;

use crate::{Error, Result};

/// Files beside `config.json` in which quantising tools put the entry, wholly about quantised weights.
const FILES: [&str; 3] = [
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
];

/// Whether a file of that name is about quantised weights only, and wrong beside opened ones.
pub(crate) fn is_of_quantizing(name: &str) -> bool {
    FILES.contains(&name)
}

/// A `config.json` for opened weights: without the entry about quantising, which is the second.
///
/// A text that is no JSON object stays as it is.
pub(crate) fn plain_config(bytes: Vec<u8>) -> (Vec<u8>, Option<Value>) {
    let taken = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| take_quantization_text(text).ok());
    match taken {
        Some((text, value)) => {
            let value = value.and_then(|value| serde_json::from_str(&value).ok());
            (text.into_bytes(), value)
        }
        None => (bytes, None),
    }
}

/// How the weights in `dir` are quantised: the entry of `config.json`, or else one of the files beside it.
///
/// # Errors
/// [`Error::Io`] where a file is there and cannot be read.
pub(crate) fn quantization_of(dir: &Path) -> Result<Option<Value>> {
    if let Some(bytes) = read(&dir.join("config.json"))?
        && let (_, Some(entry @ Value::Object(_))) = plain_config(bytes)
    {
        return Ok(Some(entry));
    }
    for name in FILES {
        let bytes = read(&dir.join(name))?;
        if let Some(entry) = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// The bytes of a file, where there is one of a configuration's length.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    const MAX_BYTES: u64 = 16 << 20;
    let is_there = path.is_file()
        && path
            .metadata()
            .map_err(|e| Error::io("read", path, e))?
            .len()
            <= MAX_BYTES;
    is_there
        .then(|| std::fs::read(path).map_err(|e| Error::io("read", path, e)))
        .transpose()
}
