//! `fixtures/MANIFEST.toml`: the digest of every file in `fixtures/` and `codecs/`.
//!
//! `cargo xtask fixtures` writes digests and sizes and keeps everything else that an entry says;
//! `--check` changes nothing. `tidy` checks too, so a fixture cannot change unseen.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::flags::FixturesFlags;
use crate::{fetch, workspace};

const FOLDERS: [&str; 2] = ["fixtures", "codecs"];
const MANIFEST: &str = "fixtures/MANIFEST.toml";
const HEAD: &str = "\
# Digests of what lies in fixtures/ and codecs/: `cargo xtask fixtures` writes them, `--check` compares.
# Other keys of an entry (note, made_by, expected figures) are written by hand and kept.
# A fixture whose name starts with x_ must fail to decode.
";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    #[serde(default)]
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    sha256: String,
    bytes: u64,
    #[serde(flatten)]
    by_hand: toml::Table,
}

/// `cargo xtask fixtures`.
pub(crate) fn run(flags: &FixturesFlags) -> Result<()> {
    let root = workspace::root();
    if flags.check {
        let problems = problems(&root)?;
        if problems.is_empty() {
            return Ok(());
        }
        bail!(
            "{}\n(`cargo xtask fixtures` writes the digests anew)",
            problems.join("\n")
        );
    }
    update(&root)
}

/// What disagrees between the files under `root` and their manifest, a line each.
///
/// # Errors
/// Where something cannot be read.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let written = read_manifest(root)?.files;
    let present = present_files(root)?;
    let mut problems = Vec::new();
    for (path, found) in &present {
        match written.get(path) {
            None => problems.push(format!("{path}: not in {MANIFEST}")),
            Some(entry) if entry.sha256 != found.sha256 => {
                problems.push(format!(
                    "{path}: SHA-256 is {}, {MANIFEST} says {}",
                    found.sha256, entry.sha256
                ));
            }
            Some(entry) if entry.bytes != found.bytes => {
                problems.push(format!(
                    "{path}: {} bytes, {MANIFEST} says {}",
                    found.bytes, entry.bytes
                ));
            }
            Some(_) => {}
        }
    }
    let absent = written.keys().filter(|path| !present.contains_key(*path));
    problems.extend(absent.map(|path| format!("{path}: in {MANIFEST}, but not there")));
    Ok(problems)
}

fn update(root: &Path) -> Result<()> {
    let mut written = read_manifest(root)?.files;
    let mut files = present_files(root)?;
    for (path, entry) in &mut files {
        if let Some(old) = written.remove(path) {
            entry.by_hand = old.by_hand;
        }
    }
    let text = format!("{HEAD}\n{}", toml::to_string(&Manifest { files })?);
    fs::write(root.join(MANIFEST), text).with_context(|| format!("cannot write {MANIFEST}"))
}

fn read_manifest(root: &Path) -> Result<Manifest> {
    let path = root.join(MANIFEST);
    if !path.exists() {
        return Ok(Manifest::default());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {MANIFEST}"))?;
    toml::from_str(&text).with_context(|| format!("cannot read {MANIFEST}"))
}

fn present_files(root: &Path) -> Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        for path in workspace::files_below(&root.join(folder))? {
            let name = workspace::relative_name(root, &path);
            if name == MANIFEST || name.ends_with("README.md") {
                continue;
            }
            let bytes = fs::metadata(&path)?.len();
            let sha256 = fetch::sha256_of(&path)?;
            found.insert(
                name,
                Entry {
                    sha256,
                    bytes,
                    by_hand: toml::Table::new(),
                },
            );
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn what_was_written_agrees_until_a_file_changes() {
        let dir = folder_with(&[
            ("fixtures/v1/a.nwc", "a"),
            ("codecs/small.bin", "b"),
            ("codecs/README.md", "r"),
        ]);
        update(dir.path()).unwrap();
        assert_eq!(problems(dir.path()).unwrap(), [""; 0]);
        fs::write(dir.path().join("fixtures/v1/a.nwc"), "c").unwrap();
        fs::write(dir.path().join("codecs/new.bin"), "n").unwrap();
        fs::remove_file(dir.path().join("codecs/small.bin")).unwrap();
        let problems = problems(dir.path()).unwrap();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("codecs/new.bin: not in"));
        assert!(problems[1].starts_with("fixtures/v1/a.nwc: SHA-256 is"));
        assert!(problems[2].starts_with("codecs/small.bin: in"));
    }

    #[test]
    fn what_was_written_by_hand_is_kept() {
        let manifest = "[files.\"fixtures/a\"]\nsha256 = \"\"\nbytes = 0\nmse_bound = 0.5\n";
        let dir = folder_with(&[("fixtures/a", "a"), (MANIFEST, manifest)]);
        update(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(MANIFEST)).unwrap();
        assert!(
            text.contains("mse_bound = 0.5") && text.contains("bytes = 1"),
            "{text}"
        );
    }
}
