//! Whole models through the optimised `nwc-cli`, each run a process of its own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::child::{self, Usage};
use xtask::workspace;

/// One way of compressing the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Variant {
    pub(super) what: &'static str,
    /// Arguments of `nwc-cli compress` after the two folders.
    pub(super) arguments: Vec<String>,
    #[serde(skip)]
    pub(super) statistics: Option<PathBuf>,
    /// Fewer runs suffice: this one's output decodes as another's does.
    #[serde(skip)]
    pub(super) is_decoded: bool,
}

/// The fastest of several equal runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Run {
    pub(super) what: &'static str,
    /// `encode`, `decode` (`nwc-cli verify`: digests and weights, nothing written) or `decompress` (to a folder).
    pub(super) task: &'static str,
    pub(super) n_threads: usize,
    pub(super) n_weights: u64,
    pub(super) n_runs: usize,
    pub(super) usage: Usage,
}

impl Run {
    /// Weights a second of wall time.
    pub(super) fn weights_per_s(&self) -> f64 {
        self.n_weights as f64 / self.usage.wall_s
    }
}

/// How often each run is repeated, and with how many threads it goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Repeats {
    pub(super) encode: usize,
    pub(super) encode_threads: Vec<usize>,
    pub(super) decode: usize,
    pub(super) decode_threads: Vec<usize>,
}

/// Runs every variant; compressed folders stay in `out` under the variants' index.
///
/// # Errors
/// Where a run fails.
pub(super) fn measure(
    cli: &Path,
    model: &Path,
    variants: &[Variant],
    repeats: &Repeats,
    out: &Path,
) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for (idx, variant) in variants.iter().enumerate() {
        workspace::title(&format!("whole model: {}", variant.what));
        let packed = packed_folder(out, idx);
        let mut encode: Vec<Run> = Vec::new();
        for &n_threads in &repeats.encode_threads {
            let usage = fastest(repeats.encode, || {
                remove(&packed)?;
                let mut arguments = command("compress", &[model, &packed], n_threads);
                arguments.extend(variant.arguments.iter().map(OsString::from));
                if let Some(file) = &variant.statistics {
                    arguments.extend([OsString::from("--stats"), file.into()]);
                }
                child::run(cli, &arguments)
            })?;
            encode.push(Run {
                what: variant.what,
                task: "encode",
                n_threads,
                n_weights: 0,
                n_runs: repeats.encode,
                usage,
            });
        }
        let totals = nwc::inspect(&packed)?.totals;
        for run in &mut encode {
            run.n_weights = totals.n_coded;
        }
        runs.append(&mut encode);
        if !variant.is_decoded {
            continue;
        }
        let restored = out.join("restored");
        for &n_threads in &repeats.decode_threads {
            let decode = fastest(repeats.decode, || {
                child::run(cli, &command("verify", &[&packed], n_threads))
            })?;
            let decompress = fastest(repeats.decode, || {
                remove(&restored)?;
                child::run(
                    cli,
                    &command("decompress", &[&packed, &restored], n_threads),
                )
            })?;
            for (task, usage) in [("decode", decode), ("decompress", decompress)] {
                runs.push(Run {
                    what: variant.what,
                    task,
                    n_threads,
                    n_weights: totals.n_coded,
                    n_runs: repeats.decode,
                    usage,
                });
            }
        }
        remove(&restored)?;
    }
    Ok(runs)
}

/// Where the variant with this index is kept.
pub(super) fn packed_folder(out: &Path, idx: usize) -> PathBuf {
    out.join(format!("packed-{idx}"))
}

fn command(name: &str, folders: &[&Path], n_threads: usize) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("--quiet"), name.into()];
    arguments.extend(folders.iter().map(|dir| dir.into()));
    arguments.extend(["--threads".into(), n_threads.to_string().into()]);
    arguments
}

/// Runs `one` so many times and keeps the fastest; the largest peak of memory counts.
fn fastest(n: usize, mut one: impl FnMut() -> Result<Usage>) -> Result<Usage> {
    let mut best = one()?;
    for _ in 1..n {
        let usage = one()?;
        let peak_bytes = best.peak_bytes.max(usage.peak_bytes);
        if usage.wall_s < best.wall_s {
            best = usage;
        }
        best.peak_bytes = peak_bytes;
    }
    Ok(best)
}

/// Removes a folder if it is there.
///
/// # Errors
/// Where it cannot be removed.
pub(super) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.with_context(|| format!("cannot remove {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_run_and_the_largest_peak_count() {
        let mut runs = [(3.0, 10), (1.0, 20), (2.0, 30)].into_iter();
        let usage = fastest(3, || {
            let (wall_s, peak) = runs.next().context("three runs")?;
            Ok(Usage {
                wall_s,
                peak_bytes: Some(peak),
                cpu_s: Some(2.0 * wall_s),
            })
        })
        .unwrap();
        assert_eq!(
            usage,
            Usage {
                wall_s: 1.0,
                peak_bytes: Some(30),
                cpu_s: Some(2.0),
            }
        );
    }
}
