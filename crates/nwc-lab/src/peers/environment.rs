//! A Python environment of its own with llama.cpp's quantiser, in `target/peers/venv/`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use xtask::{fetch, workspace};

const REQUIREMENTS: &str = include_str!("../../python/requirements.txt");
const REQUIREMENTS_PATH: &str = "crates/nwc-lab/python/requirements.txt";

/// The packages that rows depend on.
const MEASURED: [&str; 2] = ["llama-cpp-python", "gguf"];

/// Of llama.cpp only the library is built, and for any processor of the platform, not for this one.
const CMAKE_ARGS: &str = "-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DGGML_NATIVE=OFF -DLLAMA_BUILD_COMMON=OFF \
    -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF";

/// Names of C++ compilers that CMake tries, after that in `CXX`.
const COMPILERS: [&str; 3] = ["c++", "g++", "clang++"];

const INSTEAD: &str = "`cargo xtask quality` measures everything else without it";

/// The packages that rows depend on, with their versions: `llama-cpp-python==1.2, gguf==3.4`.
pub(crate) fn packages() -> String {
    let pinned = |name: &&str| {
        let mut lines = REQUIREMENTS.lines();
        lines.find(|line| line.split("==").next() == Some(*name))
    };
    let found: Vec<_> = MEASURED.iter().filter_map(pinned).collect();
    found.join(", ")
}

/// The environment's Python; installs the pinned packages where that has not been done.
///
/// # Errors
/// Where python3, its venv or pip, a C++ compiler or the network is missing, or llama.cpp does not build.
pub(super) fn provide() -> Result<PathBuf> {
    let venv = super::dir().join("venv");
    let python = venv.join("bin").join("python");
    // Written when all is installed: another answer means that it is done again.
    let stamp = venv.join("installed.txt");
    if python.is_file() && fs::read_to_string(&stamp).is_ok_and(|found| found == REQUIREMENTS) {
        return Ok(python);
    }
    check_compiler(env::var_os("CXX"), &COMPILERS)?;
    workspace::title(&format!("install {} (builds llama.cpp)", packages()));
    make_venv(&venv)?;
    let mut command = Command::new(&python);
    command
        .args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(["--no-input", "--requirement"])
        .arg(workspace::root().join(REQUIREMENTS_PATH))
        .env("CMAKE_ARGS", CMAKE_ARGS);
    fetch::run_pip(&mut command, &format!("install {}", packages()), INSTEAD)?;
    workspace::write_whole(&stamp, REQUIREMENTS)?;
    Ok(python)
}

/// llama-cpp-python comes as source.
fn check_compiler(chosen: Option<OsString>, names: &[&str]) -> Result<()> {
    let chosen = chosen.filter(|name| !name.is_empty());
    let tried: Vec<OsString> = match chosen {
        Some(name) => vec![name],
        None => names.iter().map(OsString::from).collect(),
    };
    let tried: Vec<_> = tried.iter().map(|name| name.to_string_lossy()).collect();
    let starts = |name: &str| Command::new(name).arg("--version").output().is_ok();
    // `CXX` may have arguments, as in `ccache g++`.
    let mut programs = tried
        .iter()
        .filter_map(|name| name.split_whitespace().next());
    if programs.any(starts) {
        return Ok(());
    }
    bail!(
        "no C++ compiler (tried {}), which builds llama.cpp: `apt install g++`, or set CXX; {INSTEAD}",
        tried.join(", ")
    )
}

fn make_venv(venv: &Path) -> Result<()> {
    let output = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(venv)
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            bail!(
                "python3 cannot make the environment {} (`apt install python3-venv` where that is missing): {}; \
                 {INSTEAD}",
                venv.display(),
                said.trim()
            )
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "there is no python3, which runs llama-cpp-python: `apt install python3-venv`; {INSTEAD}"
        ),
        Err(error) => Err(error).context("cannot start python3"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_are_pinned() {
        let packages = packages();
        let parts: Vec<_> = packages.split(", ").collect();
        assert_eq!(parts.len(), MEASURED.len(), "{packages}");
        for line in REQUIREMENTS.lines() {
            let is_pinned = line.contains("==") || line.is_empty() || line.starts_with('#');
            assert!(is_pinned, "{line}");
        }
        assert!(workspace::root().join(REQUIREMENTS_PATH).is_file());
    }

    #[test]
    fn a_missing_compiler_is_named() {
        let error = check_compiler(Some("no-such-compiler".into()), &COMPILERS).unwrap_err();
        assert!(
            error.to_string().contains("tried no-such-compiler)"),
            "{error}"
        );
        let error = check_compiler(None, &["nothing", "nobody"]).unwrap_err();
        assert!(
            error.to_string().contains("tried nothing, nobody)"),
            "{error}"
        );
    }
}
