//! The project's own commands: `cargo xtask test`, `cargo xtask reproduce` and what they stand on.
#![forbid(unsafe_code)]

mod bindings;
mod emulate;
mod flags;
mod lab;
mod test;
mod tidy;
mod viewer;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use xtask::{fixtures, libtorch};

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
        Command::Emulate(flags) => emulate::run(&flags),
        Command::Libtorch => {
            let lines = libtorch::provide()?.shell_lines();
            Ok(std::io::stdout().write_all(lines.as_bytes())?)
        }
        Command::Fixtures { check: true } => fixtures::check(),
        Command::Fixtures { check: false } => fixtures::update(),
        Command::Viewer => viewer::run(),
        Command::Reproduce(flags) => lab::run("reproduce", &flags.arguments),
        Command::Quality(flags) => lab::run("quality", &flags.arguments),
        Command::Peers(flags) => lab::run("peers", &flags.arguments),
        Command::Bench(flags) => lab::run("bench", &flags.arguments),
        Command::Pretrain(flags) => lab::run("pretrain", &flags.arguments),
        Command::Model(flags) => lab::run("model", &flags.arguments),
        Command::Synthetic(flags) => lab::run("synthetic", &flags.arguments),
    }
}
