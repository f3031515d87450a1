//! What a build without the feature `hub` says to an address.

use std::path::{Path, PathBuf};

/// An error where `path` is an address, and nothing of that name is on disk.
pub(crate) fn fetched(path: &Path, _quiet: bool) -> anyhow::Result<Option<PathBuf>> {
    anyhow::ensure!(
        !path.to_string_lossy().starts_with("hf:") || path.exists(),
        "{} is on the Hugging Face Hub, and this nwc-cli was built without it; `--features hub` builds with it",
        path.display()
    );
    Ok(None)
}
