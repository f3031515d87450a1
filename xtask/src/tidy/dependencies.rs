//! The edges between this workspace's crates.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use xtask::workspace;

/// Which crates of this workspace each crate may name, in every kind of dependency.
///
/// A test that needs more belongs in `nwc-tests`.
const EDGES: [(&str, &[&str]); 12] = [
    ("nwc-chunk", &[]),
    ("nwc-entropy", &[]),
    ("nwc-format", &[]),
    ("nwc-codec", &["nwc-chunk", "nwc-entropy"]),
    ("nwc-compensate", &["nwc-chunk"]),
    ("nwc-hub", &[]),
    ("nwc-train", &["nwc-chunk", "nwc-entropy", "nwc-codec"]),
    (
        "nwc",
        &["nwc-chunk", "nwc-format", "nwc-codec", "nwc-compensate"],
    ),
    ("nwc-lm", &["nwc"]),
    ("nwc-recover", &["nwc", "nwc-lm", "nwc-train"]),
    (
        "nwc-cli",
        &["nwc", "nwc-hub", "nwc-train", "nwc-lm", "nwc-recover"],
    ),
    ("xtask", &[]),
];

/// These see the whole house from outside.
const FREE: [&str; 2] = ["nwc-tests", "nwc-lab"];

/// The crates that need LibTorch; whoever else names them does so optionally.
const TORCH_CRATES: [&str; 3] = ["nwc-train", "nwc-lm", "nwc-recover"];
/// What brings LibTorch in.
const TORCH: [&str; 2] = ["tch", "torch-sys"];

/// A crate of this workspace.
#[derive(Debug)]
pub(super) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    optional: bool,
}

/// Asks cargo for the crates of this workspace.
///
/// # Errors
/// Where cargo fails.
pub(super) fn metadata() -> Result<Vec<Package>> {
    let output = workspace::cargo()
        // What the manifests say is enough: nothing is resolved or fetched.
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    parse(&metadata).context("cannot read what cargo metadata says")
}

fn parse(metadata: &Value) -> Option<Vec<Package>> {
    let dependency = |value: &Value| {
        Some(Dependency {
            name: value["name"].as_str()?.into(),
            optional: value["optional"].as_bool()?,
        })
    };
    let package = |value: &Value| {
        let dependencies = value["dependencies"].as_array()?.iter().map(dependency);
        Some(Package {
            name: value["name"].as_str()?.into(),
            dependencies: dependencies.collect::<Option<_>>()?,
        })
    };
    let packages = metadata["packages"].as_array()?;
    packages.iter().map(package).collect()
}

/// Every edge that is not allowed, a line each.
///
/// # Errors
/// Where a crate of the workspace is not in the table.
pub(super) fn problems(packages: &[Package]) -> Result<Vec<String>> {
    let members = packages.iter().map(|package| package.name.as_str());
    let members: BTreeSet<&str> = members.collect();
    let mut problems = Vec::new();
    for package in packages {
        problems.extend(edge_problems(package, &members)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency = |&(name, optional): &(&str, bool)| Dependency {
            name: name.into(),
            optional,
        };
        Package {
            name: name.into(),
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
        check("nwc-recover", "nwc-lm", false, None);
        check("nwc-tests", "nwc-format", false, None);
        check("nwc-tests", "nwc-lm", false, Some("make it optional"));
        check("nwc-lab", "xtask", false, None);
        check("nwc-lm", "tch", false, None);
        check("nwc-lab", "tch", true, Some("nwc-recover may"));
        check("xtask", "nwc-format", false, Some("not in the table"));
    }

    #[test]
    fn a_crate_without_a_line_is_an_error() {
        let error = edge_problems(&package("nwc-new", &[]), &BTreeSet::new()).unwrap_err();
        assert!(error.to_string().contains("nwc-new"));
    }

    #[test]
    fn what_cargo_says_is_read() {
        let said =
            r#"{"packages": [{"name": "a", "dependencies": [{"name": "b", "optional": true}]}]}"#;
        let packages = parse(&serde_json::from_str(said).unwrap()).unwrap();
        assert_eq!(packages[0].name, "a");
        assert!(packages[0].dependencies[0].optional && packages[0].dependencies[0].name == "b");
        assert!(parse(&serde_json::json!({"packages": [{"name": "a"}]})).is_none());
    }
}
