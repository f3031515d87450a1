//! Command line of nwc: arguments, progress and printing. The libraries do the work: `nwc`, and with the feature `torch`
//! also `nwc-train`, `nwc-lm` and `nwc-recover`.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod outcome;
mod progress;

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

pub use args::Cli;
use outcome::Outcome;

/// Runs the command and returns the exit code: 0 for success, 1 for a check that failed, 2 for an error.
pub fn run(cli: Cli) -> ExitCode {
    init_logging(cli.verbose, cli.quiet);
    match commands::dispatch(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        // The reader of our output has seen enough.
        Err(err) if outcome::is_broken_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {}", outcome::chain(err.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// Logs go to standard error; `RUST_LOG` wins over `-v` and `-q`.
fn init_logging(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A program that calls this one may have its own subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .try_init();
}
