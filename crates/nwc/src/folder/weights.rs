//! Which files of a folder are the checkpoint's weights.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use nwc_format::{Header, INDEX_FILE_NAME, Limits, ModelIndex};

use super::source::{NWC_KEY, is_shard_name};
use crate::{Error, Result};

/// Names that loaders look for first, where there is no index.
const MAIN_FILES: [&str; 2] = ["model.safetensors", "diffusion_pytorch_model.safetensors"];
/// Starts of the names of files with other weights than the model's, or the same under other names.
const OTHER_WEIGHTS: [&str; 5] = [
    "adapter",
    "consolidated",
    "pytorch_lora_weights",
    "optimizer",
    "original",
];
/// Ends of names of weights that are not safetensors.
const FOREIGN_SUFFIXES: [&str; 8] = [
    ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".nemo",
];
/// The shard of a compressed folder that has no weights itself: it only lists the folder's files and checkpoints.
pub(crate) const FOLDER_SHARD: &str = "nwc-folder.safetensors";
/// How every Git LFS pointer begins.
const LFS_START: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The weight files of a plain checkpoint.
#[derive(Debug, Default)]
pub(crate) struct WeightFiles {
    /// Names in the folder, sorted.
    pub(crate) files: Vec<String>,
    /// The index that lists them.
    pub(crate) index: Option<ModelIndex>,
    /// What the user should know of files that no rule of the loaders settles.
    pub(crate) notes: Vec<String>,
}

impl WeightFiles {
    /// Finds the weights in `dir`, which is not searched below.
    ///
    /// With an index, what it lists; without, `model.safetensors` where there is one, and all files where there is
    /// not. A further file is added where none of its tensors is there already (heads for speculative decoding);
    /// otherwise it is another copy of the weights, and is carried as it is.
    ///
    /// # Errors
    /// [`Error::MissingShard`], [`Error::NotACheckpoint`], [`Error::OtherWeights`].
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let names = names_in(dir)?;
        let all: Vec<&String> = names.iter().filter(|n| is_shard_name(n)).collect();
        if all.is_empty() && !names.contains(INDEX_FILE_NAME) {
            let is_foreign = |n: &&String| FOREIGN_SUFFIXES.iter().any(|s| n.ends_with(s));
            return Err(match names.iter().find(is_foreign) {
                Some(found) => Error::OtherWeights {
                    path: dir.into(),
                    found: found.clone(),
                },
                None => Error::NotACheckpoint { path: dir.into() },
            });
        }
        let index = match names.contains(INDEX_FILE_NAME) {
            true => Some(read_index(dir)?),
            false => None,
        };
        let mut files: BTreeSet<String> = match &index {
            Some(index) => index.files().into_iter().map(str::to_owned).collect(),
            None => match MAIN_FILES.iter().find(|main| names.contains(**main)) {
                Some(main) => BTreeSet::from([(*main).to_owned()]),
                None => all.iter().map(|n| (*n).clone()).collect(),
            },
        };
        let mut notes = Vec::new();
        let mut taken = match &index {
            Some(index) => index.weight_map.keys().cloned().collect(),
            None => HashSet::new(),
        };
        for file in &files {
            taken.extend(tensor_names(&dir.join(file)).unwrap_or_default());
        }
        for name in all {
            if files.contains(name) {
                continue;
            }
            let tensors = match OTHER_WEIGHTS.iter().any(|start| name.starts_with(start)) {
                true => None,
                false => tensor_names(&dir.join(name)),
            };
            match tensors {
                Some(tensors) if !tensors.iter().any(|t| taken.contains(t)) => {
                    notes.push(format!(
                        "{name} belongs to no index and holds {} further tensors, as in {}; they are compressed with the others",
                        tensors.len(),
                        tensors.first().map_or("", String::as_str),
                    ));
                    taken.extend(tensors);
                    files.insert(name.clone());
                }
                _ => notes.push(format!(
                    "{name} is no part of the checkpoint; it is carried along uncompressed"
                )),
            }
        }
        Ok(Self {
            files: files.into_iter().collect(),
            index,
            notes,
        })
    }

    /// Whether the file of that name in the folder itself holds weights that are read, or lists them.
    #[cfg(feature = "encode")]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name)
            || (self.index.is_some() && name == INDEX_FILE_NAME)
    }
}

/// The shards of a compressed checkpoint in `dir`: what its index lists, and every other file that says that it is one.
///
/// A shard whose tensors are all tied to those of other shards has no section, and the index does not know it.
///
/// # Errors
/// [`Error::MissingShard`], [`Error::NotACheckpoint`].
pub(crate) fn compressed_files(dir: &Path) -> Result<(Vec<String>, Option<ModelIndex>)> {
    let names = names_in(dir)?;
    let index = match names.contains(INDEX_FILE_NAME) {
        true => Some(read_index(dir)?),
        false => None,
    };
    let mut files: BTreeSet<String> = index
        .iter()
        .flat_map(ModelIndex::files)
        .map(str::to_owned)
        .collect();
    let others = || names.iter().filter(|n| is_shard_name(n));
    // One that cannot be read may be a damaged shard: the set's own check tells.
    files.extend(others().filter(|n| !is_plain(&dir.join(n))).cloned());
    if files.is_empty() {
        // Nothing of ours: the reader of this one says so.
        files.extend(others().next().cloned());
    }
    match files.is_empty() {
        true => Err(Error::NotACheckpoint { path: dir.into() }),
        false => Ok((files.into_iter().collect(), index)),
    }
}

/// Whether `bytes`, the start of a file, are those of a Git LFS pointer: a text in place of the file.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(LFS_START)
}

fn names_in(dir: &Path) -> Result<BTreeSet<String>> {
    let wrong = |e| Error::io("read the folder", dir, e);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().is_file()
        {
            names.insert(name);
        }
    }
    Ok(names)
}

fn read_index(dir: &Path) -> Result<ModelIndex> {
    let path = dir.join(INDEX_FILE_NAME);
    let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    let index =
        ModelIndex::parse(&bytes, &Limits::default()).map_err(|e| Error::container(&path, e))?;
    let mut first_of: BTreeMap<&str, &str> = BTreeMap::new();
    for (tensor, file) in &index.weight_map {
        first_of.entry(file).or_insert(tensor);
    }
    for (file, tensor) in first_of {
        let shard = dir.join(file);
        if !shard.is_file() {
            return Err(Error::MissingShard {
                index: path,
                shard,
                tensor: tensor.into(),
            });
        }
    }
    Ok(index)
}

fn header(path: &Path) -> Option<Header> {
    let file = File::open(path).ok()?;
    let n_bytes = file.metadata().ok()?.len();
    Header::read(file, n_bytes, &Limits::default()).ok()
}

fn tensor_names(path: &Path) -> Option<Vec<String>> {
    let header = header(path)?;
    Some(header.entries().iter().map(|e| e.name.clone()).collect())
}

fn is_plain(path: &Path) -> bool {
    header(path).is_some_and(|header| !header.metadata().contains_key(NWC_KEY))
}

/// Refuses a Git LFS pointer in place of a weight file; anything else is for the parser.
///
/// # Errors
/// [`Error::LfsPointer`].
pub(crate) fn check_no_lfs_pointer(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let read =
        File::open(path).and_then(|f| f.take(LFS_START.len() as u64).read_to_end(&mut start));
    match read {
        Ok(_) if is_lfs_pointer(&start) => Err(Error::LfsPointer { path: path.into() }),
        _ => Ok(()),
    }
}
