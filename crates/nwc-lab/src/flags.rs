//! Every flag of every subcommand, in one file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The laboratory of nwc"
)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole method on a real model and write the report.
    Reproduce(ReproduceFlags),
    /// Measure what each part of the method is worth in KL divergence, beside other quantisers.
    Quality(QualityFlags),
    /// Measure llama.cpp's quantisers as `quality` measures ours; builds llama.cpp, so it wants a C++ compiler.
    Peers(PeersFlags),
    /// Measure how fast the parts and the whole are, beside peers and this machine's ceilings.
    Bench(BenchFlags),
    /// Train the codec set of the repository anew, into crates/nwc/codecs/, and note its digests.
    Pretrain(PretrainFlags),
    /// Get SmolLM2-135M-Instruct as a Hugging Face folder and print its path.
    Model(ModelFlags),
    /// Write a checkpoint of any size in the shape of a Llama, filled with seeded Gaussian weights.
    Synthetic(SyntheticFlags),
}

#[derive(Debug, Args)]
pub(crate) struct BenchFlags {
    /// Fewer repeats, and nothing encoded on one thread.
    #[arg(long)]
    pub(crate) quick: bool,
    /// A local Hugging Face checkpoint folder to use instead of SmolLM2-135M-Instruct.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Statistics of it to encode with [default: made up, which takes as long].
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
    /// Where bench.json goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReproduceFlags {
    /// Go without LibTorch: rates, errors and round trips only.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Train the codec set first instead of taking the one in crates/nwc/codecs/; needs LibTorch.
    #[arg(long)]
    pub(crate) retrain: bool,
    /// A local Hugging Face checkpoint folder to use instead of SmolLM2-135M-Instruct.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Evaluation text (UTF-8) [default: ../shared/data/wikitext2-test.txt or fixtures/text/evaluation.txt].
    #[arg(
        long,
        value_name = "FILE",
        requires = "calibration_text",
        conflicts_with = "quick"
    )]
    pub(crate) text: Option<PathBuf>,
    /// Calibration text (UTF-8), which nothing is evaluated on; goes with --text.
    #[arg(long, value_name = "FILE", requires = "text")]
    pub(crate) calibration_text: Option<PathBuf>,
    /// The rates of the round trips, as the λ of the codecs [default: 100 and 300; all six with --quick].
    #[arg(long, value_name = "L,...", value_delimiter = ',')]
    pub(crate) lambdas: Option<Vec<f64>>,
    /// Tokens to evaluate.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4096,
        conflicts_with = "quick"
    )]
    pub(crate) max_tokens: usize,
    /// Text that each model continues.
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "quick",
        default_value = "Water boils at a lower temperature on a high mountain because"
    )]
    pub(crate) prompt: String,
    /// Where the report and the compressed folders go.
    #[arg(long, value_name = "DIR", default_value = "target/reproduce")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct QualityFlags {
    /// A local Hugging Face checkpoint folder to use instead of SmolLM2-135M-Instruct.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Evaluation text (UTF-8) [default: ../shared/data/wikitext2-test.txt or fixtures/text/evaluation.txt].
    #[arg(long, value_name = "FILE", requires = "calibration_text")]
    pub(crate) text: Option<PathBuf>,
    /// Calibration text (UTF-8), which nothing is evaluated on; goes with --text.
    #[arg(long, value_name = "FILE", requires = "text")]
    pub(crate) calibration_text: Option<PathBuf>,
    /// The rates to run, as the λ of the codecs.
    #[arg(
        long,
        value_name = "L,...",
        value_delimiter = ',',
        default_value = "30,50,100,300,1000,10000"
    )]
    pub(crate) lambdas: Vec<f64>,
    /// Tokens in a window of evaluation.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) ctx: usize,
    /// Tokens to evaluate.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) max_tokens: usize,
    /// Measure only these rows or families of rows; rows measured before are shown all the same.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Recovery fine-tuning at every λ, not only at 30 and 100: slow.
    #[arg(long)]
    pub(crate) full: bool,
    /// Where results go.
    #[arg(long, value_name = "DIR", default_value = "target/quality")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PeersFlags {
    /// Evaluation text (UTF-8) [default: that of `quality`].
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Tokens in a window of evaluation.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) ctx: usize,
    /// Tokens to evaluate.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) max_tokens: usize,
    /// Measure only these types, as in `Q4_K_M,Q6_K`; types measured before are kept all the same.
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PretrainFlags {
    /// A local Hugging Face checkpoint folder to train on instead of SmolLM2-135M-Instruct.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// The rates to train, as the λ of the codecs.
    #[arg(
        long,
        value_name = "L,...",
        value_delimiter = ',',
        default_value = "30,50,100,300,1000,10000"
    )]
    pub(crate) lambdas: Vec<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct ModelFlags {
    /// Keep the channels in their order, so that the weights stay on the 4-bit grids they came from.
    #[arg(long)]
    pub(crate) no_permute: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SyntheticFlags {
    /// Folder to make; must not exist.
    pub(crate) out: PathBuf,
    /// Layers of the model.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) layers: usize,
    /// About how large it is, in bf16; the width follows.
    #[arg(long, value_name = "GB", default_value_t = 8.0)]
    pub(crate) gigabytes: f64,
    /// Seed of the weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Lab::command().debug_assert();
    }

    #[test]
    fn lambdas_are_split_at_commas() {
        let lab = Lab::try_parse_from(["nwc-lab", "reproduce", "--lambdas", "30,1e4"]).unwrap();
        let Command::Reproduce(flags) = lab.command else {
            panic!("not reproduce")
        };
        assert_eq!(flags.lambdas, Some(vec![30.0, 10_000.0]));
        assert!(Lab::try_parse_from(["nwc-lab", "reproduce", "--quick"]).is_ok());
        assert!(Lab::try_parse_from(["nwc-lab", "reproduce", "--quick", "--prompt", "a"]).is_err());
    }
}
