//! `cargo xtask test`: every check, cheapest first, ending with cargo's own line on the tests.

use std::process::Command;

use anyhow::Result;

use crate::flags::TestFlags;
use crate::{libtorch, model, tidy, workspace};

/// What a build with everything in it selects. One selection for lints, docs and tests: cargo then settles the
/// features of shared dependencies once, and builds each of them once for checking and once for running.
const WHOLE: [&str; 3] = ["--workspace", "--features", "nwc-cli/torch"];

/// Runs every step; the first that fails is the last.
pub(crate) fn run(flags: &TestFlags) -> Result<()> {
    workspace::step(
        "format",
        workspace::cargo().args(["fmt", "--all", "--check"]),
    )?;
    workspace::title("tidy");
    tidy::run()?;
    // The default members, which is what a machine without LibTorch builds.
    lints(
        "lints, without LibTorch",
        workspace::cargo().args(["clippy", "--all-targets"]),
    )?;
    let libtorch = if flags.no_torch {
        None
    } else {
        Some(libtorch::provide()?)
    };
    let model = if flags.no_model {
        None
    } else {
        Some(model::provide()?)
    };
    let selection: &[&str] = if flags.no_torch { &[] } else { &WHOLE };
    let cargo = |subcommand: &str| {
        let mut command = workspace::cargo();
        command.arg(subcommand).args(selection);
        if let Some(libtorch) = &libtorch {
            command.envs(libtorch.env());
        }
        command
    };
    if !flags.no_torch {
        lints(
            "lints, whole workspace",
            cargo("clippy").arg("--all-targets"),
        )?;
    }
    workspace::step(
        "docs",
        cargo("doc")
            .arg("--no-deps")
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    let mut tests = cargo("test");
    // Error texts are compared in tests: no backtraces in them, no colours, one width.
    tests
        .env("RUST_BACKTRACE", "0")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env("INSTA_UPDATE", "no");
    match model {
        Some(dir) => tests.env("NWC_TEST_MODEL", dir),
        None => tests.env_remove("NWC_TEST_MODEL"),
    };
    workspace::last_step("tests", &mut tests)
}

fn lints(title: &str, command: &mut Command) -> Result<()> {
    workspace::step(title, command.args(["--", "-D", "warnings"]))
}
