//! What each published crate would put on crates.io: what its manifest must say, and the files it would hold.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use xtask::workspace;

/// Files that every published crate holds.
const NEEDED: [&str; 4] = ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT"];
/// Files at the top of a crate beside those: cargo's own, and what tests and documentation read.
const ALLOWED: [&str; 5] = [
    "Cargo.toml.orig",
    "Cargo.lock",
    ".cargo_vcs_info.json",
    "FORMAT-NOTES.md",
    "golden.txt",
];
/// Folders of a crate, with the endings that files there may have.
const FOLDERS: [(&str, &[&str]); 5] = [
    // The page that `inspect --html` writes is put together from its own sources.
    ("src", &["rs", "css", "js"]),
    ("benches", &["rs"]),
    ("examples", &["rs"]),
    ("tests", &["rs", "snap"]),
    ("codecs", &["safetensors", "json", "md"]),
];
/// The crate that ships the codec set, and the folder.
const CODECS: (&str, &str) = ("nwc", "codecs");

/// What is wrong with the published crates of this workspace, a line each.
///
/// # Errors
/// Where cargo fails.
pub(super) fn problems() -> Result<Vec<String>> {
    let metadata = cargo(&["metadata", "--format-version=1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("cargo metadata lists no packages")?;
    let mut problems = Vec::new();
    // `publish` lists the registries that a crate may go to; without a list it may go to any.
    for package in packages.iter().filter(|p| p["publish"].is_null()) {
        let name = package["name"].as_str().context("a package has no name")?;
        problems.extend(manifest_problems(name, package));
        let files = cargo(&["package", "--list", "--allow-dirty", "--quiet", "-p", name])?;
        let files: BTreeSet<&str> = files.lines().collect();
        problems.extend(file_problems(name, &files));
        if name == CODECS.0 {
            problems.extend(codec_problems(&files)?);
        }
    }
    Ok(problems)
}

/// What cargo prints.
fn cargo(arguments: &[&str]) -> Result<String> {
    let mut command = workspace::cargo();
    let output = command.args(arguments).output();
    let output = output.context("cannot start cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo {} failed: {}", arguments.join(" "), said.trim());
    }
    // On Windows cargo separates folders as the system does.
    Ok(String::from_utf8(output.stdout)?.replace('\\', "/"))
}

/// crates.io refuses a crate without a description or licence; the rest is what finds it there.
fn manifest_problems(name: &str, package: &Value) -> Vec<String> {
    let says = |field: &str| package[field].as_str().is_some_and(|text| !text.is_empty());
    let texts = ["description", "license", "readme", "rust_version"];
    let missing = texts.into_iter().filter(|field| !says(field));
    let mut problems: Vec<String> = missing
        .map(|field| format!("{name}: its manifest has no {field}"))
        .collect();
    for field in ["keywords", "categories"] {
        let n = package[field].as_array().map_or(0, Vec::len);
        if !(1..=5).contains(&n) {
            problems.push(format!("{name}: {n} {field}, expected 1 to 5"));
        }
    }
    problems
}

fn file_problems(name: &str, files: &BTreeSet<&str>) -> Vec<String> {
    let missing = NEEDED.into_iter().filter(|file| !files.contains(file));
    let missing = missing.map(|file| format!("{name}: its package has no {file}"));
    let strange = files.iter().filter(|file| !is_expected(file));
    let strange = strange.map(|file| format!("{name}: {file} does not belong in its package"));
    missing.chain(strange).collect()
}

fn is_expected(file: &str) -> bool {
    match file.split_once('/') {
        None => NEEDED.contains(&file) || ALLOWED.contains(&file),
        Some((folder, rest)) => {
            let ending = rest.rsplit_once('.').map_or("", |(_, ending)| ending);
            FOLDERS
                .iter()
                .any(|(name, endings)| *name == folder && endings.contains(&ending))
        }
    }
}

/// The whole codec set lies inside the crate that ships it.
fn codec_problems(files: &BTreeSet<&str>) -> Result<Vec<String>> {
    let (name, folder) = CODECS;
    let path = workspace::root().join("crates").join(name).join(folder);
    let entries = std::fs::read_dir(&path);
    let entries = entries.with_context(|| format!("cannot read {}", path.display()))?;
    let mut problems = Vec::new();
    for entry in entries {
        let file = format!("{folder}/{}", entry?.file_name().to_string_lossy());
        if !files.contains(file.as_str()) {
            problems.push(format!("{name}: its package has no {file}"));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_says_what_finds_the_crate() {
        let mut package = serde_json::json!({
            "description": "a", "license": "b", "readme": "c", "rust_version": "1.0",
            "keywords": ["d"], "categories": ["e"],
        });
        assert_eq!(manifest_problems("x", &package), [""; 0]);
        package["license"] = Value::Null;
        package["keywords"] = serde_json::json!(["1", "2", "3", "4", "5", "6"]);
        let found = manifest_problems("x", &package);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("license") && found[1].contains("6 keywords"));
    }

    #[test]
    fn a_package_holds_what_it_needs_and_no_more() {
        let mut files: BTreeSet<&str> = NEEDED.into_iter().collect();
        files.extend(["src/a/b.rs", "codecs/a.json", "tests/snapshots/a.snap"]);
        assert_eq!(file_problems("x", &files), [""; 0]);
        files.remove("LICENSE-MIT");
        files.extend(["src/a.rs.orig", "target/a.rs", "notes.txt"]);
        let found = file_problems("x", &files);
        assert_eq!(found.len(), 4, "{found:?}");
    }
}
