//! Arguments of `compress`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parse::{one_of, parse_lambda, parse_size, pretrained_lambdas};

/// Arguments of `compress`.
#[derive(Debug, Args)]
pub struct CompressArgs {
    /// Checkpoint folder with *.safetensors and config.json, or a compressed one to code at another rate
    pub model: PathBuf,
    /// Folder to create; it must not exist
    pub out: PathBuf,

    /// Size of the whole output in bits per parameter, 0.5 to 16 [default: 4]
    #[arg(long, value_name = "BITS", group = "rate", help_heading = RATE)]
    pub bpw: Option<f64>,
    /// Size of the linear layers' payload and side information in bits per weight, 0.25 to 12
    #[arg(long, value_name = "BITS", group = "rate", help_heading = RATE)]
    pub payload_bpw: Option<f64>,
    /// Size of the whole output in bytes, or with a unit as in 60MB or 1.5GB
    #[arg(long, value_name = "SIZE", group = "rate", value_parser = parse_size, help_heading = RATE)]
    pub target_size: Option<u64>,
    /// KL divergence from the original in nats per token, as predicted from --stats; the divergence that one measures can
    /// be a third larger
    #[arg(long, value_name = "KL", group = "rate", requires = "stats", help_heading = RATE)]
    pub max_kl: Option<f64>,
    /// Lambda of the pretrained learned codec to use
    #[arg(
        long,
        value_name = "L",
        group = "rate",
        value_parser = parse_lambda,
        help = lambda_help(),
        help_heading = RATE
    )]
    pub lambda: Option<f32>,
    /// Use this codec file, made by `train`, instead of the trellis
    #[arg(long, value_name = "FILE", group = "rate", help_heading = RATE)]
    pub codec: Option<PathBuf>,

    /// Store every tensor so that it comes back bit for bit: BF16 takes about two thirds of its size
    #[arg(
        long,
        group = "rate",
        conflicts_with_all = ["stats", "states", "embeddings", "embedding_bits", "code", "dequantize", "preset", "recover"],
        help_heading = RATE
    )]
    pub lossless: bool,

    /// Statistics file made by `calibrate`; without it, compression knows only the weights
    #[arg(long, value_name = "FILE", help_heading = QUALITY)]
    pub stats: Option<PathBuf>,
    /// Number of trellis states: 4, 8, 16, 64 or 256, or 1 for a scalar quantiser; more states take more time and lower
    /// the error a little [default: 8; with --lambda or --codec, the codec's own]
    #[arg(long, value_name = "N", help_heading = QUALITY)]
    pub states: Option<u16>,
    /// How embeddings and the output head are stored [default: code]
    #[arg(long, value_name = "HOW", value_parser = one_of(&EMBEDDINGS), help_heading = QUALITY)]
    pub embeddings: Option<nwc::Embeddings>,
    /// Bits per weight that embeddings get beyond what their statistics call for, -4 to 8 (trellis only)
    /// [default: 1; 0 for an output head with weights and statistics of its own]
    #[arg(long, value_name = "BITS", allow_negative_numbers = true, help_heading = QUALITY)]
    pub embedding_bits: Option<f64>,
    /// Store tensors whose name matches PATTERN unchanged; * stands for any characters, ? for one; may be given several times
    #[arg(long, value_name = "PATTERN", help_heading = QUALITY)]
    pub keep: Vec<String>,
    /// Compress tensors whose name matches PATTERN even if compress would keep them by their name or size; --keep takes
    /// precedence; may be given several times
    #[arg(long, value_name = "PATTERN", help_heading = QUALITY)]
    pub code: Vec<String>,
    /// Decode FP8, MXFP4, GPTQ or AWQ weights to BF16 and compress them like any other; decompress then gives a BF16
    /// model. Without this option, quantised tensors are stored unchanged
    #[arg(long, conflicts_with = "recover", help_heading = QUALITY)]
    pub dequantize: bool,
    /// Settings of a published method
    #[arg(long, value_enum, conflicts_with_all = ["bpw", "payload_bpw", "target_size", "max_kl"], help_heading = QUALITY)]
    pub preset: Option<Preset>,

    /// While coding, fine-tune on --text what costs no bits; needs --stats and a build with the feature torch
    #[arg(
        long,
        value_enum,
        value_name = "STAGES",
        num_args = 0..=1,
        default_missing_value = "blocks",
        requires_all = ["stats", "text"],
        help_heading = RECOVERY
    )]
    pub recover: Option<Recover>,
    /// Text to fine-tune on; may be given several times
    #[arg(long, value_name = "FILE", requires = "recover", help_heading = RECOVERY)]
    pub text: Vec<PathBuf>,

    /// What to do with tensors that contain NaN or infinity
    #[arg(long, value_name = "WHAT", value_parser = one_of(&NON_FINITE), default_value = "refuse")]
    pub non_finite: nwc::NonFinite,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Write a model card, README.md, above the checkpoint's own; decompress takes it out again
    #[arg(long, conflicts_with = "dry_run")]
    pub card: bool,
    /// Id of the original model on a hub, for the card [default: the one of hf:org/model]
    #[arg(long, value_name = "ORG/MODEL", requires = "card")]
    pub base_model: Option<String>,
    /// Before the folder appears, decode all of what was written and compare it with the original; otherwise a sample of
    /// every tensor is decoded
    #[arg(long, conflicts_with = "dry_run")]
    pub verify: bool,
    /// Compress and print the report, but write nothing
    #[arg(long)]
    pub dry_run: bool,
}

const RATE: &str = "Rate (give at most one of these)";
const QUALITY: &str = "Quality";
const RECOVERY: &str = "Recovery fine-tuning";

fn lambda_help() -> String {
    format!(
        "Use the pretrained learned codec with this lambda instead of the trellis: {}; a larger lambda is finer",
        pretrained_lambdas()
    )
}

const EMBEDDINGS: [(&str, &str, nwc::Embeddings); 2] = [
    (
        "code",
        "Compressed, with more bits than the other weights",
        nwc::Embeddings::Code,
    ),
    ("keep", "Unchanged", nwc::Embeddings::Keep),
];

const NON_FINITE: [(&str, &str, nwc::NonFinite); 2] = [
    (
        "refuse",
        "Stop with an error that names the first one",
        nwc::NonFinite::Refuse,
    ),
    ("keep", "Store them unchanged", nwc::NonFinite::Keep),
];

/// A published method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Neural Weight Compression (arXiv 2510.11234): a learned codec (--lambda 300 if none is given), unchanged
    /// embeddings, error feedback after every 128 columns
    Paper,
}

/// The stages of recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Recover {
    /// After each coded linear, tune the rest of its block to the output of the original block
    Blocks,
    /// At the end, tune row scales and norms of the whole model to the original's predictions
    Scales,
    /// Blocks, then scales
    Both,
}
