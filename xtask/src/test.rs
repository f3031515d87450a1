//! `cargo xtask test`: every check, cheapest first, ending with cargo's own line on the tests.

use std::process::Command;

use anyhow::Result;
use xtask::{libtorch, workspace};

use crate::bindings;
use crate::flags::TestFlags;
use crate::tidy;

/// The crates that need LibTorch, as far as they are there, and the program with everything in it.
const TORCH_CRATES: [&str; 3] = ["nwc-train", "nwc-lm", "nwc-recover"];
const TORCH_PROGRAM: &str = "nwc-cli";
/// What the program takes models of a hub with.
const HUB: &str = "nwc-cli/hub";

/// Runs every step; the first that fails is the last.
pub(crate) fn run(flags: &TestFlags) -> Result<()> {
    workspace::step(
        "format",
        workspace::cargo().args(["fmt", "--all", "--check"]),
    )?;
    workspace::title("tidy");
    tidy::run()?;
    // One selection for lints, tests and docs: cargo settles the features of shared dependencies once, and builds
    // each of them once for checking and once for running.
    let plain = |subcommand: &str| {
        let mut command = workspace::cargo();
        command.args([subcommand, "--workspace"]);
        // What a build without it says is tested with LibTorch.
        command.args(["--features", HUB]);
        torch_crates().for_each(|name| _ = command.args(["--exclude", name]));
        command
    };
    lints("lints", &mut plain("clippy"))?;
    decoders()?;
    docs("docs", &mut plain("doc"))?;
    let mut fuzz = workspace::cargo();
    fuzz.args(["check", "--manifest-path", "fuzz/Cargo.toml"]);
    // Beside everything else, so that the fuzz targets' workspace keeps no build folder of its own.
    fuzz.arg("--target-dir")
        .arg(workspace::store().join("fuzz"));
    workspace::step("fuzz targets build", &mut fuzz)?;
    if flags.python_torch && !flags.no_torch {
        // Its wheel is the one that pip wants.
        libtorch::provide()?;
    }
    bindings::test(flags.python_torch)?;
    let mut tests = plain("test");
    with_fixed_output(&mut tests);
    if flags.no_torch {
        return workspace::last_step("tests", &mut tests);
    }
    workspace::step("tests", &mut tests)?;
    let libtorch = libtorch::provide()?;
    let torch = |subcommand: &str| {
        let mut command = workspace::cargo();
        command.args([subcommand, "-p", TORCH_PROGRAM]);
        command.args(["--features", &format!("{TORCH_PROGRAM}/torch")]);
        torch_crates().for_each(|name| _ = command.args(["-p", name]));
        command.envs(libtorch.env());
        command
    };
    lints("lints, with LibTorch", &mut torch("clippy"))?;
    docs("docs, with LibTorch", &mut torch("doc"))?;
    workspace::last_step(
        "tests, with LibTorch",
        with_fixed_output(&mut torch("test")),
    )
}

/// Lints of the facade as a decoder: features of a workspace add up, so that nothing else builds it like that.
fn decoders() -> Result<()> {
    for features in ["", "neural"] {
        let mut clippy = workspace::cargo();
        clippy.args([
            "clippy",
            "-p",
            "nwc",
            "--no-default-features",
            "--features",
            features,
        ]);
        clippy.args(["--", "-D", "warnings"]);
        workspace::step(
            &format!("lints, decoder with features [{features}]"),
            &mut clippy,
        )?;
    }
    Ok(())
}

fn torch_crates() -> impl Iterator<Item = &'static str> {
    let crates = workspace::root().join("crates");
    let is_there = move |name: &&str| crates.join(name).join("Cargo.toml").is_file();
    TORCH_CRATES.into_iter().filter(is_there)
}

fn lints(title: &str, command: &mut Command) -> Result<()> {
    workspace::step(
        title,
        command.args(["--all-targets", "--", "-D", "warnings"]),
    )
}

fn docs(title: &str, command: &mut Command) -> Result<()> {
    workspace::step(
        title,
        command.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Error texts are compared in tests: no backtraces in them, no colours, one width.
fn with_fixed_output(command: &mut Command) -> &mut Command {
    command
        .env("RUST_BACKTRACE", "0")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env("INSTA_UPDATE", "no")
}
