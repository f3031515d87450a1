//! Where things lie in the repository, and how its commands are run.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// The repository's root folder.
pub fn root() -> PathBuf {
    // Cargo sets the variable for `cargo run`; the compiled-in value serves a binary started by hand.
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let is_root = |dir: &&Path| dir.join("xtask").join("Cargo.toml").is_file();
    let found = manifest_dir.ancestors().find(is_root);
    found.unwrap_or(&manifest_dir).to_path_buf()
}

/// Where LibTorch, the model and reports are kept: `target/` in the repository.
///
/// It does not follow `CARGO_TARGET_DIR`, so that several build folders share one copy.
pub fn store() -> PathBuf {
    root().join("target")
}

/// Every file below `dir` in a fixed order, without hidden ones and build folders.
///
/// # Errors
/// Where a folder cannot be read; a folder that is not there holds nothing.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name.starts_with("target") || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// `path` as seen from `root`, with `/` between the parts.
pub fn relative_name(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}

/// `cargo`, as the one that started this program, in the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    command
}

/// Says on stderr what begins now.
pub fn title(text: &str) {
    eprintln!("\n==> {text}");
}

/// Runs one command to its end under a title; its output goes where ours goes.
///
/// # Errors
/// Where it cannot be started or does not succeed.
pub fn step(text: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    last_step(text, command)?;
    eprintln!("    done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// As [`step`], with nothing said after the command's own last line.
///
/// # Errors
/// As [`step`].
pub fn last_step(text: &str, command: &mut Command) -> Result<()> {
    title(text);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("step '{text}' failed ({status}): `{}`", shown(command));
    }
    Ok(())
}

/// Gives the finished folder `made` its final name, so that it is there whole or not at all.
///
/// # Errors
/// Where it cannot be renamed and nobody else has put the same folder there meanwhile.
pub fn put_in_place(made: &Path, dir: &Path) -> Result<()> {
    match fs::rename(made, dir) {
        Err(_) if dir.is_dir() => Ok(()),
        renamed => renamed.with_context(|| format!("cannot put {} in place", dir.display())),
    }
}

/// Writes a text file under its final name only when it is whole.
///
/// # Errors
/// Where it cannot be written.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let scratch = Scratch::new_in(parent.unwrap_or(Path::new(".")))?;
    let made = scratch.path().join("text");
    fs::write(&made, text)
        .and_then(|()| fs::rename(&made, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A new folder that is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// One where the system keeps temporary files.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new() -> Result<Self> {
        Self::new_in(&env::temp_dir())
    }

    /// One in `parent`, so that what is made in it can be renamed to a place beside it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new_in(parent: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!(".nwc-{}-{count}", process::id()));
        // What an earlier process of this number left behind.
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Gone already where it was renamed; nothing else can be done about what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_holds_the_workspace() {
        assert!(root().join("Cargo.toml").is_file() && root().join("xtask").is_dir());
    }

    #[test]
    fn a_failing_step_names_itself() {
        let error = step("say no", Command::new("false").arg("--now"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("step 'say no' failed") && error.contains("`false --now`"),
            "{error}"
        );
    }
}
