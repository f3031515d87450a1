//! Every flag of every subcommand, in one file; those of the laboratory's commands are its own.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The project's own commands"
)]
pub(crate) struct Xtask {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pass every check: format, tidy, lints, tests, docs, fuzz targets and what needs LibTorch.
    Test(TestFlags),
    /// Check the rules that prose forgets: dependency edges, file heads and lengths, licences, digests.
    Tidy,
    /// Run the entropy coder's tests as on 64-bit Arm, under QEMU; says what to install where it is missing.
    Emulate(EmulateFlags),
    /// Get LibTorch and print the shell lines that make cargo and programs find it.
    Libtorch,
    /// Write the digests of the fixtures and of the codec set into fixtures/MANIFEST.toml, or check them.
    Fixtures {
        /// Change nothing: fail where a file and its digest disagree.
        #[arg(long)]
        check: bool,
    },
    /// Put together the viewer, viewer/, from its sources and the page that `inspect --html` writes.
    Viewer,
    /// Show the whole method on a real model, in half an hour, and write the report; --quick goes without LibTorch.
    Reproduce(LabFlags),
    /// Measure what each part of the method is worth in KL divergence, beside other quantisers.
    Quality(LabFlags),
    /// Measure llama.cpp's quantisers as `quality` measures ours; builds llama.cpp, so it wants a C++ compiler.
    Peers(LabFlags),
    /// Measure how fast the parts and the whole are, beside peers and this machine's ceilings.
    Bench(LabFlags),
    /// Train the codec set of the repository anew, and note its digests.
    Pretrain(LabFlags),
    /// Get SmolLM2-135M-Instruct as a Hugging Face folder and print its path.
    Model(LabFlags),
    /// Write a checkpoint of any size in the shape of a Llama, filled with seeded Gaussian weights.
    Synthetic(LabFlags),
}

#[derive(Debug, Args)]
pub(crate) struct TestFlags {
    /// Leave out the crates that need LibTorch.
    #[arg(long)]
    pub(crate) no_torch: bool,
    /// Run the Python package's tests of torch, transformers and lm-eval too: pip fetches them, 3 GB, once.
    #[arg(long)]
    pub(crate) python_torch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EmulateFlags {
    /// The codecs' tests too, which takes minutes.
    #[arg(long)]
    pub(crate) codec: bool,
}

/// What is handed on to `nwc-lab` as it is; `--help` shows what there is.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct LabFlags {
    /// Arguments of the laboratory's command; --help lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Xtask::command().debug_assert();
    }

    #[test]
    fn the_laboratory_gets_its_arguments_as_they_are() {
        let arguments = ["xtask", "reproduce", "--lambdas", "30,1e4", "--help"];
        let xtask = Xtask::try_parse_from(arguments).unwrap();
        let Command::Reproduce(flags) = xtask.command else {
            panic!("not reproduce")
        };
        assert_eq!(flags.arguments, &arguments[2..]);
    }
}
