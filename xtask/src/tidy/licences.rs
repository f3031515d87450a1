//! The licences of all dependencies, by `cargo deny` and its `deny.toml`.

use anyhow::{Context as _, Result};
use xtask::workspace;

/// A line where a licence is not allowed; where `cargo deny` is not installed, nothing is checked, and it is said so.
///
/// # Errors
/// Where cargo cannot be started.
pub(super) fn problems() -> Result<Option<String>> {
    let deny = |arguments: &[&str]| {
        let mut command = workspace::cargo();
        command.arg("deny").args(arguments);
        command.output().context("cannot start cargo")
    };
    if !deny(&["--version"])?.status.success() {
        eprintln!(
            "    licences are not checked: `cargo install --locked cargo-deny` brings what checks them"
        );
        return Ok(None);
    }
    let output = deny(&["--all-features", "check", "licenses"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok((!output.status.success()).then(|| format!("cargo deny check licenses:\n{}", said.trim())))
}
