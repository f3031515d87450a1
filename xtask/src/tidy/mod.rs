//! Checks what prose forgets: who may depend on whom, how files look, licences, documents and digests.

mod dependencies;
mod documents;
mod sources;

use anyhow::{Result, bail};

use crate::{fixtures, workspace};

/// `cargo xtask tidy`: prints every problem, and fails where there is one.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut problems = dependencies::problems(&dependencies::metadata()?)?;
    problems.extend(sources::problems(&root)?);
    problems.extend(documents::problems(&root)?);
    problems.extend(fixtures::problems(&root)?);
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("tidy found 1 problem"),
        n_problems => bail!("tidy found {n_problems} problems"),
    }
}
