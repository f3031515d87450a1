//! The linear weights of a checkpoint as matrices: what codecs are trained on.

use std::io::Write;
use std::path::Path;

use nwc_chunk::ndarray::Array2;
use nwc_chunk::{normalize_rows_in_place, row_scales};

use nwc_format::Digest;
use tempfile::NamedTempFile;

use crate::options::{Embeddings, NonFinite};
use crate::plan::{Plan, Role};
use crate::source::Source;
use crate::{Error, Result};

/// Calls `each` with name and weights, `[out, in]`, of every linear of the plain checkpoint in `dir` that
/// compression would code, embeddings and head left out; with `normalized`, rows are divided by their scales.
///
/// # Errors
/// [`Error`] names file and tensor; whatever `each` returns ends the walk.
pub fn for_each_linear(
    dir: &Path,
    normalized: bool,
    mut each: impl FnMut(&str, Array2<f32>) -> Result<()>,
) -> Result<()> {
    let source = Source::open(dir)?;
    let plan = Plan::new(&source, Embeddings::Keep, NonFinite::Refuse)?;
    for (planned, role, rows, cols) in plan.coded() {
        if role != Role::Linear {
            continue;
        }
        let name = &planned.tensor.name;
        let wrong = |e: nwc_chunk::Error| Error::tensor(planned.shard.path(), name, e);
        let mut weights = planned.matrix(rows, cols)?;
        if normalized {
            let scales = row_scales(weights.view());
            normalize_rows_in_place(weights.view_mut(), scales.view()).map_err(wrong)?;
        }
        each(name, weights)?;
    }
    Ok(())
}

/// The digest by which files name a text or another input: BLAKE3, in hex.
pub fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// A temporary file in `dir` that has, once it is renamed, the mode that new files have.
pub(crate) fn temp_file_in(dir: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nwc-partial-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Less what the user's umask takes away.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(dir)
}

/// Writes a file whole: beside its place first, then under its name; an existing one is replaced.
///
/// # Errors
/// [`Error::Io`] names the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut file = temp_file_in(parent)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| Error::io("write", path, e))
}
