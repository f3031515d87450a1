//! The binary `nwc-cli`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    nwc_cli::run(nwc_cli::Cli::parse())
}
