//! What can be asked of `nwc-cli`, and nothing about how it is done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Store a language model's weights in 2 to 6 bits each, and get the checkpoint back.
#[derive(Debug, Parser)]
#[command(
    name = "nwc-cli",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
pub struct Cli {
    /// Say more: -v for progress in words, -vv for details (RUST_LOG overrides)
    #[arg(short, long, action = clap::ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing but errors and what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// One thing to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compress a Hugging Face checkpoint folder
    Compress(CompressArgs),
    /// Give the checkpoint back as an ordinary Hugging Face folder
    Decompress(DecompressArgs),
    /// List how each tensor is coded, and what it costs
    Inspect(InspectArgs),
    /// Check every digest and decode every tensor
    Verify(VerifyArgs),
    /// Train a codec on a checkpoint's weights (needs the torch feature)
    Train(TrainArgs),
    /// Gather statistics of a model's activations and gradients (needs the torch feature)
    Calibrate(CalibrateArgs),
    /// Measure perplexity and KL divergence against a reference (needs the torch feature)
    Eval(EvalArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `compress`.
#[derive(Debug, Args)]
pub struct CompressArgs {
    /// Folder of the checkpoint: *.safetensors and config.json
    pub in_dir: PathBuf,
    /// Folder to make; must not exist
    pub out_dir: PathBuf,
    /// Pretrained codec of the neural family: 30, 50, 100, 300, 1000 or 10000; larger is finer
    #[arg(long, value_name = "L", group = "rate")]
    pub lambda: Option<f32>,
    /// Codec file made by `train`
    #[arg(long, value_name = "FILE", group = "rate")]
    pub codec: Option<PathBuf>,
    /// Bits a weight of the whole output, coded with a trellis: 1.5 to 8
    #[arg(long, value_name = "BITS", group = "rate")]
    pub bpw: Option<f64>,
    /// Bits a weight of the linear weights' payload and side information, coded with a trellis
    #[arg(long, value_name = "BITS", group = "rate")]
    pub payload_bpw: Option<f64>,
    /// Size of the whole output, coded with a trellis: bytes, or with kB, MB, GB
    #[arg(long, value_name = "SIZE", group = "rate", value_parser = parse_size)]
    pub target_size: Option<u64>,
    /// Predicted KL divergence (nats a token) to stay below, coded with a trellis; needs --stats
    #[arg(long, value_name = "KL", group = "rate", requires = "stats")]
    pub max_kl: Option<f64>,
    /// Step in KL units, coded with a trellis: what --bpw and its like search for
    #[arg(long, value_name = "STEP", group = "rate")]
    pub step: Option<f64>,
    /// States of the trellis: 4, 8, 16, 64 or 256, more is slower and a little smaller; 1 is a scalar quantiser
    /// [default: 8; the codec's own, which is 1, in the neural family]
    #[arg(long, value_name = "N")]
    pub states: Option<u16>,
    /// Shares of columns at each higher quality level, most important last, as in 0.1,0.01,0.001;
    /// or one level for all columns, as in level:1 (neural family)
    #[arg(long, value_name = "LEVELS")]
    pub quality_levels: Option<QualityLevelsArg>,
    /// Statistics made by `calibrate`; without them compression is data-free
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Whose cost an error is weighed by; statistics made without curvature know single tokens only
    /// [default: sequences; tokens with --preset paper]
    #[arg(long, value_enum, requires = "stats")]
    pub sensitivity: Option<Sensitivity>,
    /// Columns coded between two feedbacks of the error, or none for no feedback; needs --stats [default: 1]
    #[arg(long, value_name = "N", requires = "stats")]
    pub ldlq_block: Option<LdlqBlock>,
    /// Order in which feedback goes through the columns; needs --stats [default: importance for the neural family,
    /// natural for the trellis]
    #[arg(long, value_enum, requires = "stats")]
    pub column_order: Option<ColumnOrder>,
    /// Make up for the error of a row in later rows, too; needs statistics with --output-moments (trellis family;
    /// an experiment: lower error as the statistics weigh it, higher KL divergence where it was measured)
    #[arg(long, requires = "stats")]
    pub row_feedback: bool,
    /// Defaults of another method: paper is Neural Weight Compression's release (embeddings kept, rows normalised,
    /// its quality levels, feedback in natural order after every 128 columns)
    #[arg(long, value_enum, conflicts_with_all = ["bpw", "payload_bpw", "target_size", "max_kl", "step"])]
    pub preset: Option<Preset>,
    /// What weights are divided by before coding (neural family)
    #[arg(long, value_enum, default_value_t = Normalize::Rows)]
    pub normalize: Normalize,
    /// Fine-tune on --text what costs no bits; needs --stats and the torch feature
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, default_missing_value = "blocks", requires_all = ["stats", "text"])]
    pub recover: Option<Recover>,
    /// Text for --recover
    #[arg(long, value_name = "FILE", requires = "recover")]
    pub text: Vec<PathBuf>,
    /// How much of what statistics say the steps follow (trellis family); all but full are for comparisons
    #[arg(long, value_enum, default_value_t = Steps::Full)]
    pub steps: Steps,
    /// What happens to embeddings and output head [default: code]
    #[arg(long, value_enum)]
    pub embeddings: Option<Embeddings>,
    /// Bits a weight that a trellis codes embeddings finer than what is known of them asks for: -4 to 8
    /// [default: 1; 0 for an output head of its own that has statistics]
    #[arg(long, value_name = "BITS", allow_negative_numbers = true)]
    pub embedding_bits: Option<f64>,
    /// What happens to tensors that hold NaN or infinity
    #[arg(long, value_enum, default_value_t = NonFinite::Refuse)]
    pub non_finite: NonFinite,
    /// Threads to use [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Do everything but write the result
    #[arg(long)]
    pub dry_run: bool,
}

