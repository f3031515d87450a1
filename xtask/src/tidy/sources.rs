//! How source files look.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use xtask::workspace;

/// A file does one thing; past this it does several.
const MAX_LINES: usize = 500;

/// Extensions of files that are text and written here.
const TEXT: [&str; 8] = ["rs", "toml", "md", "json", "yml", "js", "css", "html"];

/// Macros that mean that something is not done. In two pieces, so that this file does not hold them.
const UNFINISHED: [&str; 2] = [concat!("todo", "!"), concat!("unimplemented", "!")];

/// Stands for `//!` in a crate's root.
const README_AS_DOC: &str = "#![doc = include_str!(";

/// The crates that may name tch.
const TORCH_FOLDERS: [&str; 3] = ["crates/nwc-train/", "crates/nwc-lm/", "crates/nwc-recover/"];
const TORCH_PATH: &str = concat!("tch", "::");

/// Files in which unsafe code is accepted, one a crate, with the modules below it: what for stands in the file.
const MAX_UNSAFE_FILES: usize = 1;
const ALLOWS_UNSAFE: [&str; 2] = [
    concat!("expect(", "unsafe_code"),
    concat!("allow(", "unsafe_code"),
];

/// Every problem of the files under `root`, a line each.
///
/// # Errors
/// Where a file cannot be read.
pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut unsafe_files: Vec<String> = Vec::new();
    for path in workspace::files_below(root)? {
        let name = workspace::relative_name(root, &path);
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if !TEXT.contains(&extension)
            || name.starts_with("fixtures/")
            || name.starts_with("bench-runs/")
        {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        problems.extend(text_problems(&name, &text));
        if extension == "rs" {
            problems.extend(rust_problems(&name, &text));
            if allows_unsafe(&text) {
                unsafe_files.push(name);
            }
        }
    }
    problems.extend(unsafe_problems(&unsafe_files));
    problems.extend(readme_problems(root)?);
    Ok(problems)
}

fn text_problems(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (idx, line) in text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            problems.push(format!("{name}:{}: blanks at the end of the line", idx + 1));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push(format!("{name}: no newline at the end"));
    }
    problems
}

fn rust_problems(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !(text.starts_with("//!") || text.starts_with(README_AS_DOC)) {
        problems.push(format!(
            "{name}: the first line does not say what the file is (//!)"
        ));
    }
    let n_lines = text.lines().count();
    if n_lines > MAX_LINES {
        problems.push(format!(
            "{name}: {n_lines} lines, at most {MAX_LINES} allowed"
        ));
    }
    let names_torch = !TORCH_FOLDERS.iter().any(|folder| name.starts_with(folder));
    for (idx, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for word in UNFINISHED.iter().filter(|word| code.contains(**word)) {
            problems.push(format!("{name}:{}: {word}", idx + 1));
        }
        if names_torch && is_path(code, TORCH_PATH) {
            problems.push(format!(
                "{name}:{}: names tch outside the crates that need LibTorch",
                idx + 1
            ));
        }
    }
    problems
}

/// Whether `code` holds `path` as a path's first part, not as the end of a longer name.
fn is_path(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        !code[..at]
            .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
    })
}

/// Whether `text` accepts unsafe code, in itself and in the modules below it; an attribute may have several lines.
fn allows_unsafe(text: &str) -> bool {
    let code: String = text.split_whitespace().collect();
    ALLOWS_UNSAFE.iter().any(|mark| code.contains(mark))
}

fn unsafe_problems(files: &[String]) -> Vec<String> {
    let folder = |name: &str| name.split("/src/").next().unwrap_or_default().to_string();
    let mut problems = Vec::new();
    for name in files {
        let n_files = files
            .iter()
            .filter(|other| folder(other) == folder(name))
            .count();
        if n_files > MAX_UNSAFE_FILES {
            problems.push(format!(
                "{name}: one of {n_files} files with unsafe code in its crate, 1 allowed"
            ));
        }
    }
    problems
}

fn readme_problems(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let dir = entry?.path();
        if dir.join("Cargo.toml").is_file() && !dir.join("README.md").is_file() {
            problems.push(format!(
                "{}: no README.md",
                workspace::relative_name(root, &dir)
            ));
        }
    }
    problems.sort();
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, problem: Option<&str>) {
        let mut found = text_problems(name, text);
        found.extend(rust_problems(name, text));
        match problem {
            None => assert_eq!(found, [""; 0]),
            Some(problem) => assert!(found.iter().any(|line| line.contains(problem)), "{found:?}"),
        }
    }

    #[test]
    fn good_files_pass() {
        check("a.rs", "//! What it is.\nfn a() {}\n", None);
        check(
            "crates/nwc-lm/src/a.rs",
            &format!("//! A.\nuse {TORCH_PATH}Tensor;\n"),
            None,
        );
        check(
            "a.rs",
            &format!("//! A.\nuse nwc_{TORCH_PATH}Tensor; // {TORCH_PATH}\n"),
            None,
        );
    }

    #[test]
    fn bad_files_are_named() {
        check("a.rs", "fn a() {}\n", Some("first line"));
        check("a.rs", "//! A. \n", Some("a.rs:1: blanks"));
        check("a.rs", "//! A.\r\n", Some("blanks"));
        check("a.rs", "//! A.", Some("newline"));
        check("a.rs", &"//!\n".repeat(MAX_LINES + 1), Some("501 lines"));
        check(
            "a.rs",
            &format!("//! A.\nfn a() {{ {}() }}\n", UNFINISHED[0]),
            Some("a.rs:2"),
        );
        check(
            "a.rs",
            &format!("//! A.\nuse {TORCH_PATH}Tensor;\n"),
            Some("names tch"),
        );
    }

    #[test]
    fn unsafe_code_is_found_however_it_is_laid_out() {
        assert!(allows_unsafe(&format!(
            "#![{}, reason = \"a\")]",
            ALLOWS_UNSAFE[0]
        )));
        let lines = ALLOWS_UNSAFE[1].replace('(', "(\n    ");
        assert!(allows_unsafe(&format!(
            "#![{lines},\n    reason = \"a\"\n)]"
        )));
        assert!(!allows_unsafe("#![deny(unsafe_code)]"));
    }

    #[test]
    fn one_file_with_unsafe_code_a_crate() {
        let files = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(unsafe_problems(&files(&["crates/a/src/x.rs", "crates/b/src/x.rs"])).is_empty());
        assert_eq!(
            unsafe_problems(&files(&["crates/a/src/x.rs", "crates/a/src/y.rs"])).len(),
            2
        );
    }
}
