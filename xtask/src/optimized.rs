//! The optimised build that measuring goes on in, made together with `nwc-cli`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{libtorch, workspace};

/// Set for the optimised build that is started here, so that it does not build again.
const BUILT: &str = "NWC_XTASK_BUILT";

/// Whether this is the optimised build.
pub(crate) fn is_running() -> bool {
    env::var_os(BUILT).is_some()
}

/// Where the optimised `nwc-cli` lies.
///
/// # Errors
/// Where this program lies in no build folder.
pub(crate) fn cli() -> Result<PathBuf> {
    Ok(folder()?.join(format!("nwc-cli{}", env::consts::EXE_SUFFIX)))
}

/// Builds, and runs the optimised build with the arguments of this one.
///
/// # Errors
/// Where LibTorch is asked for and cannot be had, the build fails, or what it was built for does.
pub(crate) fn build_and_go_on(with_torch: bool) -> Result<()> {
    let mut build = workspace::cargo();
    // In one command, so that cargo settles the features of what both use once.
    build.args(["build", "--release", "-p", "xtask", "-p", "nwc-cli"]);
    let mut go_on = Command::new(folder()?.join(format!("xtask{}", env::consts::EXE_SUFFIX)));
    go_on.args(env::args_os().skip(1)).env(BUILT, "1");
    if with_torch {
        let libtorch = libtorch::provide()?;
        build
            .args(["--features", "nwc-cli/torch"])
            .envs(libtorch.env());
        go_on.envs(libtorch.env());
    }
    workspace::step("build, optimised", &mut build)?;
    let status = go_on.status().context("cannot start the optimised build")?;
    ensure!(status.success(), "the optimised build failed ({status})");
    Ok(())
}

/// The folder of optimised binaries beside the one this program lies in.
fn folder() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let target = program.ancestors().nth(2);
    Ok(target
        .with_context(|| format!("{} lies in no build folder", program.display()))?
        .join("release"))
}
