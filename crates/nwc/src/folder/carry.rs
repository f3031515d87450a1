//! The files of a checkpoint folder that are no weights, and all of its sub-folders: carried along bit for bit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nwc_format::{Digest, DigestBuilder};

use super::config;
use super::key::path_of;
use super::listing::Listing;
use super::output::OutputDir;
use super::weights::{WeightFiles, is_lfs_pointer};
use crate::{Error, Result};

/// The model's configuration, the one file that changes.
const CONFIG_NAME: &str = "config.json";
/// Where the configuration lies whose text our entry cannot be taken out of without a trace.
const CONFIG_ORIGINAL: &str = "config.json.nwc-original";
/// A configuration is a text that is read whole; a longer file of that name is carried as it is.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Uncompressed files that are mentioned, since they take room.
const MENTIONED_BYTES: u64 = 64 << 20;

/// Copies what is no weight from `dir` to `out`, sub-folders included, and sets our entry in the configuration; gives
/// the digests of the copies by their keys. Without `out` they are only read.
pub(crate) fn into_compressed(
    dir: &Path,
    weights: &WeightFiles,
    out: Option<&OutputDir>,
) -> Result<BTreeMap<String, Digest>> {
    let listing = Listing::of(dir, None)?;
    for note in weights.notes.iter().chain(&listing.left_out) {
        tracing::warn!(folder = %dir.display(), "{note}");
    }
    let mut digests = BTreeMap::new();
    for file in &listing.files {
        if file.is_at_top() && file.name().is_some_and(|name| weights.has(name)) {
            continue;
        }
        let from = dir.join(&file.path);
        if file.key == CONFIG_ORIGINAL {
            // Its place is taken: a folder that this crate unpacked half by hand.
            return Err(Error::Header {
                path: from,
                detail: "the name is kept for the original of config.json".into(),
            });
        }
        if file.key == CONFIG_NAME && file.n_bytes <= MAX_CONFIG_BYTES {
            let original = read(&from)?;
            let marked = config::marked(&original);
            if let Some(original) = marked.original {
                digests.insert(
                    CONFIG_ORIGINAL.into(),
                    put(out, CONFIG_ORIGINAL.as_ref(), original)?,
                );
            }
            digests.insert(CONFIG_NAME.into(), put(out, &file.path, &marked.bytes)?);
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

/// Copies what was carried along back from `dir` to `out`, digests checked, our entry taken out of the configuration.
pub(crate) fn into_plain(
    dir: &Path,
    digests: &BTreeMap<String, Digest>,
    out: &OutputDir,
) -> Result<()> {
    for (key, digest) in digests {
        let path = relative(dir, key)?;
        let from = dir.join(&path);
        match key.as_str() {
            CONFIG_NAME if digests.contains_key(CONFIG_ORIGINAL) => check(dir, key, digest)?,
            CONFIG_NAME if len(&from)? <= MAX_CONFIG_BYTES => {
                let bytes = read(&from)?;
                compare(&from, Digest::of(&bytes), digest)?;
                put(Some(out), &path, &config::unmarked(&bytes))?;
            }
            CONFIG_ORIGINAL => {
                let found = copy(&from, Some((out, CONFIG_NAME.as_ref())))?;
                compare(&from, found, digest)?;
            }
            _ => {
                let found = copy(&from, Some((out, &path)))?;
                compare(&from, found, digest)?;
            }
        }
    }
    Ok(())
}

/// Reads a carried file and compares its digest.
pub(crate) fn check(dir: &Path, key: &str, digest: &Digest) -> Result<()> {
    let from = dir.join(relative(dir, key)?);
    compare(&from, copy(&from, None)?, digest)
}

/// The path of a key, which comes from a file's header: it must not lead out of the folder.
fn relative(dir: &Path, key: &str) -> Result<PathBuf> {
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

fn put(out: Option<&OutputDir>, path: &Path, bytes: &[u8]) -> Result<Digest> {
    if let Some(out) = out {
        out.write(path, bytes)?;
    }
    Ok(Digest::of(bytes))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io("read", path, e))
}

fn len(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
    Ok(metadata.len())
}
