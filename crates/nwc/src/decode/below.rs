//! A compressed folder and the compressed checkpoints that it lists below.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use nwc_format::ShardMetadata;

use crate::folder::carry;
use crate::{Error, Result};

/// Visits the checkpoint in `dir`, then those below, in the order in which their folders list them.
///
/// `visit` gets the path relative to `dir`, empty for `dir` itself, and gives the keys that its table lists.
///
/// # Errors
/// [`Error::Header`] for a key that is no path below the folder, or that leads to a checkpoint which was visited already;
/// [`Error::Io`] for one that is not there; and what `visit` returns.
pub(super) fn each_checkpoint(
    dir: &Path,
    mut visit: impl FnMut(&Path) -> Result<Vec<String>>,
) -> Result<()> {
    let mut next = vec![PathBuf::new()];
    // A link may lead back up.
    let mut seen = HashSet::new();
    while let Some(path) = next.pop() {
        let here = dir.join(&path);
        let real = fs::canonicalize(&here).map_err(|e| Error::io("read the folder", &here, e))?;
        if !seen.insert(real) {
            return Err(Error::Header {
                path: dir.into(),
                detail: format!("the table lists {} twice", path.display()),
            });
        }
        for key in visit(&path)?.iter().rev() {
            next.push(path.join(carry::relative(&here, key)?));
        }
    }
    Ok(())
}

/// What the shards of one checkpoint list: only the first of a set lists anything.
pub(super) fn listed<'a>(shards: impl IntoIterator<Item = &'a ShardMetadata>) -> Vec<String> {
    let of_each = shards.into_iter().map(|shard| shard.checkpoints.clone());
    of_each.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(dir: &Path, lists: &[(&str, &[&str])]) -> Result<Vec<String>> {
        let mut visited = Vec::new();
        each_checkpoint(dir, |path| {
            let path = path.to_str().unwrap().replace('\\', "/");
            let listed = lists.iter().find(|(at, _)| *at == path);
            visited.push(path);
            let keys = listed.map_or(&[] as &[&str], |(_, keys)| keys);
            Ok(keys.iter().map(|key| (*key).to_owned()).collect())
        })?;
        Ok(visited)
    }

    #[test]
    fn folders_in_the_order_of_their_lists() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        fs::create_dir_all(dir.path().join("d")).unwrap();
        let lists: [(&str, &[&str]); 2] = [("", &["a", "d"]), ("a", &["b/c"])];
        let found = walk(dir.path(), &lists).unwrap();
        assert_eq!(found, ["", "a", "a/b/c", "d"]);
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let refused = |keys: &[&str], kind: &str| {
            let error = walk(dir.path(), &[("", keys)]).unwrap_err();
            assert_eq!(error.kind(), kind, "{keys:?}: {error}");
        };
        refused(&["../a"], "Header");
        refused(&["/"], "Header");
        refused(&["a", "a"], "Header");
        refused(&["gone"], "Io");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_back_up_ends() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("a")).unwrap();
        let error = walk(dir.path(), &[("", &["a"])]).unwrap_err();
        assert!(error.to_string().contains("lists a twice"), "{error}");
    }
}
