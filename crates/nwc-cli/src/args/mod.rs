//! The command line's arguments, one file per command that has several.

mod calibrate;
mod compress;
mod decompress;
mod eval;
mod generate;
mod inspect;
mod parse;
mod train;
mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use calibrate::CalibrateArgs;
pub(crate) use compress::{CompressArgs, Preset, Recover};
pub(crate) use decompress::DecompressArgs;
pub(crate) use eval::EvalArgs;
pub(crate) use generate::GenerateArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use parse::Device;
pub(crate) use train::TrainArgs;
pub(crate) use verify::VerifyArgs;

/// Compress the weights of a language model to 2 to 6 bits each, and restore the checkpoint.
#[derive(Debug, Parser)]
#[command(
    name = "nwc-cli",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
pub struct Cli {
    /// Print progress in words (-v) or details, too (-vv); the variable RUST_LOG overrides this
    #[arg(short, long, action = clap::ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Print only errors and the output that a command is for
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compress a Hugging Face checkpoint folder, or hf:org/model (needs a build with the feature hub)
    Compress(Box<CompressArgs>),
    /// Restore an ordinary Hugging Face checkpoint folder from a compressed one
    Decompress(DecompressArgs),
    /// List how each tensor is stored and how many bits it takes
    Inspect(InspectArgs),
    /// Check all digests and decode every tensor
    Verify(VerifyArgs),
    /// Train a codec on the weights of a checkpoint (needs a build with the feature torch)
    Train(TrainArgs),
    /// Gather statistics of a model's activations and gradients (needs a build with the feature torch)
    Calibrate(CalibrateArgs),
    /// Measure perplexity, and KL divergence from a reference (needs a build with the feature torch)
    Eval(EvalArgs),
    /// Continue a text with the most likely tokens (needs a build with the feature torch)
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a man page of each command
    Man {
        /// Folder for the pages, created where it is missing; without it, the program's own page is printed
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// The folders of models that it reads, which may be on the Hub.
    pub(crate) fn models(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Compress(args) => vec![&mut args.model],
            Self::Decompress(args) => vec![&mut args.dir],
            Self::Inspect(args) => vec![&mut args.dir],
            Self::Verify(args) => std::iter::once(&mut args.dir)
                .chain(&mut args.against)
                .collect(),
            Self::Train(args) => vec![&mut args.model],
            Self::Calibrate(args) => vec![&mut args.model],
            Self::Eval(args) => std::iter::once(&mut args.model)
                .chain(&mut args.reference)
                .collect(),
            Self::Generate(args) => vec![&mut args.model],
            Self::Completions { .. } | Self::Man { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(args: &[&str], is_accepted: bool) {
        let all = ["nwc-cli", "compress", "a", "b"].iter().chain(args);
        assert_eq!(Cli::try_parse_from(all).is_ok(), is_accepted, "{args:?}");
    }

    #[test]
    fn one_rate_at_most() {
        check(&[], true);
        let rates = [
            ["--bpw", "3"],
            ["--payload-bpw", "3"],
            ["--target-size", "3MB"],
            ["--lambda", "30"],
            ["--codec", "c"],
        ];
        for (idx, rate) in rates.iter().enumerate() {
            check(rate, true);
            for other in &rates[..idx] {
                check(&[*rate, *other].concat(), false);
            }
        }
        check(&["--max-kl", "0.1"], false);
        check(&["--max-kl", "0.1", "--stats", "s"], true);
        check(&["--max-kl", "0.1", "--stats", "s", "--bpw", "3"], false);
    }

    #[test]
    fn the_paper_has_no_trellis() {
        check(&["--preset", "paper"], true);
        check(&["--preset", "paper", "--lambda", "30"], true);
        for rate in ["--bpw", "--payload-bpw", "--target-size", "--max-kl"] {
            check(&["--preset", "paper", "--stats", "s", rate, "3"], false);
        }
    }

    #[test]
    fn recovery_needs_text_and_statistics() {
        check(&["--recover", "--stats", "s", "--text", "t"], true);
        check(&["--recover=both", "--stats", "s", "--text", "t"], true);
        check(&["--recover", "--text", "t"], false);
        check(&["--recover", "--stats", "s"], false);
        check(&["--text", "t"], false);
    }
}
