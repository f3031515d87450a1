//! Unpacks chosen files of a wheel, which is a ZIP archive, with Python's own reader of such archives.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const UNPACK: &str = include_str!("python/unpack.py");

/// Unpacks the files that `rules` name into the folder `into`, and returns how many those were.
///
/// A rule is a file's name in the archive, or a folder's with a slash at the end, and where it goes below `into`.
///
/// # Errors
/// Where python3 is missing, the archive cannot be read, a name leads out of `into`, or a file cannot be written;
/// a full disk is named as such.
pub fn unpack(wheel: &Path, into: &Path, rules: &[(&str, &str)]) -> Result<usize> {
    let rules = rules.iter().flat_map(|(from, to)| [from, to]);
    let output = Command::new("python3")
        .args(["-c", UNPACK])
        .args([wheel, into])
        .args(rules)
        .output()
        .context("cannot start python3, which unpacks wheels")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !said.contains("No space left on device"),
            "the disk is full: cannot unpack {}",
            wheel.display()
        );
        let last = said.trim().lines().last().unwrap_or_default();
        bail!("cannot unpack {}: {last}", wheel.display());
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let n_files = printed.trim().parse();
    n_files.with_context(|| format!("python3 printed '{}'", printed.trim()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace::Scratch;

    /// An archive with a library, a header, a program and a name that leads out.
    fn archive(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("a.whl");
        let script = "import sys, zipfile\n\
            with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as z:\n \
            z.writestr('t/lib/a.so', bytes([7]) * 100000)\n \
            z.writestr('t/skip.py', 'x')\n \
            z.writestr('t/include/deep/b.h', 'b')\n \
            z.writestr('u/../../evil', 'e')\n";
        let made = Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        path
    }

    #[test]
    fn only_what_has_a_rule_is_unpacked() {
        let dir = Scratch::new().unwrap();
        let wheel = archive(dir.path());
        let out = dir.path().join("out");
        let rules = [("t/lib/a.so", "lib/a.so"), ("t/include/", "include/")];
        assert_eq!(unpack(&wheel, &out, &rules).unwrap(), 2);
        assert_eq!(fs::read(out.join("lib/a.so")).unwrap(), [7; 100_000]);
        assert_eq!(fs::read(out.join("include/deep/b.h")).unwrap(), b"b");
        assert!(!out.join("skip.py").exists());
        assert_eq!(unpack(&wheel, &out, &[("t/other", "other")]).unwrap(), 0);
    }

    #[test]
    fn a_name_that_leads_out_is_refused() {
        let dir = Scratch::new().unwrap();
        let out = dir.path().join("out");
        let error = unpack(&archive(dir.path()), &out, &[("u/", "u/")]).unwrap_err();
        assert!(error.to_string().contains("u/../../evil"), "{error}");
        assert!(!dir.path().join("evil").exists() && !out.exists());
    }

    #[test]
    fn what_is_no_archive_is_named() {
        let dir = Scratch::new().unwrap();
        let path = dir.path().join("no.whl");
        fs::write(&path, "nothing").unwrap();
        let error = unpack(&path, dir.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("no.whl") && error.contains("zip"), "{error}");
    }
}
