//! The files of a checkpoint folder that are no weights: tokenizer, configuration, licence.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nwc_format::{
    Digest, INDEX_FILE_NAME, QuantizationEntry, ShardMetadata, insert_quantization_text,
    remove_quantization_text,
};

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

/// Copies what belongs to the checkpoint from `dir` to `out`, but for the configuration, which
/// [`write_config`] writes; gives the digests of all.
pub(crate) fn into_compressed(
    dir: &Path,
    out: Option<&OutputDir>,
) -> Result<BTreeMap<String, Digest>> {
    let mut digests = BTreeMap::new();
    for name in carried_names(dir)? {
        let bytes = read(dir, &name)?;
        digests.insert(name.clone(), Digest::of(&bytes));
        if name == CONFIG_NAME {
            // What is wrong with it is said before anything is coded.
            with_entry(dir, bytes, 8)?;
        } else if let Some(out) = out {
            out.write(&name, &bytes)?;
        }
    }
    Ok(digests)
}

/// Copies the configuration, where there is one, with our entry.
pub(crate) fn write_config(dir: &Path, out: &OutputDir, bits: u8) -> Result<()> {
    if !dir.join(CONFIG_NAME).is_file() {
        return Ok(());
    }
    let text = with_entry(dir, read(dir, CONFIG_NAME)?, bits)?;
    out.write(CONFIG_NAME, text.as_bytes())
}

fn with_entry(dir: &Path, bytes: Vec<u8>, bits: u8) -> Result<String> {
    let entry = QuantizationEntry {
        bits,
        extra: Vec::new(),
    };
    insert_quantization_text(&text(dir, bytes)?, &entry)
        .map_err(|e| Error::container(&dir.join(CONFIG_NAME), e))
}

/// Copies what was carried along back from `dir` to `out`, digests checked, the quantisation entry removed.
pub(crate) fn into_plain(dir: &Path, metadata: &ShardMetadata, out: &OutputDir) -> Result<()> {
    for (name, digest) in &metadata.files {
        out.write(name, &read_checked(dir, name, digest, metadata.version)?)?;
    }
    Ok(())
}

/// Reads a carried file as it was in the original folder, and compares its digest; that of version 1 is of the
/// configuration with our entry.
pub(crate) fn read_checked(
    dir: &Path,
    name: &str,
    digest: &Digest,
    version: u32,
) -> Result<Vec<u8>> {
    let path = dir.join(name);
    // The name comes from a file's header: it must not lead out of the folder.
    if Path::new(name).file_name().is_none_or(|f| f != name) {
        return Err(Error::Header {
            path,
            detail: format!("{name} is not a plain file name"),
        });
    }
    let stored = read(dir, name)?;
    let mut bytes = stored.clone();
    if name == CONFIG_NAME {
        let wrong = |e| Error::container(&path, e);
        bytes = remove_quantization_text(&text(dir, bytes)?)
            .map_err(wrong)?
            .into_bytes();
    }
    let found = Digest::of(if version == 1 { &stored } else { &bytes });
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
