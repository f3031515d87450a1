//! The files of a checkpoint folder that are no weights: tokenizer, configuration, licence.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nwc_format::{Digest, INDEX_FILE_NAME, insert_quantization_text, remove_quantization_text};
use serde_json::Map;

use super::output::OutputDir;
use super::source::is_shard_name;
use crate::{Error, Result};

/// The model's configuration, the one file that changes.
pub(crate) const CONFIG_NAME: &str = "config.json";
/// A larger file is no tokenizer.
const MAX_CARRIED_BYTES: u64 = 256 << 20;
/// Weights in other containers: carrying them along would undo the compression.
const WEIGHT_SUFFIXES: [&str; 9] = [
    ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ckpt", ".tflite",
];

/// Copies what belongs to the checkpoint from `dir` to `out`, with the configuration's quantisation
/// entry set; gives the digests of the copies.
pub(crate) fn into_compressed(
    dir: &Path,
    out: Option<&OutputDir>,
) -> Result<BTreeMap<String, Digest>> {
    let mut digests = BTreeMap::new();
    for name in carried_names(dir)? {
        let mut bytes = read(dir, &name)?;
        if name == CONFIG_NAME {
            let wrong = |e| Error::container(&dir.join(&name), e);
            let text = insert_quantization_text(&text(dir, bytes)?, &Map::new()).map_err(wrong)?;
            bytes = text.into_bytes();
        }
        digests.insert(name.clone(), Digest::of(&bytes));
        if let Some(out) = out {
            out.write(&name, &bytes)?;
        }
    }
    Ok(digests)
}

/// Copies what was carried along back from `dir` to `out`, digests checked, the quantisation entry removed.
pub(crate) fn into_plain(
    dir: &Path,
    digests: &BTreeMap<String, Digest>,
    out: &OutputDir,
) -> Result<()> {
    for (name, digest) in digests {
        let mut bytes = read_checked(dir, name, digest)?;
        if name == CONFIG_NAME {
            let wrong = |e| Error::container(&dir.join(name), e);
            let text = remove_quantization_text(&text(dir, bytes)?).map_err(wrong)?;
            bytes = text.into_bytes();
        }
        out.write(name, &bytes)?;
    }
    Ok(())
}

/// Reads a carried file and compares its digest.
pub(crate) fn read_checked(dir: &Path, name: &str, digest: &Digest) -> Result<Vec<u8>> {
    let path = dir.join(name);
    // The name comes from a file's header: it must not lead out of the folder.
    if Path::new(name).file_name().is_none_or(|f| f != name) {
        return Err(Error::Header {
            path,
            detail: format!("{name} is not a plain file name"),
        });
    }
    let bytes = read(dir, name)?;
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(Error::FileDigest {
            path,
            found: found.to_string(),
            expected: digest.to_string(),
        });
    }
    Ok(bytes)
}

fn carried_names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("read the folder", dir, e))? {
        let entry = entry.map_err(|e| Error::io("read the folder", dir, e))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        let metadata = fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?;
        let is_weights = is_shard_name(&name)
            || name == INDEX_FILE_NAME
            || WEIGHT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
        if !metadata.is_file() || is_weights || name.starts_with('.') {
            continue;
        }
        if metadata.len() > MAX_CARRIED_BYTES {
            tracing::warn!(file = %path.display(), bytes = metadata.len(), "too large to carry along");
            continue;
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

fn read(dir: &Path, name: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    fs::read(&path).map_err(|e| Error::io("read", &path, e))
}

fn text(dir: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| Error::Header {
        path: dir.join(CONFIG_NAME),
        detail: format!("not UTF-8: {}", e.utf8_error()),
    })
}
