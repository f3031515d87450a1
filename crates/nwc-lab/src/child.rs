//! Runs a program to its end and measures what its user would: wall time and peak memory.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

/// GNU time reads the peak from the kernel when the program has ended, so it misses nothing.
const GNU_TIME: &str = "/usr/bin/time";
/// How often memory is looked at where GNU time is not there.
const POLL: Duration = Duration::from_millis(5);

/// What one run of a program took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// From start to end, seconds.
    pub(crate) wall_s: f64,
    /// Largest resident set, mapped files included; `None` where the system does not tell.
    pub(crate) peak_bytes: Option<u64>,
    /// Of all threads, in the program and in the kernel, seconds; `None` where the system does not tell.
    pub(crate) cpu_s: Option<f64>,
}

/// Runs `program` with `arguments`; what it says on stderr goes to ours, its output nowhere.
///
/// # Errors
/// Where it cannot be started or does not succeed.
pub(crate) fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Result<Usage> {
    if has_gnu_time() {
        run_under_time(program, arguments)
    } else {
        run_and_look(program, arguments)
    }
}

fn run_under_time<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Result<Usage> {
    let said = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let mut command = Command::new(GNU_TIME);
    command.args(["-f", "%M %U %S", "-o"]).arg(said.path());
    command.arg(program).args(arguments).stdout(Stdio::null());
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let wall_s = start.elapsed().as_secs_f64();
    ensure!(
        status.success(),
        "{} ({status})",
        failed(program, arguments)
    );
    let text = fs::read_to_string(said.path())?;
    let line = text.lines().last().unwrap_or_default();
    let mut fields = line.split(' ').map(str::parse::<f64>);
    let mut field = || fields.next().and_then(Result::ok);
    let kib = field();
    Ok(Usage {
        wall_s,
        peak_bytes: kib.map(|kib| kib as u64 * 1024),
        cpu_s: field().zip(field()).map(|(user, system)| user + system),
    })
}

fn run_and_look<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Result<Usage> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut peak_bytes = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak_bytes = peak_bytes.max(peak_of(child.id()));
        thread::sleep(POLL);
    };
    let wall_s = start.elapsed().as_secs_f64();
    ensure!(
        status.success(),
        "{} ({status})",
        failed(program, arguments)
    );
    Ok(Usage {
        wall_s,
        peak_bytes,
        cpu_s: None,
    })
}

/// BusyBox and BSD have a `time` with other options.
fn has_gnu_time() -> bool {
    Command::new(GNU_TIME)
        .arg("--version")
        .output()
        .is_ok_and(|said| {
            let text = [said.stdout, said.stderr].concat();
            String::from_utf8_lossy(&text).contains("GNU")
        })
}

/// The largest resident set of a process so far, from Linux' /proc.
fn peak_of(process_id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn failed<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_ref().to_string_lossy())
        .collect();
    format!("`{} {}` failed", name.to_string_lossy(), words.join(" "))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(usage: Usage) {
        assert!(usage.wall_s >= 0.05, "{usage:?}");
        let peak = usage.peak_bytes.unwrap();
        assert!((100_000..100_000_000).contains(&peak), "{usage:?}");
    }

    #[test]
    fn time_and_memory_are_measured() {
        let sleep = Path::new("sleep");
        check(run(sleep, &["0.05"]).unwrap());
        check(run_and_look(sleep, &["0.05"]).unwrap());
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = run(Path::new("false"), &["--now"]).unwrap_err().to_string();
        assert!(error.contains("`false --now` failed"), "{error}");
        let error = run_and_look(Path::new("false"), &["--now"]).unwrap_err();
        assert!(
            error.to_string().contains("`false --now` failed"),
            "{error}"
        );
    }
}
