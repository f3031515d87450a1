//! The files of a checkpoint folder that are no weights, and all of its sub-folders: carried along bit for bit.

#[cfg(feature = "encode")]
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nwc_format::{Digest, DigestBuilder, ShardMetadata, remove_quantization_text};
#[cfg(feature = "encode")]
use nwc_format::{QuantizationEntry, insert_quantization_text};

use super::key::path_of;
use super::output::OutputDir;
#[cfg(feature = "encode")]
use super::output::write_file;
#[cfg(feature = "encode")]
use super::quantized::{is_of_quantizing, plain_config, quantization_of};
#[cfg(feature = "encode")]
use super::tree::Folder;
use super::weights::is_lfs_pointer;
use crate::card::{CARD_NAME, Original};
use crate::{Error, Result};

/// The model's configuration, the one file that changes.
pub(super) const CONFIG_NAME: &str = "config.json";
/// The key of our entry that says how opened weights were quantised.
#[cfg(feature = "encode")]
const OPENED_KEY: &str = "opened";
/// A configuration is a text that is read whole; a longer file of that name is carried as it is.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Uncompressed files that are mentioned, since they take room.
#[cfg(feature = "encode")]
const MENTIONED_BYTES: u64 = 64 << 20;

/// Copies what is no weight from `folder` to `out`, but for the configuration, which [`write_config`] writes; gives the
/// digests of all by their keys. Without `out` they are only read.
///
/// With `is_opened`, quantised weights are opened: files that describe how they were quantised are left out.
#[cfg(feature = "encode")]
pub(crate) fn into_compressed(
    folder: &Folder,
    is_opened: bool,
    out: Option<&OutputDir>,
) -> Result<BTreeMap<String, Digest>> {
    let dir = &folder.dir;
    for note in &folder.notes {
        tracing::warn!(folder = %dir.display(), "{note}");
    }
    let is_weights = |name| {
        let source = folder.source.as_ref();
        source.is_some_and(|source| source.weights.has(name))
    };
    let mut digests = BTreeMap::new();
    for file in &folder.files {
        if file.is_at_top() && file.name().is_some_and(is_weights) {
            continue;
        }
        let from = dir.join(&file.path);
        if file.key == CONFIG_NAME && file.n_bytes <= MAX_CONFIG_BYTES {
            let config = match is_opened {
                true => plain_config(read(&from)?).0,
                false => unmarked(read(&from)?),
            };
            digests.insert(CONFIG_NAME.into(), Digest::of(&config));
            continue;
        }
        if folder.source.as_ref().is_some_and(|s| s.before.is_some()) && is_card(&file.key, &from)?
        {
            // The card of a compressed folder is not of the model that was compressed.
            let original = match Original::of(&read(&from)?) {
                Original::Itself => read(&from)?,
                Original::Below(original) => original,
                Original::None => continue,
            };
            digests.insert(file.key.clone(), Digest::of(&original));
            if let Some(out) = out {
                out.write(&file.path, &original)?;
            }
            continue;
        }
        if is_opened && is_of_quantizing(&file.key) {
            tracing::warn!(file = %from.display(), "describes quantised weights and is left out");
            continue;
        }
        if file.n_bytes >= MENTIONED_BYTES {
            tracing::warn!(file = %from.display(), bytes = file.n_bytes, "carried along uncompressed");
        }
        let digest = copy(&from, out.map(|out| (out, file.path.as_path())))?;
        digests.insert(file.key.clone(), digest);
    }
    Ok(digests)
}

/// Copies the configuration, where there is one, with our entry; `bits` as in [`QuantizationEntry`].
///
/// With `is_opened`, the entry about quantising moves into ours, under `opened`.
#[cfg(feature = "encode")]
pub(crate) fn write_config(dir: &Path, out: &OutputDir, bits: u8, is_opened: bool) -> Result<()> {
    let from = dir.join(CONFIG_NAME);
    if !from.is_file() || len(&from)? > MAX_CONFIG_BYTES {
        return Ok(());
    }
    let mut original = unmarked(read(&from)?);
    let mut extra = Vec::new();
    if is_opened {
        original = plain_config(original).0;
        let opened = quantization_of(dir)?;
        extra.extend(opened.map(|entry| (OPENED_KEY.to_owned(), entry)));
    }
    let entry = QuantizationEntry { bits, extra };
    let marked = std::str::from_utf8(&original)
        .ok()
        .and_then(|text| insert_quantization_text(text, &entry).ok());
    match marked {
        Some(marked) => out.write(CONFIG_NAME, marked.as_bytes()),
        None => {
            tracing::warn!(file = %from.display(), "is no JSON object and is carried along as it is");
            out.write(CONFIG_NAME, &original)
        }
    }
}

