//! Checks what prose forgets: who may depend on whom, how files look, packages, licences, documents and digests.

mod dependencies;
mod documents;
mod licences;
mod modules;
mod packages;
mod sources;

use anyhow::{Result, bail};
use xtask::{fixtures, workspace};

use crate::viewer;

/// `cargo xtask tidy`: prints every problem, and fails where there is one.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut problems = dependencies::problems(&dependencies::metadata()?)?;
    problems.extend(modules::problems(&root)?);
    problems.extend(sources::problems(&root)?);
    problems.extend(documents::problems(&root)?);
    problems.extend(viewer::problems(&root)?);
    problems.extend(fixtures::problems(&root)?);
    problems.extend(packages::problems()?);
    problems.extend(licences::problems()?);
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("tidy found 1 problem"),
        n_problems => bail!("tidy found {n_problems} problems"),
    }
}
