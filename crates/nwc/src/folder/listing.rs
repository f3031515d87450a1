//! All files below a folder, links resolved.

use std::fs;
use std::path::{Path, PathBuf};

use super::key::key_of;
use crate::{Error, Result};

/// Folders deeper than this are no checkpoint's.
const MAX_DEPTH: usize = 32;
/// Left by version control, download tools and editors: no part of the checkpoint.
const LEFT_OUT: [&str; 6] = [
    ".git",
    ".cache",
    ".huggingface",
    "__pycache__",
    ".DS_Store",
    ".ipynb_checkpoints",
];
/// Unfinished output of this crate.
const PARTIAL_PREFIX: &str = ".nwc-partial-";

/// A regular file, or a link to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedFile {
    /// Relative to the folder listed.
    pub(crate) path: PathBuf,
    /// Its name in the table, [`key_of`] of the path.
    pub(crate) key: String,
    /// Its length.
    pub(crate) n_bytes: u64,
}

impl ListedFile {
    /// The file's own name, where it is text.
    pub(crate) fn name(&self) -> Option<&str> {
        self.path.file_name()?.to_str()
    }

    /// Whether it is in the folder listed itself.
    pub(crate) fn is_at_top(&self) -> bool {
        self.path.components().count() == 1
    }
}

/// What is below a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Files in the order of their keys.
    pub(crate) files: Vec<ListedFile>,
    /// What is left out, and why: for the user to read.
    pub(crate) left_out: Vec<String>,
}

impl Listing {
    /// Lists everything below `root`. Links are followed, to files and to folders; `skip` is a folder below `root`
    /// that is left out in silence, where the output goes.
    ///
    /// # Errors
    /// [`Error::Io`] names what cannot be read, a link to nothing included.
    pub(crate) fn of(root: &Path, skip: Option<&Path>) -> Result<Self> {
        let mut listing = Self::default();
        let skip = skip.and_then(|path| fs::canonicalize(path).ok());
        let mut above = Vec::new();
        listing.walk(root, Path::new(""), skip.as_deref(), &mut above)?;
        listing.files.sort_by(|a, b| a.key.cmp(&b.key));
        listing.left_out.sort();
        Ok(listing)
    }

    fn walk(
        &mut self,
        root: &Path,
        dir: &Path,
        skip: Option<&Path>,
        above: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let shown = root.join(dir);
        let real = fs::canonicalize(&shown).map_err(|e| Error::io("read the folder", &shown, e))?;
        if skip == Some(real.as_path()) {
            return Ok(());
        }
        if above.contains(&real) || above.len() >= MAX_DEPTH {
            self.left_out.push(format!(
                "{}: a link to a folder that it is in",
                dir.display()
            ));
            return Ok(());
        }
        above.push(real);
        for entry in fs::read_dir(&shown).map_err(|e| Error::io("read the folder", &shown, e))? {
            let entry = entry.map_err(|e| Error::io("read the folder", &shown, e))?;
            let name = entry.file_name();
            let path = dir.join(&name);
            let text = name.to_string_lossy();
            if text.starts_with(PARTIAL_PREFIX) {
                continue;
            }
            if LEFT_OUT.contains(&text.as_ref()) {
                self.left_out
                    .push(format!("{}: left by another tool", path.display()));
                continue;
            }
            let here = root.join(&path);
            let metadata = fs::metadata(&here).map_err(|e| Error::io("read", &here, e))?;
            if metadata.is_dir() {
                self.walk(root, &path, skip, above)?;
            } else if metadata.is_file() {
                let key = key_of(&path).ok_or_else(|| Error::NotAFile { path: here.clone() })?;
                self.files.push(ListedFile {
                    path,
                    key,
                    n_bytes: metadata.len(),
                });
            } else {
                self.left_out
                    .push(format!("{}: no regular file", path.display()));
            }
        }
        above.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(listing: &Listing) -> Vec<&str> {
        listing.files.iter().map(|f| f.key.as_str()).collect()
    }

    #[cfg(unix)]
    #[test]
    fn sub_folders_links_and_odd_names() {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;

        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("snapshot");
        fs::create_dir_all(root.join("1_Pooling")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(root.join("out")).unwrap();
        fs::write(root.join("out/x"), "").unwrap();
        fs::write(root.join(".git/HEAD"), "").unwrap();
        fs::write(root.join(".gitattributes"), "a").unwrap();
        fs::write(root.join("1_Pooling/config.json"), "{}").unwrap();
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"a\xff")), "").unwrap();
        fs::create_dir(tmp.path().join("blobs")).unwrap();
        fs::write(tmp.path().join("blobs/ab"), "four").unwrap();
        symlink("../blobs/ab", root.join("tokenizer.json")).unwrap();
        symlink("../blobs", root.join("linked")).unwrap();
        symlink("..", root.join("1_Pooling/up")).unwrap();

        let listing = Listing::of(&root, Some(&root.join("out"))).unwrap();
        assert_eq!(
            keys(&listing),
            [
                "%nwc/a%FF",
                ".gitattributes",
                "1_Pooling/config.json",
                "linked/ab",
                "tokenizer.json"
            ]
        );
        assert_eq!(listing.files[4].n_bytes, 4);
        assert_eq!(listing.left_out.len(), 2, "{:?}", listing.left_out);

        symlink("nowhere", root.join("generation_config.json")).unwrap();
        let error = Listing::of(&root, None).unwrap_err().to_string();
        assert!(error.contains("generation_config.json"), "{error}");
    }
}
