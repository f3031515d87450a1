//! What a compressed checkpoint holds, from its headers alone.

use std::fs::File;
use std::path::Path;

use nwc_format::{INDEX_FILE_NAME, Limits, ShardHeader};

use super::below::{each_checkpoint, listed};
use super::compressed::header_error;
use crate::folder::compressed_files;
use crate::report::Inspection;
use crate::{Error, Result};

/// Lists what the compressed checkpoint in `dir` holds, from its headers alone; with it, what those in folders below hold
/// which it lists, each tensor's name behind its folder.
///
/// # Errors
/// [`Error`] where a header cannot be read.
pub fn inspect(dir: impl AsRef<Path>) -> Result<Inspection> {
    let mut folders = Vec::new();
    each_checkpoint(dir.as_ref(), |path| {
        let (inspection, below) = inspect_one(&dir.as_ref().join(path))?;
        folders.push((path.to_path_buf(), inspection));
        Ok(below)
    })?;
    let folders = folders
        .iter()
        .map(|(path, folder)| (path.as_path(), folder.clone()));
    Ok(Inspection::joined(folders))
}

/// What is in the folder itself, and what checkpoints it lists below.
fn inspect_one(dir: &Path) -> Result<(Inspection, Vec<String>)> {
    let (files, index) = compressed_files(dir)?;
    let mut headers = Vec::new();
    let mut total_bytes = 0;
    for file in &files {
        let (header, n_bytes) = read_header(&dir.join(file))?;
        headers.push(header);
        total_bytes += n_bytes;
    }
    if index.is_some() {
        let path = dir.join(INDEX_FILE_NAME);
        let metadata = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?;
        total_bytes += metadata.len();
    }
    headers.sort_by_key(|h| h.metadata().shard_idx);
    let shards = || headers.iter().map(ShardHeader::metadata);
    Ok((Inspection::new(shards(), total_bytes), listed(shards())))
}

/// The header of a shard and the length of its file.
fn read_header(path: &Path) -> Result<(ShardHeader, u64)> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
    let header = ShardHeader::read(file, metadata.len(), &Limits::default())
        .map_err(|e| header_error(path, e))?;
    Ok((header, metadata.len()))
}
