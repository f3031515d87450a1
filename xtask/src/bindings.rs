//! The Python package: its Rust checked like the rest, its wheel built and installed, its tests run against the wheel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xtask::{fetch, workspace};

/// The package's own workspace.
const MANIFEST: &str = "bindings/python/Cargo.toml";
/// What building and testing need, with versions and digests.
const REQUIREMENTS: &str = "bindings/python/tests/requirements.txt";
/// What the tests of torch, transformers and lm-eval need, with versions and digests.
const TORCH_REQUIREMENTS: &str = "bindings/python/tests/requirements-torch.txt";

/// Checks formatting and lints, builds the wheel and runs pytest in a virtual environment below `target/`.
///
/// Tests of torch and transformers run where the environment has them, and are reported as skipped elsewhere;
/// `with_torch` installs them there.
///
/// # Errors
/// Where a step fails; python3 or its module venv is missing.
pub(crate) fn test(with_torch: bool) -> Result<()> {
    let target = workspace::store().join("python");
    let cargo = |subcommand: &str| {
        let mut command = workspace::cargo();
        command.args([subcommand, "--manifest-path", MANIFEST]);
        command
    };
    workspace::step("format, Python package", cargo("fmt").arg("--check"))?;
    let mut lints = cargo("clippy");
    lints.arg("--target-dir").arg(&target);
    lints.args(["--release", "--all-targets", "--", "-D", "warnings"]);
    workspace::step("lints, Python package", &mut lints)?;

    let python = environment(&target.join("environment"), with_torch)?;
    let wheels = target.join("wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).with_context(|| wheels.display().to_string())?;
    }
    let mut build = Command::new(&python);
    build.current_dir(workspace::root());
    build.args(["-m", "maturin", "build", "--release", "--locked"]);
    build
        .args(["--manifest-path", MANIFEST, "--out"])
        .arg(&wheels);
    build.arg("--target-dir").arg(&target);
    workspace::step("wheel", &mut build)?;
    let built = workspace::files_below(&wheels)?;
    ensure!(built.len() == 1, "maturin built {built:?}, not one wheel");
    let mut install = pip(&python);
    install
        .args(["--force-reinstall", "--no-deps", "--no-index"])
        .args(&built);
    workspace::step("install the wheel", &mut install)?;
    let mut tests = Command::new(&python);
    tests.current_dir(workspace::root());
    tests.args(["-m", "pytest", "-q", "-rs", "bindings/python/tests"]);
    workspace::step("tests, Python package", &mut tests)
}

/// The interpreter of the virtual environment in `dir`, which holds what the requirements name.
fn environment(dir: &Path, with_torch: bool) -> Result<PathBuf> {
    let python = match cfg!(windows) {
        true => dir.join("Scripts/python.exe"),
        false => dir.join("bin/python"),
    };
    if !python.is_file() {
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(dir);
        workspace::step("virtual environment", &mut make)
            .context("python3 with its module venv is needed (apt-get install python3-venv)")?;
    }
    require(&python, dir, "maturin, pytest, numpy", REQUIREMENTS)?;
    if with_torch {
        require(
            &python,
            dir,
            "torch, transformers, lm-eval",
            TORCH_REQUIREMENTS,
        )?;
    }
    Ok(python)
}

/// Installs what the file `requirements` names, unless that was done before.
fn require(python: &Path, dir: &Path, title: &str, requirements: &'static str) -> Result<()> {
    let path = workspace::root().join(requirements);
    let wanted = fs::read(&path).context(requirements)?;
    let installed = dir.join(path.file_name().unwrap_or_default());
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        let mut install = pip(python);
        // The file is whole: left to resolve extras, pip takes later versions, which have no digest here.
        install.args([
            "--require-hashes",
            "--no-deps",
            "--requirement",
            requirements,
        ]);
        // LibTorch comes out of the wheel of torch: one download does for both.
        install.arg("--find-links").arg(fetch::wheels()?);
        workspace::step(title, &mut install)?;
        fs::write(&installed, wanted).with_context(|| installed.display().to_string())?;
    }
    Ok(())
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.current_dir(workspace::root());
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    command
}
