//! Memory-mapped files: the one place of the facade that is unsafe.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe by nature; nothing else here is"
)]

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::{Error, Result};

/// A file mapped read-only; dereferences to its bytes.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    /// `None` for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps `path` whole.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: path.into() });
        }
        let map = if metadata.len() == 0 {
            None
        } else {
            // SAFETY: the map is only read, and only as bytes, for which every value is valid.
            // A file that another process truncates meanwhile can end this one with a bus error;
            // that is the documented price of mapping, here as in every safetensors reader.
            Some(unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, e))?)
        };
        Ok(Self {
            path: path.into(),
            map,
        })
    }

    /// Gives the memory of a range back once it has been read; reading it again brings it back from the file.
    ///
    /// Pages of a mapped file count as this process's memory until then.
    pub(crate) fn forget(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = &self.map
            && range.start < range.end
            && range.end <= map.len()
        {
            // SAFETY: the map is private, read-only and never written, so pages that are dropped are filled from
            // the file again when they are next read: no byte that a borrower sees changes.
            let dropped = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
            if let Err(error) = dropped {
                tracing::debug!(%error, path = %self.path.display(), "pages are kept");
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}
