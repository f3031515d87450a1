//! The laboratory: measures the product, compares it with other quantisers, and writes reports.
#![forbid(unsafe_code)]

mod bench;
mod child;
mod flags;
mod folder;
mod model;
mod peers;
mod pretrain;
mod program;
mod progress;
mod quality;
mod quantisers;
mod report;
mod reproduce;
#[cfg(test)]
mod sample;
mod shard;
mod synthetic;

use std::process::ExitCode;

use clap::Parser as _;

use crate::flags::{Command, Lab};

fn main() -> ExitCode {
    match run(Lab::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nwc-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Reproduce(flags) => reproduce::run(&flags),
        Command::Quality(flags) => quality::run(&flags),
        Command::Peers(flags) => peers::run(&flags),
        Command::Bench(flags) => bench::run(&flags),
        Command::Pretrain(flags) => pretrain::run(&flags),
        Command::Model(flags) => model::run(&flags),
        Command::Synthetic(flags) => synthetic::run(&flags),
    }
}
