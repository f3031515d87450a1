//! Errors of loading, running and measuring a model.

use std::io;
use std::path::PathBuf;

use tch::TchError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of a caller's own weight source or receiver of statistics.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

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
    /// A field of `config.json` is missing or has a value that this crate does not support.
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
    /// A tensor's shape contradicts the configuration.
    #[error("tensor {name:?} has shape {found:?}, the configuration calls for {expected:?}")]
    TensorShape {
        /// The tensor's full name.
        name: String,
        /// The shape in the checkpoint.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor's element type is not a supported float.
    #[error("tensor {name:?} has element type {found}, allowed: F32, F16, BF16, F64")]
    TensorType {
        /// The tensor's full name.
        name: String,
        /// The element type in the checkpoint.
        found: String,
    },
    /// A weight source returned a number of elements that does not match the shape.
    #[error("tensor {name:?} has {found} elements, its shape calls for {expected}")]
    TensorLength {
        /// The tensor's full name.
        name: String,
        /// Elements returned.
        found: usize,
        /// The product of the shape's extents.
        expected: usize,
    },
    /// A weight source failed to read a tensor.
    #[error("cannot read tensor {name:?}")]
    WeightSource {
        /// The tensor's full name.
        name: String,
        /// What the source says.
        source: BoxedError,
    },
    /// The checkpoint folder or the statistics file cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] nwc::Error),
    /// A file beside the checkpoint's weights cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The contents of a file beside the checkpoint's weights cannot be used.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// LibTorch refused an operation (out of memory, no such device).
    #[error("libtorch failed")]
    Torch {
        /// What LibTorch says.
        #[from]
        source: TchError,
    },
    /// The requested device does not exist.
    #[error("device {requested} is not available: LibTorch finds {n_available} CUDA devices")]
    NoDevice {
        /// What was asked for.
        requested: String,
        /// How many CUDA devices LibTorch sees.
        n_available: i64,
    },
    /// A block's output contains NaN or infinity.
    #[error("the output of {block} contains NaN or infinity")]
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
    /// The text has fewer tokens than needed.
    #[error("the text has {n_tokens} tokens, at least {window} are needed")]
    TextTooShort {
        /// Tokens in the text.
        n_tokens: usize,
        /// Tokens needed.
        window: usize,
    },
    /// A window has more tokens than the model has positions, or too few to score.
    #[error("a window of {window} tokens is outside [{min}, {max}]")]
    WindowLength {
        /// Tokens in a window.
        window: usize,
        /// The smallest length allowed here.
        min: usize,
        /// The model's number of positions.
        max: usize,
    },
    /// The tokenizer produced a token that has no row in the embedding.
    #[error(
        "the tokenizer produced token {token_id}, but the model's embedding has {vocab_size} rows"
    )]
    TokenizerMismatch {
        /// The identifier.
        token_id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The tokenizer's file or its input is unusable.
    #[error("the tokenizer failed")]
    Tokenizer {
        /// What the tokenizer says.
        source: BoxedError,
    },
    /// The model does not predict the next token: it is an encoder.
    #[error("{wanted} needs a model that predicts the next token, a {architecture} model does not")]
    NotCausal {
        /// The architecture.
        architecture: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Two models that must share a vocabulary have vocabularies of different sizes.
    #[error("the model has a vocabulary of {found} tokens, the reference one of {expected}")]
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
    /// The receiver of the statistics failed to store or to read one.
    #[error("the statistics of {name:?} cannot be stored or read")]
    Sink {
        /// The linear's or the input's name.
        name: String,
        /// What the receiver says.
        source: BoxedError,
    },
}
