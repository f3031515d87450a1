//! `cargo xtask bench`: how fast the parts and the whole are, beside peers and this machine's ceilings.
//!
//! Kernels are the crates' divan benches, whole runs are processes of the optimised `nwc-cli`; every figure is the
//! fastest of several. Ratios of one run count: what else the machine does slows all of it.

mod divan;
mod goals;
mod kernels;
mod machine;
mod single;
mod statistics;
mod tables;
mod whole;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use self::goals::Goal;
use self::kernels::Kernels;
use self::machine::Machine;
use self::single::SingleTensor;
use self::whole::{Repeats, Run, Variant};
use crate::flags::BenchFlags;
use crate::{model, program};
use xtask::workspace;

const TRELLIS: &str = "trellis, 8 states";
const TRELLIS_STATISTICS: &str = "trellis, 8 states, statistics";
const NEURAL: &str = "neural, small";

/// Repeats of opening and decoding one tensor.
const N_SINGLE: usize = 5;

/// Everything that was measured in one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Bench {
    machine: Machine,
    kernels: Kernels,
    variants: Vec<Variant>,
    runs: Vec<Run>,
    single: Vec<SingleTensor>,
    goals: Vec<Goal>,
}

/// Measures, prints the tables, and writes `bench.json`.
///
/// # Errors
/// Where something does not build or run, or the folder cannot be written to.
pub(crate) fn run(flags: &BenchFlags) -> Result<()> {
    for (flag, path) in [("--model", &flags.model), ("--stats", &flags.stats)] {
        if let Some(path) = path {
            ensure!(path.exists(), "{flag} {}: no such file", path.display());
        }
    }
    let model = match &flags.model {
        Some(dir) => dir.clone(),
        None => model::provide()?,
    };
    fs::create_dir_all(&flags.out)
        .with_context(|| format!("cannot make {}", flags.out.display()))?;
    let bench = measure(flags, &model)?;
    let path = flags.out.join("bench.json");
    workspace::write_whole(&path, &(serde_json::to_string_pretty(&bench)? + "\n"))?;
    let mut stdout = std::io::stdout().lock();
    for table in tables::tables(&bench) {
        writeln!(stdout, "{}", table.to_text())?;
    }
    writeln!(stdout, "written to {}", path.display())?;
    Ok(())
}

fn measure(flags: &BenchFlags, model: &Path) -> Result<Bench> {
    let mut machine = Machine::new();
    let (seconds, repeats) = match flags.quick {
        true => (
            0.2,
            Repeats {
                encode: 1,
                encode_threads: vec![2],
                decode: 2,
                decode_threads: vec![1, 2],
            },
        ),
        false => (
            1.0,
            Repeats {
                encode: 2,
                encode_threads: vec![1, 2],
                decode: 5,
                decode_threads: vec![1, 2],
            },
        ),
    };
    let kernels = kernels::measure(seconds)?;
    let scratch = tempfile::tempdir_in(&flags.out)
        .with_context(|| format!("cannot make a folder in {}", flags.out.display()))?;
    let variants = variants(model, flags.stats.as_deref(), scratch.path())?;
    let cli = program::path()?;
    let runs = whole::measure(&cli, model, &variants, &repeats, scratch.path())?;
    let mut single = Vec::new();
    for (idx, variant) in variants.iter().enumerate().filter(|(_, v)| v.is_decoded) {
        let dir = whole::packed_folder(scratch.path(), idx);
        single.push(single::measure(variant.what, &dir, N_SINGLE)?);
    }
    machine.done();
    let mut bench = Bench {
        machine,
        kernels,
        variants,
        runs,
        single,
        goals: Vec::new(),
    };
    bench.goals = goals::judge(&bench);
    Ok(bench)
}

/// What is run; statistics are made up where none are given.
fn variants(model: &Path, stats: Option<&Path>, scratch: &Path) -> Result<Vec<Variant>> {
    let stats: PathBuf = match stats {
        Some(path) => path.into(),
        None => {
            let path = scratch.join("statistics.safetensors");
            statistics::write(model, &path)?;
            path
        }
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    Ok(vec![
        Variant {
            what: TRELLIS,
            arguments: words("--payload-bpw 3.5"),
            statistics: None,
            is_decoded: true,
        },
        Variant {
            what: TRELLIS_STATISTICS,
            arguments: words("--payload-bpw 3.5"),
            statistics: Some(stats),
            is_decoded: false,
        },
        Variant {
            what: NEURAL,
            arguments: words("--lambda 300"),
            statistics: None,
            is_decoded: true,
        },
    ])
}
