//! `fixtures/MANIFEST.toml`: the digest of every file in `fixtures/` and of the codec set.
//!
//! `cargo xtask fixtures` writes digests and sizes and keeps every other line of an entry; `--check` changes nothing.
//! `tidy` checks too, so a fixture cannot change unseen. The file is a table `[files."PATH"]` after the other with a
//! key on each line, and is read as such.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::{fetch, workspace};

/// Where the codec set lies.
pub const CODEC_SET: &str = "crates/nwc/codecs";
const FOLDERS: [&str; 2] = [CODEC_SET, "fixtures"];
const MANIFEST: &str = "fixtures/MANIFEST.toml";
const HEAD: &str = "\
# Digests of what lies in fixtures/ and crates/nwc/codecs/: `cargo xtask fixtures` writes them, `--check` compares.
# Other keys of an entry (note, made_by, expected figures) are written by hand and kept, a line each.
# A fixture whose name starts with x_ must fail to decode.
";

#[derive(Debug, Default, PartialEq)]
struct Entry {
    sha256: String,
    bytes: String,
    /// Lines with other keys.
    by_hand: Vec<String>,
}

/// `cargo xtask fixtures --check`.
///
/// # Errors
/// Where a file and its digest disagree.
pub fn check() -> Result<()> {
    let problems = problems(&workspace::root())?;
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\n(`cargo xtask fixtures` writes the digests anew)",
        problems.join("\n")
    );
}

/// `cargo xtask fixtures`.
///
/// # Errors
/// Where something cannot be read or written.
pub fn update() -> Result<()> {
    update_below(&workspace::root())
}

/// What disagrees between the files under `root` and their manifest, a line each.
///
/// # Errors
/// Where something cannot be read.
pub fn problems(root: &Path) -> Result<Vec<String>> {
    let written = read_manifest(root)?;
    let present = present_files(root)?;
    let mut problems = Vec::new();
    for (path, found) in &present {
        let Some(entry) = written.get(path) else {
            problems.push(format!("{path}: not in {MANIFEST}"));
            continue;
        };
        let keys = [
            ("SHA-256", &found.sha256, &entry.sha256),
            ("size", &found.bytes, &entry.bytes),
        ];
        if let Some((what, found, says)) = keys.iter().find(|(_, found, says)| found != says) {
            problems.push(format!("{path}: {what} is {found}, {MANIFEST} says {says}"));
        }
    }
    let absent = written.keys().filter(|path| !present.contains_key(*path));
    problems.extend(absent.map(|path| format!("{path}: in {MANIFEST}, but not there")));
    Ok(problems)
}

fn update_below(root: &Path) -> Result<()> {
    let mut written = read_manifest(root)?;
    let mut text = HEAD.to_string();
    for (path, entry) in present_files(root)? {
        text += &format!(
            "\n[files.\"{path}\"]\nsha256 = \"{}\"\nbytes = {}\n",
            entry.sha256, entry.bytes
        );
        let by_hand = written.remove(&path).unwrap_or_default().by_hand;
        by_hand.iter().for_each(|line| text += &format!("{line}\n"));
    }
    fs::write(root.join(MANIFEST), text).with_context(|| format!("cannot write {MANIFEST}"))
}

fn read_manifest(root: &Path) -> Result<BTreeMap<String, Entry>> {
    let path = root.join(MANIFEST);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {MANIFEST}"))?;
    parse(&text)
}

fn parse(text: &str) -> Result<BTreeMap<String, Entry>> {
    let mut files: BTreeMap<String, Entry> = BTreeMap::new();
    let mut current = None;
    for (idx, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let name = line.strip_prefix("[files.\"");
        if let Some(name) = name.and_then(|rest| rest.strip_suffix("\"]")) {
            current = Some(files.entry(name.into()).or_default());
        } else if line.is_empty() || (line.starts_with('#') && current.is_none()) {
            continue;
        } else if let Some(entry) = &mut current {
            match line.split_once(" = ") {
                Some(("sha256", value)) => entry.sha256 = value.trim_matches('"').into(),
                Some(("bytes", value)) => entry.bytes = value.into(),
                _ => entry.by_hand.push(line.into()),
            }
        } else {
            bail!("{MANIFEST}:{}: '{line}' belongs to no file", idx + 1);
        }
    }
    Ok(files)
}

fn present_files(root: &Path) -> Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        for path in workspace::files_below(&root.join(folder))? {
            let name = workspace::relative_name(root, &path);
            if name == MANIFEST || name.ends_with("README.md") {
                continue;
            }
            let entry = Entry {
                sha256: fetch::sha256_of(&path)?,
                bytes: fs::metadata(&path)?.len().to_string(),
                by_hand: Vec::new(),
            };
            found.insert(name, entry);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Scratch;

    fn folder_with(files: &[(&str, &str)]) -> Scratch {
        let dir = Scratch::new().unwrap();
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
            ("crates/nwc/codecs/small.bin", "b"),
            ("crates/nwc/codecs/README.md", "r"),
        ]);
        update_below(dir.path()).unwrap();
        assert_eq!(problems(dir.path()).unwrap(), [""; 0]);
        fs::write(dir.path().join("fixtures/v1/a.nwc"), "c").unwrap();
        fs::write(dir.path().join("crates/nwc/codecs/new.bin"), "n").unwrap();
        fs::remove_file(dir.path().join("crates/nwc/codecs/small.bin")).unwrap();
        let problems = problems(dir.path()).unwrap();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("crates/nwc/codecs/new.bin: not in"));
        assert!(problems[1].starts_with("fixtures/v1/a.nwc: SHA-256 is"));
        assert!(problems[2].starts_with("crates/nwc/codecs/small.bin: in"));
    }

    #[test]
    fn what_was_written_by_hand_is_kept() {
        let manifest = "# a\n\n[files.\"fixtures/a\"]\nsha256 = \"\"\nbytes = 0\nmse_bound = 0.5\n";
        let dir = folder_with(&[("fixtures/a", "a"), (MANIFEST, manifest)]);
        update_below(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(MANIFEST)).unwrap();
        assert!(text.contains("bytes = 1\nmse_bound = 0.5\n"), "{text}");
    }

    #[test]
    fn a_line_of_no_file_is_an_error() {
        let error = parse("a = 1\n").unwrap_err().to_string();
        assert!(error.contains("MANIFEST.toml:1: 'a = 1'"), "{error}");
    }
}
