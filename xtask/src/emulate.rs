//! `cargo xtask emulate`: the tests of the vector paths on 64-bit Arm, under QEMU, on a machine of another kind.
//!
//! On 64-bit Arm itself, `cargo xtask test` runs the same tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use xtask::workspace;

use crate::flags::EmulateFlags;

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// What Debian's packages install, and the name in other distributions.
const EMULATORS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// The C library that the tests are linked to, where Debian and Fedora have it.
const SYSROOTS: [&str; 2] = ["/usr/aarch64-linux-gnu", "/usr/aarch64-linux-gnu/sys-root"];
const PACKAGES: &str = "qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross";

/// What the tests are built and run with.
struct Tools {
    emulator: PathBuf,
    linker: PathBuf,
    sysroot: PathBuf,
}

/// Runs the tests of the entropy coder, and of the codecs where asked for.
pub(crate) fn run(flags: &EmulateFlags) -> Result<()> {
    let tools = tools()?;
    let mut tests = workspace::cargo();
    tests.args(["test", "--release", "--target", TARGET]);
    tests.args(["-p", "nwc-entropy", "--lib", "--tests"]);
    if flags.codec {
        tests.args(["-p", "nwc-codec"]);
    }
    let variable = |what: &str| format!("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{what}");
    let runner = format!(
        "{} -L {}",
        tools.emulator.display(),
        tools.sysroot.display()
    );
    tests
        .env(variable("LINKER"), &tools.linker)
        .env(variable("RUNNER"), runner)
        .env("INSTA_UPDATE", "no");
    workspace::last_step("tests on 64-bit Arm, emulated", &mut tests)
}

/// Finds everything, or says in one message what is missing and how to get it.
fn tools() -> Result<Tools> {
    let mut missing = Vec::new();
    let emulator = EMULATORS.iter().find_map(|name| on_path(name));
    let linker = on_path(LINKER);
    let sysroot = SYSROOTS
        .iter()
        .map(PathBuf::from)
        .find(|dir| dir.join("lib/ld-linux-aarch64.so.1").exists());
    let packages = [
        (emulator.is_none(), EMULATORS[0]),
        (linker.is_none(), LINKER),
        (sysroot.is_none(), "the C library for 64-bit Arm"),
    ];
    missing.extend(
        packages
            .iter()
            .filter(|(gone, _)| *gone)
            .map(|(_, what)| *what),
    );
    let mut hints = Vec::new();
    if !missing.is_empty() {
        hints.push(format!("apt-get install {PACKAGES}"));
    }
    if !has_target()? {
        missing.push("the Rust target");
        hints.push(format!("rustup target add {TARGET}"));
    }
    match (emulator, linker, sysroot) {
        (Some(emulator), Some(linker), Some(sysroot)) if missing.is_empty() => Ok(Tools {
            emulator,
            linker,
            sysroot,
        }),
        _ => bail!("{}", message(&missing, &hints)),
    }
}

fn message(missing: &[&str], hints: &[String]) -> String {
    format!(
        "missing: {}; on Debian or Ubuntu: {}",
        missing.join(", "),
        hints.join(" && ")
    )
}

/// Whether the compiler that builds this repository has the target's standard library, from rustup or not.
fn has_target() -> Result<bool> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "sysroot"])
        .current_dir(workspace::root())
        .output()
        .context("cannot start rustc")?;
    let sysroot = String::from_utf8_lossy(&output.stdout);
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    Ok(library.join("lib").is_dir())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        let hints = [
            format!("apt-get install {PACKAGES}"),
            format!("rustup target add {TARGET}"),
        ];
        assert_eq!(
            message(&[EMULATORS[0], "the Rust target"], &hints),
            "missing: qemu-aarch64-static, the Rust target; on Debian or Ubuntu: \
             apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross && \
             rustup target add aarch64-unknown-linux-gnu"
        );
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(on_path("no-such-emulator").is_none());
        assert!(on_path("cargo").is_some());
    }
}
