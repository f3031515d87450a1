//! The project's own commands: `cargo xtask test`, `cargo xtask reproduce` and what they stand on.
#![forbid(unsafe_code)]

mod bench;
mod child;
mod emulate;
mod fetch;
mod fixtures;
mod flags;
mod libtorch;
mod model;
mod optimized;
mod peers;
mod quality;
mod report;
mod reproduce;
mod synthetic;
mod test;
mod tidy;
mod wheel;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use crate::flags::{Command, Xtask};

fn main() -> ExitCode {
    match run(Xtask::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Test(flags) => test::run(&flags),
        Command::Tidy => tidy::run(),
        Command::Bench(flags) => bench::run(&flags),
        Command::Emulate(flags) => emulate::run(&flags),
        Command::Reproduce(flags) => reproduce::run(&flags),
        Command::Quality(flags) => quality::run(&flags),
        Command::Peers(flags) => peers::run(&flags),
        Command::Pretrain(flags) => reproduce::pretrain(&flags),
        Command::Model(flags) => model::run(&flags),
        Command::Synthetic(flags) => synthetic::run(&flags),
        Command::Libtorch => libtorch::run(),
        Command::Fixtures(flags) => fixtures::run(&flags),
    }
}