/// What weights are divided by before coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Normalize {
    /// Each row by its standard deviation
    Rows,
    /// All rows by the tensor's standard deviation
    Tensor,
}

/// What steps follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Steps {
    /// Each row its scale, as without statistics
    RowScales,
    /// One step a layer, by the layer's mean importance
    Layer,
    /// The layer's, and each column by its importance
    Columns,
    /// The columns', and each row by its importance
    Full,
}

/// Whose cost an error is weighed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sensitivity {
    /// Single tokens'
    Tokens,
    /// Single tokens' and, above all, whole sequences'
    Sequences,
}

/// Order in which feedback goes through the columns of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColumnOrder {
    /// The column whose input is strongest first
    Importance,
    /// Last column first
    Natural,
}

/// Defaults of another method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Neural Weight Compression (arXiv 2510.11234)
    Paper,
}

/// What recovery tunes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Recover {
    /// Block by block: what is not coded yet follows the original block's output after each linear
    Blocks,
    /// At the end: row scales and norms of the whole model follow the original's predictions
    Scales,
    /// Blocks, then scales
    Both,
}

/// Columns between two feedbacks of the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LdlqBlock(
    /// `None` for no feedback.
    pub Option<usize>,
);

impl std::str::FromStr for LdlqBlock {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match (s, s.parse()) {
            ("none", _) => Ok(Self(None)),
            (_, Ok(n)) if n > 0 => Ok(Self(Some(n))),
            _ => Err("neither a positive number nor none".into()),
        }
    }
}

/// What happens to embeddings and output head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Embeddings {
    /// Code them too, finer than the rest
    Code,
    /// Store them as they are
    Keep,
}

/// What happens to tensors that hold NaN or infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NonFinite {
    /// Stop and name the first one
    Refuse,
    /// Store such tensors as they are
    Keep,
}

/// How `--quality-levels` picks a level for each column.
#[derive(Debug, Clone, PartialEq)]
pub enum QualityLevelsArg {
    /// The same level for every column.
    Uniform(u8),
    /// Shares of the columns at level 1, 2, …, by importance.
    Shares(Vec<f64>),
}

