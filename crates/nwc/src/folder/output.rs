//! Output folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use crate::{Error, Result};

/// A folder under construction beside its final place; dropped without [`OutputDir::commit`] it vanishes.
#[derive(Debug)]
pub(crate) struct OutputDir {
    /// Private; the folder itself is in it, made like any other, so that its mode follows the umask. A folder below
    /// another has none.
    staging: Option<TempDir>,
    folder: PathBuf,
    target: PathBuf,
}

impl OutputDir {
    /// Starts a folder that will become `target`, which must not exist.
    pub(crate) fn create(target: &Path) -> Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(Error::OutputExists {
                path: target.into(),
            });
        }
        let parent = match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
            _ => PathBuf::from("."),
        };
        fs::create_dir_all(&parent).map_err(|e| Error::io("create", &parent, e))?;
        let staging = tempfile::Builder::new()
            .prefix(".nwc-partial-")
            .tempdir_in(&parent)
            .map_err(|e| Error::io("create a temporary folder in", &parent, e))?;
        let folder = staging.path().join("folder");
        fs::create_dir(&folder).map_err(|e| Error::io("create", &folder, e))?;
        Ok(Self {
            staging: Some(staging),
            folder,
            target: target.into(),
        })
    }

    /// The folder at `path` below, relative and without `..`, which appears with this one.
    pub(crate) fn below(&self, path: &Path) -> Result<Self> {
        let (folder, target) = (self.file(path), self.shown(path));
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", &target, e))?;
        Ok(Self {
            staging: None,
            folder,
            target,
        })
    }

    /// Where a file of the folder is written meanwhile.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// Creates a file of the folder, and the sub-folder that it is in; `path` is relative and has no `..`.
    pub(crate) fn create_file(&self, path: &Path) -> Result<File> {
        let here = self.file(path);
        let shown = self.shown(path);
        if let Some(parent) = here.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io("create the folder of", &shown, e))?;
        }
        let mut options = File::options();
        options.write(true).create_new(true);
        options
            .open(&here)
            .map_err(|e| Error::io("create", &shown, e))
    }

    /// Writes a small file of the folder whole.
    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let name = name.as_ref();
        let shown = self.shown(name);
        let mut file = self.create_file(name)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|e| Error::io("write", &shown, e))
    }

    /// Where a file of the folder will be in the end: what a message should name.
    pub(crate) fn shown(&self, name: impl AsRef<Path>) -> PathBuf {
        self.target.join(name)
    }

    /// Puts the folder under its final name, everything in it synced.
    pub(crate) fn commit(self) -> Result<()> {
        let Self {
            staging,
            folder,
            target,
        } = self;
        sync_dirs(&folder)?;
        if target.symlink_metadata().is_ok() {
            return Err(Error::OutputExists { path: target });
        }
        fs::rename(&folder, &target).map_err(|e| Error::io("rename to", &target, e))?;
        drop(staging);
        match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => sync_dir(p),
            _ => sync_dir(Path::new(".")),
        }
    }
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

/// Syncs a folder and those below it.
fn sync_dirs(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(|e| Error::io("read the folder", path, e))? {
        let entry = entry.map_err(|e| Error::io("read the folder", path, e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_dirs(&entry.path())?;
        }
    }
    sync_dir(path)
}

fn sync_dir(path: &Path) -> Result<()> {
    let dir = File::open(path).map_err(|e| Error::io("open", path, e))?;
    match dir.sync_all() {
        Ok(()) => Ok(()),
        // Some file systems cannot sync folders; their files are synced already.
        Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        Err(e) => Err(Error::io("sync", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_without_commit() {
        let parent = tempfile::tempdir().unwrap();
        let out = OutputDir::create(&parent.path().join("out")).unwrap();
        out.write("a", b"1").unwrap();
        drop(out);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn commit_gives_the_whole_folder() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        let out = OutputDir::create(&target).unwrap();
        out.write("a", b"1").unwrap();
        out.commit().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        assert!(matches!(
            OutputDir::create(&target),
            Err(Error::OutputExists { .. })
        ));
    }
}