/// A configuration without our entry; without one, `bytes` themselves.
fn unmarked(bytes: Vec<u8>) -> Vec<u8> {
    let removed = std::str::from_utf8(&bytes)
        .ok()
        .map(remove_quantization_text);
    match removed {
        Some(Ok(text)) => text.into_bytes(),
        _ => bytes,
    }
}

/// Copies what was carried along back from `dir` to `out`, digests checked, our entry taken out of the configuration.
pub(crate) fn into_plain(dir: &Path, metadata: &ShardMetadata, out: &OutputDir) -> Result<()> {
    for (key, digest) in &metadata.files {
        let path = relative(dir, key)?;
        let from = dir.join(&path);
        if is_config(key, &from)? {
            let config = checked_config(&from, digest, metadata.version)?;
            out.write(&path, &config)?;
        } else if is_card(key, &from)? {
            out.write(&path, &checked_card(&from, digest)?)?;
        } else {
            compare(&from, copy(&from, Some((out, &path)))?, digest)?;
        }
    }
    Ok(())
}

/// Reads a carried file and compares its digest.
pub(crate) fn check(dir: &Path, key: &str, digest: &Digest, version: u32) -> Result<()> {
    let from = dir.join(relative(dir, key)?);
    if is_config(key, &from)? {
        checked_config(&from, digest, version).map(drop)
    } else if is_card(key, &from)? {
        checked_card(&from, digest).map(drop)
    } else {
        compare(&from, copy(&from, None)?, digest)
    }
}

/// Puts a model card above the one of the folder at `out`, where it has one.
#[cfg(feature = "encode")]
pub(crate) fn write_card(
    out: &OutputDir,
    card: impl FnOnce(Option<&[u8]>) -> Vec<u8>,
) -> Result<()> {
    let here = out.file(CARD_NAME);
    let original = match here.is_file() {
        true => Some(read(&here)?),
        false => None,
    };
    write_file(&here, &card(original.as_deref()))
}

fn is_card(key: &str, from: &Path) -> Result<bool> {
    Ok(key == CARD_NAME && len(from)? <= MAX_CONFIG_BYTES)
}

/// The card as it was in the original folder, without ours.
fn checked_card(from: &Path, digest: &Digest) -> Result<Vec<u8>> {
    let stored = read(from)?;
    if Digest::of(&stored) == *digest {
        return Ok(stored);
    }
    let original = match Original::of(&stored) {
        Original::Below(original) => original,
        Original::Itself | Original::None => stored,
    };
    compare(from, Digest::of(&original), digest)?;
    Ok(original)
}

fn is_config(key: &str, from: &Path) -> Result<bool> {
    Ok(key == CONFIG_NAME && len(from)? <= MAX_CONFIG_BYTES)
}

/// The configuration as it was in the original folder; the digest of version 1 is of the text with our entry.
fn checked_config(from: &Path, digest: &Digest, version: u32) -> Result<Vec<u8>> {
    let stored = read(from)?;
    let stored_digest = Digest::of(&stored);
    let config = unmarked(stored);
    let found = match version {
        1 => stored_digest,
        _ => Digest::of(&config),
    };
    compare(from, found, digest)?;
    Ok(config)
}

/// The path of a key, which comes from a file's header: it must not lead out of the folder.
pub(crate) fn relative(dir: &Path, key: &str) -> Result<PathBuf> {
    path_of(key).ok_or_else(|| Error::Header {
        path: dir.into(),
        detail: format!("the table lists {key}, which is no path below the folder"),
    })
}

fn compare(path: &Path, found: Digest, expected: &Digest) -> Result<()> {
    match found == *expected {
        true => Ok(()),
        false => Err(Error::FileDigest {
            path: path.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        }),
    }
}

/// Copies a file as a stream of any length; gives its digest. Without `to` it is only read.
fn copy(from: &Path, to: Option<(&OutputDir, &Path)>) -> Result<Digest> {
    const BUFFER_BYTES: usize = 1 << 20;
    let mut source = File::open(from).map_err(|e| Error::io("open", from, e))?;
    let mut target = to
        .map(|(out, path)| Ok::<_, Error>((out.create_file(path)?, out.shown(path))))
        .transpose()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hasher = DigestBuilder::new();
    let mut is_first = true;
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", from, e)),
        };
        let block = &buffer[..n];
        if is_first && is_lfs_pointer(block) {
            tracing::warn!(file = %from.display(), "is a Git LFS pointer, a text in place of the file; run git lfs pull");
        }
        is_first = false;
        hasher.update(block);
        if let Some((file, shown)) = &mut target {
            file.write_all(block)
                .map_err(|e| Error::io("write", shown, e))?;
        }
    }
    if let Some((file, shown)) = &target {
        file.sync_all().map_err(|e| Error::io("write", shown, e))?;
    }
    Ok(hasher.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io("read", path, e))
}

fn len(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
    Ok(metadata.len())
}
