//! What the figures were measured on.

use std::fs;
use std::thread;

use serde::Serialize;

use xtask::workspace;

/// The machine and the state of the sources.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Machine {
    /// As the processor calls itself.
    pub(super) cpu: Option<String>,
    pub(super) n_cores: usize,
    /// Processes that wanted to run in the last minute, when the bench began.
    pub(super) load_before: Option<f64>,
    /// The same when it was done; it counts the bench itself.
    pub(super) load_after: Option<f64>,
    /// Commit of the sources.
    pub(super) commit: Option<String>,
}

impl Machine {
    /// This machine, now; what cannot be told is left out.
    pub(super) fn new() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        Self {
            cpu: model,
            n_cores: thread::available_parallelism().map_or(1, usize::from),
            load_before: load(),
            load_after: None,
            commit: commit(),
        }
    }

    /// Notes the load at the end.
    pub(super) fn done(&mut self) {
        self.load_after = load();
    }
}

fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

fn commit() -> Option<String> {
    let output = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(workspace::root())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
