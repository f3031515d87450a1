//! Compresses, decompresses and compares at every rate, and measures each.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::results::{Measurements, Rate, ThreadComparison};
use super::{Plan, reference, round_trip, sections};
use crate::child;
use crate::pretrain::{self, Trained};
use crate::progress::Steps;
use crate::report::Section;

/// The figures are asked for on 2 cores.
const N_THREADS: usize = 2;

/// What one λ takes, with the first one's compression with one thread, and the scalar quantisers.
const RATE_S: f64 = 11.0;
const FIRST_RATE_S: f64 = 22.0;
const REFERENCE_S: f64 = 20.0;

/// What each step of [`measure`] takes on two free cores, seconds.
pub(super) fn expected_s(lambdas: &[f64]) -> Vec<f64> {
    let mut expected = vec![RATE_S; lambdas.len()];
    if let Some(first) = expected.first_mut() {
        *first = FIRST_RATE_S;
    }
    expected.push(REFERENCE_S);
    expected
}

/// Measures the rates, errors and round trips in the plan.
///
/// # Errors
/// Where a command fails or a result cannot be read. What does not survive the round trip is no error here
/// but a problem listed in the measurements.
pub(super) fn measure(plan: &Plan, steps: &mut Steps) -> Result<(Measurements, Vec<Section>)> {
    let program = program_version(plan)?;
    fs::create_dir_all(&plan.out).with_context(|| format!("cannot make {}", plan.out.display()))?;
    let trained = if plan.retrain {
        pretrain::train(
            &plan.cli,
            &plan.model,
            &plan.lambdas,
            &plan.out.join("codecs"),
        )?
    } else {
        Vec::new()
    };
    let start = Instant::now();
    let mut found = Measurements {
        n_threads: N_THREADS,
        ..Measurements::default()
    };
    for (idx, &lambda) in plan.lambdas.iter().enumerate() {
        let expected_s = if idx == 0 { FIRST_RATE_S } else { RATE_S };
        steps.begin(&format!("round trip at λ = {lambda}"), expected_s);
        let codec = trained.iter().find(|trained| trained.lambda == lambda);
        let rate = measure_rate(plan, lambda, codec, &mut found)?;
        found.rates.push(rate);
    }
    steps.begin("scalar quantisers on the same weights", REFERENCE_S);
    let n_coded = found
        .rates
        .iter()
        .map(|rate| rate.totals.n_coded)
        .max()
        .unwrap_or(0);
    let begin = Instant::now();
    found.reference = reference::measure(&plan.model, n_coded)?;
    eprintln!("    {:.1} s", begin.elapsed().as_secs_f64());
    for rate in &mut found.rates {
        let ecsq = found
            .reference
            .ecsq_bits(rate.totals.nmse_normalized_linear);
        rate.gap_to_ecsq = ecsq.map(|bits| rate.totals.bpw_payload_linear - bits);
    }
    found.wall_s = start.elapsed().as_secs_f64();
    let sections = sections::all(&found, plan, program);
    Ok((found, sections))
}

/// One λ; the first one is compressed with one thread too. The compressed folder stays, the restored one goes.
fn measure_rate(
    plan: &Plan,
    lambda: f64,
    codec: Option<&Trained>,
    found: &mut Measurements,
) -> Result<Rate> {
    let [packed, restored, packed_by_one] = ["", "-restored", "-one-thread"]
        .map(|suffix| plan.out.join(format!("lambda-{lambda}{suffix}")));
    for dir in [&packed, &restored, &packed_by_one] {
        remove(dir)?;
    }
    let rate_arguments: [OsString; 2] = match codec {
        Some(trained) => ["--codec".into(), trained.file.clone().into()],
        None => ["--lambda".into(), lambda.to_string().into()],
    };
    let compress = |to: &PathBuf, n_threads: usize| {
        let mut arguments = in_and_out("compress", &plan.model, to, n_threads);
        arguments.extend(rate_arguments.clone());
        child::run(&plan.cli, &arguments)
    };
    let compress_usage = compress(&packed, N_THREADS)?;
    let inspection = nwc::inspect(&packed)?;
    let totals = inspection.totals.clone();
    eprintln!(
        "    compress    {:6.1} s   {:.3} bits a weight stored, nMSE {:.6}",
        compress_usage.wall_s, totals.bpw_payload_linear, totals.nmse_normalized_linear
    );
    let sizes = inspection.tensors.iter().map(|tensor| tensor.n_weights);
    found.largest_tensor = sizes.max().unwrap_or(0);
    if found.threads.is_none() {
        let compress_one = compress(&packed_by_one, 1)?;
        let first_difference = round_trip::first_difference(&packed, &packed_by_one)?;
        remove(&packed_by_one)?;
        let result = first_difference.as_deref().unwrap_or("the same bytes");
        eprintln!("    one thread  {:6.1} s   {result}", compress_one.wall_s);
        found.threads = Some(ThreadComparison {
            lambda,
            compress_one,
            first_difference,
        });
    }
    let decompress = child::run(
        &plan.cli,
        &in_and_out("decompress", &packed, &restored, N_THREADS),
    )?;
    eprintln!(
        "    decompress  {:6.1} s   {} MiB at most",
        decompress.wall_s,
        decompress
            .peak_bytes
            .map_or("?".into(), |bytes| (bytes >> 20).to_string())
    );
    let begin = Instant::now();
    let round_trip = round_trip::check(&plan.model, &packed, &restored, &inspection)?;
    remove(&restored)?;
    eprintln!(
        "    compare     {:6.1} s   {} tensors and {} files, {} problems",
        begin.elapsed().as_secs_f64(),
        round_trip.n_lossless + round_trip.n_coded,
        round_trip.n_files,
        round_trip.problems.len()
    );
    Ok(Rate {
        lambda,
        training: codec.map(|trained| trained.usage),
        totals,
        gap_to_ecsq: None,
        compress: compress_usage,
        decompress,
        round_trip,
    })
}

fn in_and_out(command: &str, from: &Path, to: &Path, n_threads: usize) -> Vec<OsString> {
    vec![
        "--quiet".into(),
        command.into(),
        from.into(),
        to.into(),
        "--threads".into(),
        n_threads.to_string().into(),
    ]
}

/// Removes what an earlier run left.
fn remove(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

fn program_version(plan: &Plan) -> Result<String> {
    let output = Command::new(&plan.cli).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {}", plan.cli.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
