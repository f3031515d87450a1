//! A folder and the checkpoints in it: its own, and those of folders below, as the parts of a pipeline are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::carry::CONFIG_NAME;
use super::key::key_of;
use super::listing::{ListedFile, Listing};
use super::source::{Source, SourceTensor, is_shard_name};
use super::weights::FOLDER_SHARD;
use crate::{Error, Result};

/// One folder of a [`tree`]: the weights in it and the files that go with them.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Where it is.
    pub(crate) dir: PathBuf,
    /// Relative to the root; empty for the root itself.
    pub(crate) path: PathBuf,
    /// Its checkpoint; none where it only holds folders that have one.
    pub(crate) source: Option<Source>,
    /// Whether its weights were quantised and are opened.
    pub(crate) is_opened: bool,
    /// Its other files, those of folders below included that are no checkpoints.
    pub(crate) files: Vec<ListedFile>,
    /// Keys of the folders below that are checkpoints of their own, sorted.
    pub(crate) below: Vec<String>,
    /// What the user should hear of it.
    pub(crate) notes: Vec<String>,
}

impl Folder {
    /// The tensors of its checkpoint.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &SourceTensor> + Clone {
        let shards = self.source.iter().flat_map(|source| &source.shards);
        shards.flat_map(|shard| &shard.tensors)
    }

    /// Elements of all its tensors.
    pub(crate) fn n_elems(&self) -> usize {
        let lengths = self.tensors().map(SourceTensor::n_elems);
        lengths.fold(0, usize::saturating_add)
    }
}

/// Opens the checkpoint of a folder.
pub(crate) type Open<'o> = dyn Fn(&Path) -> Result<Source> + 'o;

/// Lists `root` with all that is below and opens every checkpoint in it with `open`: first that of `root`, then those of folders
/// that hold a configuration and safetensors weights (a pipeline's `unet`, a `2_Dense`).
///
/// # Errors
/// What `open` returns; where `root` has no weights itself, only if no folder below has any.
pub(crate) fn tree(root: &Path, open: &Open<'_>) -> Result<Vec<Folder>> {
    let Listing {
        mut files,
        left_out,
    } = Listing::of(root, None)?;
    // What stands for the folder itself in a compressed one; it is written anew.
    files.retain(|file| file.key != FOLDER_SHARD);
    let mut folders = Vec::new();
    add(root, PathBuf::new(), files, open, &mut folders)?;
    if let Some(first) = folders.first_mut() {
        first.notes.extend(left_out);
    }
    Ok(folders)
}

/// Adds the folder at `path` below `root`, which holds `files` with paths relative to it, and those below it.
fn add(
    root: &Path,
    path: PathBuf,
    files: Vec<ListedFile>,
    open: &Open<'_>,
    folders: &mut Vec<Folder>,
) -> Result<()> {
    let dir = root.join(&path);
    let mut below: Vec<(String, PathBuf)> = Vec::new();
    let mut notes = Vec::new();
    for candidate in candidates(&files) {
        if below.iter().any(|(_, above)| candidate.starts_with(above)) {
            continue;
        }
        match open(&dir.join(&candidate)) {
            Ok(_) => below.extend(key_of(&candidate).map(|key| (key, candidate))),
            Err(Error::AlreadyCompressed { .. }) => notes.push(format!(
                "{} is compressed already; it is carried along as it is",
                candidate.display()
            )),
            Err(e) => return Err(e),
        }
    }
    below.sort();
    let mut inside: Vec<Vec<ListedFile>> = below.iter().map(|_| Vec::new()).collect();
    let mut own = Vec::new();
    for file in files {
        let home = below.iter().zip(&mut inside).find_map(|((_, at), files)| {
            let path = file.path.strip_prefix(at).ok()?;
            Some((path.to_path_buf(), files))
        });
        match home {
            Some((path, files)) => files.extend(key_of(&path).map(|key| ListedFile {
                key,
                path,
                n_bytes: file.n_bytes,
            })),
            None => own.push(file),
        }
    }
    let source = match open(&dir) {
        Ok(source) => Some(source),
        // With a configuration it is a model whose weights are missing.
        Err(Error::NotACheckpoint { .. } | Error::OtherWeights { .. })
            if !below.is_empty() && !own.iter().any(|file| file.key == CONFIG_NAME) =>
        {
            None
        }
        Err(e) => return Err(e),
    };
    notes.extend(source.iter().flat_map(|s| s.weights.notes.iter().cloned()));
    folders.push(Folder {
        dir,
        path: path.clone(),
        source,
        is_opened: false,
        files: own,
        below: below.iter().map(|(key, _)| key.clone()).collect(),
        notes,
    });
    for ((_, at), mut files) in below.into_iter().zip(inside) {
        files.sort_by(|a, b| a.key.cmp(&b.key));
        add(root, path.join(at), files, open, folders)?;
    }
    Ok(())
}

/// Folders below that hold a configuration and a safetensors file, those above before those inside.
fn candidates(files: &[ListedFile]) -> BTreeSet<PathBuf> {
    let below = || files.iter().filter(|file| !file.is_at_top());
    let parent = |file: &ListedFile| file.path.parent().map(Path::to_path_buf);
    let configured: BTreeSet<PathBuf> = below()
        .filter(|file| file.name() == Some(CONFIG_NAME))
        .filter_map(parent)
        .collect();
    below()
        .filter(|file| file.name().is_some_and(is_shard_name))
        .filter_map(parent)
        .filter(|dir| configured.contains(dir))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(paths: &[&str]) -> Vec<ListedFile> {
        let file = |path: &&str| ListedFile {
            path: path.into(),
            key: (*path).into(),
            n_bytes: 0,
        };
        paths.iter().map(file).collect()
    }

    #[test]
    fn candidates_have_a_configuration_and_weights() {
        let files = listed(&[
            "config.json",
            "model.safetensors",
            "onnx/model.onnx",
            "onnx/config.json",
            "lora/adapter_model.safetensors",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/inner/config.json",
            "unet/inner/model.safetensors",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
        ]);
        let found: Vec<_> = candidates(&files).into_iter().collect();
        assert_eq!(
            found,
            ["2_Dense", "unet", "unet/inner"].map(PathBuf::from),
            "in the order of paths"
        );
    }
}
