//! What can go wrong between a checkpoint's bytes and a measured model.

use tch::TchError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of loading, running, calibrating or evaluating a language model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The architecture is not among those that this crate runs.
    #[error(
        "architecture {found:?} is not supported (known: {known}); its weights can still be compressed without calibration"
    )]
    UnknownArchitecture {
        /// What `config.json` names.
        found: String,
        /// The supported ones, separated by commas.
        known: String,
    },
    /// `config.json` is not JSON.
    #[error("config.json is not valid JSON")]
    ConfigJson {
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A field of `config.json` is missing or holds what cannot be run.
    #[error("config.json field {field:?} is {found}, allowed: {allowed}")]
    ConfigField {
        /// The field's name.
        field: String,
        /// Its value, or "absent".
        found: String,
        /// What would be accepted.
        allowed: String,
    },
    /// A tensor that the architecture needs is not in the checkpoint.
    #[error("the checkpoint has no tensor {name:?}")]
    MissingTensor {
        /// The tensor's full name.
        name: String,
    },
    /// A tensor's shape does not follow from the configuration.
    #[error("tensor {name:?} has shape {found:?}, the configuration wants {expected:?}")]
    TensorShape {
        /// The tensor's full name.
        name: String,
        /// The shape in the checkpoint.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor's element type is not a float that can be run.
    #[error("tensor {name:?} has element type {found}, allowed: F32, F16, BF16, F64")]
    TensorType {
        /// The tensor's full name.
        name: String,
        /// The element type in the checkpoint.
        found: String,
    },
    /// A shard is not a valid safetensors file.
    #[error("shard {shard_idx} is not a valid safetensors file")]
    Safetensors {
        /// Which of the shards handed in, from 0.
        shard_idx: usize,
        /// What the parser says.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A weight source other than this crate's own failed.
    #[error("reading tensor {name:?}: {message}")]
    WeightSource {
        /// The tensor's full name.
        name: String,
        /// What the source says.
        message: String,
    },
    /// LibTorch refused an operation (out of memory, no such device).
    #[error("libtorch failed")]
    Torch {
        /// What LibTorch says.
        #[from]
        source: TchError,
    },
    /// A requested device is not there.
    #[error("device {requested} is not available, found {n_available} CUDA devices")]
    NoDevice {
        /// What was asked for.
        requested: String,
        /// How many CUDA devices LibTorch sees.
        n_available: i64,
    },
    /// The hidden state that leaves a block holds NaN or infinity.
    #[error("block {block} gives NaN or infinite activations")]
    NonFinite {
        /// The block's name in the checkpoint, or `embedding` or `head`.
        block: String,
    },
    /// A block index past the last block.
    #[error("block {block_idx} does not exist, the model has {n_blocks}")]
    BlockIndex {
        /// The block asked for, from 0.
        block_idx: usize,
        /// How many blocks there are.
        n_blocks: usize,
    },
    /// The text gives fewer tokens than were asked for.
    #[error("the text has {n_tokens} tokens, shorter than one window of {window}")]
    TextTooShort {
        /// Tokens in the text.
        n_tokens: usize,
        /// Tokens in a window.
        window: usize,
    },
    /// A window is longer than the model's positions, or too short to score.
    #[error("a window of {window} tokens is outside [{min}, {max}]")]
    WindowLength {
        /// Tokens in a window.
        window: usize,
        /// The shortest that makes sense here.
        min: usize,
        /// The model's number of positions.
        max: usize,
    },
    /// The tokenizer gives identifiers that the embedding has no row for.
    #[error("the tokenizer gives token {token_id}, the model's embedding has {vocab_size} rows")]
    TokenizerMismatch {
        /// The identifier.
        token_id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The tokenizer's file or the text given to it is not usable.
    #[error("tokenizer: {message}")]
    Tokenizer {
        /// What the tokenizer says.
        message: String,
    },
    /// The model does not predict the next token: it is an encoder.
    #[error("a {architecture} model predicts no next token, {wanted} needs one that does")]
    NotCausal {
        /// The architecture.
        architecture: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Two models that must share a vocabulary do not.
    #[error("the model has {found} vocabulary entries, the reference {expected}")]
    VocabularyMismatch {
        /// Rows of the model's head.
        found: usize,
        /// Rows of the reference's head.
        expected: usize,
    },
    /// An option is outside its range.
    #[error("{option} is {found}, allowed: {allowed}")]
    Argument {
        /// The option's name.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        allowed: String,
    },
    /// A multiple-choice item cannot be scored.
    #[error("line {line} of the multiple-choice file: {message}")]
    ChoiceItem {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The receiver of statistics or of progress refused.
    #[error("storing the statistics of {name:?}: {message}")]
    Sink {
        /// What was being stored.
        name: String,
        /// What the receiver says.
        message: String,
    },
    /// The quantiser that recovery calls failed or gave an unfit result.
    #[error("quantising {linear:?}: {message}")]
    Quantizer {
        /// The linear's weight name.
        linear: String,
        /// What went wrong.
        message: String,
    },
}