impl std::str::FromStr for QualityLevelsArg {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if let Some(level) = s.strip_prefix("level:") {
            return level
                .parse()
                .map(Self::Uniform)
                .map_err(|_| format!("{level} is not a level; as in level:1"));
        }
        let shares = s
            .split(',')
            .map(|share| match share.trim().parse::<f64>() {
                Ok(x) if (0.0..=1.0).contains(&x) => Ok(x),
                _ => Err(format!("{share} is not a share from 0 to 1")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if shares.iter().sum::<f64>() > 1.0 {
            return Err("the shares are more than 1 in all".into());
        }
        Ok(Self::Shares(shares))
    }
}

/// Arguments of `decompress`.
#[derive(Debug, Args)]
pub struct DecompressArgs {
    /// Folder made by `compress`
    pub in_dir: PathBuf,
    /// Folder to make; must not exist
    pub out_dir: PathBuf,
    /// Threads to use [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where to compute a learned codec's synthesis: cpu, or cuda, cuda:N, auto (needs the torch feature)
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder made by `compress`
    pub dir: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder made by `compress`
    pub dir: PathBuf,
    /// Threads to use [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where to compute a learned codec's synthesis: cpu, or cuda, cuda:N, auto (needs the torch feature)
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Folder of the checkpoint whose weights to train on
    pub in_dir: PathBuf,
    /// Codec file to write; its learning curve goes beside it as .json
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Weight of distortion against rate: 30 to 10000 in the paper
    #[arg(long, value_name = "L", required_unless_present = "refreeze")]
    pub lambda: Option<f32>,
    /// States of the trellis over the latents: 4, 8, 16, 64 or 256; 1 rounds them, as the paper does
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub states: u16,
    /// Train nothing: take this codec's transforms and make its tables anew, for --states
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lambda", "preset", "steps", "seed", "resume"])]
    pub refreeze: Option<PathBuf>,
    /// Shape of the codec: paper, small or tiny
    #[arg(long, default_value = "small")]
    pub preset: String,
    /// Training steps [default: the preset's]
    #[arg(long)]
    pub steps: Option<usize>,
    /// Seed of everything random
    #[arg(long, default_value_t = 100)]
    pub seed: u64,
    /// Where to compute: cpu, cuda or auto
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Checkpoint file, written regularly; continues from it if it exists
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Folder of the checkpoint
    pub model: PathBuf,
    /// Text to calibrate on
    #[arg(long, value_name = "FILE", required_unless_present = "self_generated")]
    pub text: Vec<PathBuf>,
    /// Let the model write this many windows itself
    #[arg(long, value_name = "N", conflicts_with = "text")]
    pub self_generated: Option<usize>,
    /// Statistics file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Tokens in a window
    #[arg(long, default_value_t = 1024)]
    pub ctx: usize,
    /// Windows for the Hessians
    #[arg(long, default_value_t = 24)]
    pub windows: usize,
    /// Windows for the output Fisher and the curvature, each half of --ctx; 0 for none
    #[arg(long, default_value_t = 40)]
    pub fisher_windows: usize,
    /// Also gather the second moments of each linear's output gradients, for `compress --row-feedback`
    #[arg(long)]
    pub output_moments: bool,
    /// Leave out the curvature of whole windows, which `compress --sensitivity sequences` goes by; it takes about as long
    /// as the rest of the Fisher
    #[arg(long)]
    pub no_curvature: bool,
    /// Seed of the labels and of generated text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where to compute: cpu, cuda, cuda:N or auto
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Checkpoint folder, plain or compressed
    pub model: PathBuf,
    /// Plain checkpoint to compare with
    #[arg(long = "ref", value_name = "MODEL")]
    pub reference: Option<PathBuf>,
    /// Text to evaluate on
    #[arg(long, value_name = "FILE", required_unless_present = "zero_shot")]
    pub text: Option<PathBuf>,
    /// Tokens in a window
    #[arg(long, default_value_t = 2048)]
    pub ctx: usize,
    /// Stop after this many tokens
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Multiple-choice items, one JSON object a line: context, choices, gold
    #[arg(long, value_name = "FILE")]
    pub zero_shot: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute: cpu, cuda, cuda:N or auto
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Reads `60MB`, `1.5 GB`, `4096`: decimal units.
fn parse_size(s: &str) -> Result<u64, String> {
    let s = s.trim();
    let digits = s.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let unit = s[digits.len()..].trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        _ => return Err(format!("unknown unit {unit}; use kB, MB or GB")),
    };
    match digits.parse::<f64>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok((x * factor) as u64),
        _ => Err(format!("{digits} is not a positive number")),
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

    #[test]
    fn sizes() {
        assert_eq!(parse_size("60MB"), Ok(60_000_000));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("60 parsecs").is_err());
        assert!(parse_size("-1").is_err());
        assert!(parse_size("é").is_err());
    }

    #[test]
    fn quality_levels() {
        assert_eq!("level:2".parse(), Ok(QualityLevelsArg::Uniform(2)));
        assert_eq!(
            "0.1,0.01".parse(),
            Ok(QualityLevelsArg::Shares(vec![0.1, 0.01]))
        );
        assert!("0.9,0.2".parse::<QualityLevelsArg>().is_err());
        assert!("x".parse::<QualityLevelsArg>().is_err());
    }

    #[test]
    fn only_one_rate() {
        let err = Cli::try_parse_from([
            "nwc-cli", "compress", "a", "b", "--lambda", "30", "--bpw", "3",
        ]);
        assert!(err.is_err());
    }
}
