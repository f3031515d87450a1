//! The edges between this workspace's crates, and the licences of all others.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::workspace;

/// Which crates of this workspace each crate may name, in every kind of dependency.
///
/// A test that needs more belongs into `nwc-tests`.
const EDGES: [(&str, &[&str]); 9] = [
    ("nwc-chunk", &[]),
    ("nwc-entropy", &[]),
    ("nwc-format", &[]),
    ("nwc-codec", &["nwc-chunk", "nwc-entropy"]),
    ("nwc-compensate", &["nwc-chunk"]),
    ("nwc-train", &["nwc-chunk", "nwc-entropy", "nwc-codec"]),
    ("nwc-lm", &["nwc-chunk", "nwc-compensate"]),
    (
        "nwc",
        &[
            "nwc-chunk",
            "nwc-entropy",
            "nwc-format",
            "nwc-codec",
            "nwc-compensate",
        ],
    ),
    ("nwc-cli", &["nwc", "nwc-train", "nwc-lm"]),
];

/// These see the whole house from outside.
const FREE: [&str; 2] = ["nwc-tests", "xtask"];

/// The crates that need LibTorch; whoever else names them does so optionally.
const TORCH_CRATES: [&str; 2] = ["nwc-train", "nwc-lm"];
/// What brings LibTorch in.
const TORCH: [&str; 2] = ["tch", "torch-sys"];

/// Licences that allow use in a work under MIT or Apache-2.0.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What `cargo metadata` says, as far as it is read here.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    license: Option<String>,
    license_file: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    optional: bool,
}

/// Asks cargo.
///
/// # Errors
/// Where cargo fails.
pub(super) fn metadata() -> Result<Metadata> {
    let output = workspace::cargo()
        // One platform, so that the list is the same everywhere and nothing is fetched for others.
        .args([
            "metadata",
            "--format-version=1",
            "--filter-platform=x86_64-unknown-linux-gnu",
        ])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Every edge and licence that is not allowed, a line each.
///
/// # Errors
/// Where a crate of the workspace is not in the table.
pub(super) fn problems(metadata: &Metadata) -> Result<Vec<String>> {
    let is_member = |package: &&Package| metadata.workspace_members.contains(&package.id);
    let members: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(is_member)
        .map(|package| package.name.as_str())
        .collect();
    let mut problems = Vec::new();
    for package in metadata.packages.iter().filter(is_member) {
        problems.extend(edge_problems(package, &members)?);
    }
    for package in metadata
        .packages
        .iter()
        .filter(|package| !is_member(package))
    {
        problems.extend(licence_problem(package));
    }
    Ok(problems)
}

fn edge_problems(package: &Package, members: &BTreeSet<&str>) -> Result<Vec<String>> {
    let name = package.name.as_str();
    let allowed = EDGES
        .iter()
        .find(|(from, _)| *from == name)
        .map(|(_, to)| *to);
    let free = FREE.contains(&name);
    if allowed.is_none() && !free {
        bail!("crate {name} has no line in the table of xtask/src/tidy/dependencies.rs");
    }
    let needs_torch = TORCH_CRATES.contains(&name);
    let mut problems = Vec::new();
    for dependency in &package.dependencies {
        let to = dependency.name.as_str();
        if members.contains(to) && !free && !allowed.is_some_and(|allowed| allowed.contains(&to)) {
            problems.push(format!(
                "{name} depends on {to}: this edge is not in the table"
            ));
        }
        if TORCH.contains(&to) && !needs_torch {
            problems.push(format!(
                "{name} depends on {to}: only {} may",
                TORCH_CRATES.join(" and ")
            ));
        }
        if TORCH_CRATES.contains(&to) && !needs_torch && !dependency.optional {
            problems.push(format!(
                "{name} depends on {to}, which needs LibTorch: make it optional"
            ));
        }
    }
    Ok(problems)
}

fn licence_problem(package: &Package) -> Option<String> {
    let Some(expression) = &package.license else {
        let instead = package.license_file.as_deref().unwrap_or("nothing");
        return Some(format!(
            "dependency {} names no licence, but {instead}",
            package.name
        ));
    };
    let problem = format!("dependency {} has licence '{expression}'", package.name);
    (!is_allowed(expression)).then_some(problem)
}

/// Whether a licence expression leaves a choice made of known licences only.
///
/// Reads the form in use: alternatives joined by `OR` (once `/`), each of parts joined by `AND`; brackets only
/// around alternatives that are one part of an `AND`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    if let Some((before, rest)) = expression.split_once('(')
        && let Some((inside, after)) = rest.split_once(')')
    {
        // The bracket is one part: put in its place a licence that is as good as it is.
        let stand_in = if is_allowed(inside) { "MIT" } else { "unknown" };
        return is_allowed(&format!("{before}{stand_in}{after}"));
    }
    expression.split(" OR ").any(|choice| {
        choice
            .split(" AND ")
            .all(|part| LICENCES.contains(&part.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency = |&(name, optional): &(&str, bool)| Dependency {
            name: name.into(),
            optional,
        };
        Package {
            id: name.into(),
            name: name.into(),
            license: Some("MIT".into()),
            license_file: None,
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[track_caller]
    fn check(from: &str, to: &str, optional: bool, problem: Option<&str>) {
        let members = EDGES.iter().map(|(name, _)| *name).chain(FREE).collect();
        let found = edge_problems(&package(from, &[(to, optional)]), &members).unwrap();
        match problem {
            None => assert_eq!(found, [""; 0]),
            Some(problem) => assert!(found.iter().any(|line| line.contains(problem)), "{found:?}"),
        }
    }

    #[test]
    fn edges_follow_the_table() {
        check("nwc-codec", "nwc-entropy", false, None);
        check("nwc-chunk", "nwc-entropy", false, Some("not in the table"));
        check("nwc-cli", "nwc-train", true, None);
        check("nwc-cli", "nwc-train", false, Some("make it optional"));
        check("nwc-cli", "nwc-codec", false, Some("not in the table"));
        check("nwc-tests", "nwc-format", false, None);
        check("nwc-tests", "nwc-lm", false, Some("make it optional"));
        check("nwc-lm", "tch", false, None);
        check("xtask", "tch", true, Some("only nwc-train and nwc-lm may"));
    }

    #[test]
    fn a_crate_without_a_line_is_an_error() {
        let error = edge_problems(&package("nwc-new", &[]), &BTreeSet::new()).unwrap_err();
        assert!(error.to_string().contains("nwc-new"));
    }

    #[test]
    fn licence_expressions_are_understood() {
        for allowed in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR MIT",
        ] {
            assert!(is_allowed(allowed), "{allowed}");
        }
        for refused in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(GPL-2.0 OR GPL-3.0) AND MIT",
            "",
        ] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }
}
