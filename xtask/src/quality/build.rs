//! Goes on in an optimised build of this program, made together with an `nwc-cli` that has LibTorch.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{libtorch, workspace};

/// Set for the optimised build that is started here, so that it does not build again.
const BUILT: &str = "NWC_XTASK_BUILT";

/// Whether this is the optimised build.
pub(super) fn is_done() -> bool {
    env::var_os(BUILT).is_some()
}

/// Where the optimised `nwc-cli` lies.
///
/// # Errors
/// Where this program lies in no build folder.
pub(super) fn cli() -> Result<PathBuf> {
    Ok(release_folder()?.join(format!("nwc-cli{}", env::consts::EXE_SUFFIX)))
}

/// Builds, and runs the optimised build with the arguments of this one.
///
/// # Errors
/// Where LibTorch cannot be had, the build fails or what it was built for does.
pub(super) fn build_and_go_on() -> Result<()> {
    let folder = release_folder()?;
    let libtorch = libtorch::provide()?;
    let mut build = workspace::cargo();
    // In one command, so that cargo settles the features of what both use once.
    build
        .args(["build", "--release", "-p", "xtask", "-p", "nwc-cli"])
        .args(["--features", "nwc-cli/torch"])
        .envs(libtorch.env());
    workspace::step("build, optimised", &mut build)?;
    let status = Command::new(folder.join(format!("xtask{}", env::consts::EXE_SUFFIX)))
        .args(env::args_os().skip(1))
        .env(BUILT, "1")
        .envs(libtorch.env())
        .status()
        .context("cannot start the optimised build")?;
    ensure!(status.success(), "quality failed ({status})");
    Ok(())
}

/// The folder of optimised binaries beside the one this program lies in.
fn release_folder() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let target = program.ancestors().nth(2);
    Ok(target
        .with_context(|| format!("{} lies in no build folder", program.display()))?
        .join("release"))
}
