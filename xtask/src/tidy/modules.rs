//! The direction between the folders inside `nwc`: each may name only those below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use xtask::workspace;

/// Where the folders lie.
const SOURCES: &str = "crates/nwc/src";
/// Which of the others each folder must not name.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("folder", &["family", "encode", "decode"]),
    ("family", &["encode", "decode"]),
    ("decode", &["encode"]),
];

/// Every path that leads against the direction, a line each; tests may look anywhere.
///
/// # Errors
/// Where a file cannot be read.
pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let sources = root.join(SOURCES);
    let read = |path: &Path| {
        let text = fs::read_to_string(path);
        text.with_context(|| format!("cannot read {}", path.display()))
    };
    let lib = sources.join("lib.rs");
    let homes = match lib.is_file() {
        true => homes(&read(&lib)?),
        false => BTreeMap::new(),
    };
    let mut problems = Vec::new();
    for (folder, forbidden) in FORBIDDEN {
        let mut files = workspace::files_below(&sources.join(folder))?;
        files.push(sources.join(format!("{folder}.rs")));
        for path in files {
            if path.file_name().is_some_and(|name| name == "tests.rs") || !path.is_file() {
                continue;
            }
            let name = workspace::relative_name(&sources, &path);
            for named in named_at_root(&read(&path)?, depth(&name)) {
                let home = homes.get(&named).unwrap_or(&named);
                if forbidden.contains(&home.as_str()) {
                    problems.push(format!(
                        "{SOURCES}/{name}: names crate::{named}, and {folder} must not use {home}"
                    ));
                }
            }
        }
    }
    Ok(problems)
}

/// How many modules a file lies below the crate's root.
fn depth(name: &str) -> usize {
    let name = name.strip_suffix("/mod.rs").unwrap_or(name);
    name.split('/').count()
}

/// What `lib.rs` gives out under a name of its own, with the module that it comes from.
fn homes(lib: &str) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for statement in code_of(lib).split("pubuse").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let path = statement
            .trim_start_matches("self::")
            .trim_start_matches("crate::");
        let Some((home, names)) = path.split_once("::") else {
            continue;
        };
        for name in names
            .split([',', '{', '}', ':'])
            .filter(|name| !name.is_empty())
        {
            homes.insert(name.to_string(), home.to_string());
        }
    }
    homes
}

/// The first parts of all paths that begin at the crate's root, in a file `depth` modules below it.
fn named_at_root(text: &str, depth: usize) -> Vec<String> {
    let code = code_of(text).replace(&"super::".repeat(depth), "crate::");
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => named.extend(first_parts(group)),
            None => named.push(identifier(rest)),
        }
    }
    named
}

/// The first part of each path of a group, which begins after its bracket.
fn first_parts(group: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut level = 0;
    let mut starts = true;
    for (at, c) in group.char_indices() {
        if starts && level == 0 && c != '}' {
            parts.push(identifier(&group[at..]));
        }
        starts = c == ',';
        match c {
            '{' => level += 1,
            '}' if level == 0 => break,
            '}' => level -= 1,
            _ => {}
        }
    }
    parts
}

fn identifier(code: &str) -> String {
    let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
    code.chars().take_while(is_part).collect()
}

/// The code before the tests, without comments and blanks.
fn code_of(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]");
    let code = lines.map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(str::split_whitespace).collect()
}

#[cfg(test)]
mod tests {
    use xtask::workspace::Scratch;

    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, problem: Option<&str>) {
        let dir = Scratch::new().unwrap();
        let sources = dir.path().join(SOURCES);
        let path = sources.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        let lib =
            "mod encode;\npub use encode::{\n    options::{CompressOptions, Level}, plan,\n};\n";
        fs::write(sources.join("lib.rs"), lib).unwrap();
        let found = problems(dir.path()).unwrap();
        match problem {
            None => assert_eq!(found, [""; 0]),
            Some(problem) => assert!(found.len() == 1 && found[0].contains(problem), "{found:?}"),
        }
    }

    #[test]
    fn paths_up_are_found_however_they_are_written() {
        let encode = Some("must not use encode");
        check("decode/a.rs", "use crate::encode::plan::Plan;\n", encode);
        check(
            "decode/a.rs",
            "use crate::{\n    error::{A, B},\n    encode::plan,\n};\n",
            encode,
        );
        check("family/mod.rs", "use super::encode;\n", encode);
        check(
            "family/a/b.rs",
            "fn f() { super::super::super::encode::g() }\n",
            encode,
        );
        check("folder/a.rs", "use crate::CompressOptions;\n", encode);
        check("family.rs", "use crate::{Level, Other};\n", encode);
        check(
            "folder/a.rs",
            "use crate::family::Family;\n",
            Some("folder must not use family"),
        );
    }

    #[test]
    fn paths_down_and_tests_are_fine() {
        check("encode/a.rs", "use crate::decode::Checkpoint;\n", None);
        check(
            "decode/a.rs",
            "use crate::{family::Family, error::encode};\n",
            None,
        );
        check(
            "decode/a.rs",
            "// crate::encode\n#[cfg(test)]\nmod tests { use crate::encode; }\n",
            None,
        );
        check("decode/a/tests.rs", "use crate::encode;\n", None);
        check("decode/a.rs", "use super::encode;\n", None);
    }
}
