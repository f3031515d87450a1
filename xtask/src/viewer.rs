//! The viewer, `viewer/`: a page and a script, put together from the scripts that `nwc` embeds and from its own.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use xtask::workspace;

/// The page that `inspect --html` writes; the order of its scripts stands in its `mod.rs`.
const SHARED: &str = "crates/nwc/src/page";
/// What only the viewer has.
const OWN: &str = "viewer/source";
const OWN_SCRIPTS: [&str; 5] = [
    "blake3.js",
    "shard.js",
    "inspection.js",
    "sources.js",
    "viewer.js",
];
/// Stands in `index.html` where the style goes.
const STYLE_PLACE: &str = "{style}";
/// What the commands to make it are told by.
const MADE: &str =
    "Made by `cargo xtask viewer` from crates/nwc/src/page and viewer/source: change it there.";

/// `cargo xtask viewer`: writes the files.
///
/// # Errors
/// Where a file cannot be read or written.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    for (name, text) in files(&root)? {
        workspace::write_whole(&root.join(name), &text)?;
    }
    Ok(())
}

/// A line for each file that is not what its sources make.
///
/// # Errors
/// Where a source cannot be read.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    if !root.join(OWN).is_dir() {
        return Ok(Vec::new());
    }
    let old = |(name, text): &(&str, String)| {
        fs::read_to_string(root.join(name)).ok().as_ref() != Some(text)
    };
    let files = files(root)?;
    let lines = files.iter().filter(|file| old(file));
    let line = |(name, _): &(&str, String)| {
        format!("{name} is older than its sources: `cargo xtask viewer` makes it")
    };
    Ok(lines.map(line).collect())
}

/// The viewer's files by name.
fn files(root: &Path) -> Result<[(&'static str, String); 2]> {
    let read = |folder: &str, name: &str| {
        let path = root.join(folder).join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut script = format!("// {MADE}\n\"use strict\";\n(() => {{\n");
    for name in shared_scripts(&read(SHARED, "mod.rs")?)? {
        script.push_str(&read(SHARED, &name)?);
    }
    script.push_str(&role_lists(&read("crates/nwc/src", "role.rs")?)?);
    for name in OWN_SCRIPTS {
        script.push_str(&read(OWN, name)?);
    }
    script.push_str("})();\n");
    let style = read(SHARED, "page.css")? + &read(OWN, "viewer.css")?;
    let page = read(OWN, "index.html")?;
    ensure!(
        page.matches(STYLE_PLACE).count() == 1,
        "{OWN}/index.html has no one place {STYLE_PLACE}"
    );
    let page = page
        .replace(STYLE_PLACE, &style)
        .replacen('\n', &format!("\n<!-- {MADE} -->\n"), 1);
    Ok([("viewer/index.html", page), ("viewer/viewer.js", script)])
}

/// The scripts that `mod.rs` embeds, in its order.
fn shared_scripts(code: &str) -> Result<Vec<String>> {
    let names = code.split("include_str!(\"").skip(1);
    let names = names.filter_map(|rest| rest.split('"').next());
    let scripts: Vec<String> = names
        .filter(|name| name.ends_with(".js"))
        .map(str::to_owned)
        .collect();
    ensure!(!scripts.is_empty(), "{SHARED}/mod.rs embeds no script");
    Ok(scripts)
}

/// The lists of names by which `role.rs` tells what a matrix is, as sets of JavaScript under the same names.
fn role_lists(code: &str) -> Result<String> {
    let mut sets = String::from("\n// The lists of crates/nwc/src/role.rs.\n");
    let mut n_lists = 0;
    for declaration in code.split("\nconst ").skip(1) {
        let (name, rest) = declaration
            .split_once(": [&str; ")
            .context("a list of names in role.rs")?;
        let (_, names) = rest
            .split_once("= [")
            .context("a list of names in role.rs")?;
        let (names, _) = names
            .split_once("];")
            .context("a list of names in role.rs")?;
        let names: Vec<&str> = names
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .collect();
        sets.push_str(&format!(
            "const {name} = new Set([{}]);\n",
            names.join(", ")
        ));
        n_lists += 1;
    }
    ensure!(n_lists > 0, "crates/nwc/src/role.rs has no list of names");
    Ok(sets + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_in_another_language() {
        let code = "\n/// A.\nconst A: [&str; 2] = [\n    \"b\",\n    \"c\",\n];\nconst D: [&str; 1] = [\"e\"];\n";
        let found = role_lists(code).unwrap();
        assert!(
            found.contains("const A = new Set([\"b\", \"c\"]);"),
            "{found}"
        );
        assert!(found.contains("const D = new Set([\"e\"]);"), "{found}");
        assert!(role_lists("const A: u8 = 1;").is_err());
        assert!(role_lists("\nconst A: u8 = 1;").is_err());
    }

    #[test]
    fn the_scripts_are_those_of_the_crate() {
        let code = "include_str!(\"page.css\"); [include_str!(\"b.js\"), include_str!(\"a.js\")]";
        assert_eq!(shared_scripts(code).unwrap(), ["b.js", "a.js"]);
        assert!(shared_scripts("").is_err());
    }

    #[test]
    fn a_file_that_was_changed_by_hand_is_named() {
        let dir = workspace::Scratch::new().unwrap();
        let write = |folder: &str, name: &str, text: &str| {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join(name), text).unwrap();
        };
        write(SHARED, "mod.rs", "include_str!(\"a.js\")");
        write(SHARED, "a.js", "// A.\n");
        write(SHARED, "page.css", "a {}\n");
        write(
            "crates/nwc/src",
            "role.rs",
            "\nconst A: [&str; 1] = [\"b\"];\n",
        );
        OWN_SCRIPTS.iter().for_each(|name| write(OWN, name, ""));
        write(OWN, "viewer.css", "b {}\n");
        write(
            OWN,
            "index.html",
            "<!doctype html>\n<style>{style}</style>\n",
        );
        for (name, text) in files(dir.path()).unwrap() {
            write("", name, &text);
        }
        assert_eq!(problems(dir.path()).unwrap(), [""; 0]);
        write("viewer", "viewer.js", "// Changed.\n");
        let found = problems(dir.path()).unwrap();
        assert!(
            found.len() == 1 && found[0].starts_with("viewer/viewer.js"),
            "{found:?}"
        );
    }
}
