//! Documents that describe a source file carry its digest, so that neither changes without the other.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use xtask::fetch;

/// The byte layout and its normative text.
const DOCUMENT: &str = "docs/FORMAT.md";
const SOURCE: &str = "crates/nwc-format/src/layout.rs";
const MARK: &str = "<!-- layout.rs sha256: ";

/// Every document under `root` that is older than its source, a line each.
///
/// # Errors
/// Where a file cannot be read.
pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let (document, source) = (root.join(DOCUMENT), root.join(SOURCE));
    if !document.is_file() || !source.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&document).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let found = fetch::sha256_of(&source)?;
    let written = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(MARK)?.strip_suffix(" -->"));
    Ok(match written {
        Some(written) if written.trim() == found => Vec::new(),
        Some(_) => vec![format!(
            "{DOCUMENT}: {SOURCE} has changed: bring the text up to date, then write {MARK}{found} -->"
        )],
        None => vec![format!("{DOCUMENT}: no line {MARK}{found} -->")],
    })
}

#[cfg(test)]
mod tests {
    use xtask::workspace::Scratch;

    use super::*;

    #[test]
    fn the_document_follows_its_source() {
        let dir = Scratch::new().unwrap();
        let check = |document: &str, problem: Option<&str>| {
            fs::create_dir_all(dir.path().join("docs")).unwrap();
            fs::create_dir_all(dir.path().join("crates/nwc-format/src")).unwrap();
            fs::write(dir.path().join(SOURCE), "abc").unwrap();
            fs::write(dir.path().join(DOCUMENT), document).unwrap();
            let found = problems(dir.path()).unwrap();
            assert_eq!(found.is_empty(), problem.is_none(), "{found:?}");
            assert!(
                problem.is_none_or(|problem| found[0].contains(problem)),
                "{found:?}"
            );
        };
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&format!("# Format\n{MARK}{digest} -->\n"), None);
        check(&format!("# Format\n{MARK}00 -->\n"), Some("has changed"));
        check("# Format\n", Some(digest));
    }

    #[test]
    fn nothing_to_compare_is_no_problem() {
        assert!(problems(Scratch::new().unwrap().path()).unwrap().is_empty());
    }
}
