//! What a caller may ask of [`crate::compress`] and [`crate::decompress_with`].

use std::path::PathBuf;
use std::sync::Arc;

use nwc_chunk::QualityLevel;
use nwc_codec::SynthesisBackend;
use nwc_compensate::ColumnOrder;

/// Everything about one compression that is not the two folders.
#[derive(Debug, Clone)]
pub struct CompressOptions {
    /// Codec family and rate.
    pub codec: CodecChoice,
    /// What happens to embeddings and output head.
    pub embeddings: Embeddings,
    /// Bits a weight that a trellis codes embeddings finer than it would by what is known of them; `None` for what was
    /// found best (`docs/RESULTS.md`).
    pub embedding_bits: Option<f64>,
    /// States of the trellis that a learned codec's latents run through, 1 for plain rounding, `None` for the codec's
    /// own; with another number its tables are made anew from the checkpoint.
    pub latent_states: Option<u16>,
    /// How columns get their quality level (neural family).
    pub quality_levels: QualityLevels,
    /// Statistics file; `None` compresses data-free.
    pub statistics: Option<PathBuf>,
    /// Whose cost an error is weighed by where there are statistics.
    pub sensitivity: Sensitivity,
    /// How errors are fed back where there are statistics; `None` for no feedback.
    pub feedback: Option<Feedback>,
    /// What weights are divided by before the neural family codes them.
    pub normalization: Normalization,
    /// What the steps of the trellis family follow.
    pub steps: Steps,
    /// What happens to tensors that hold NaN or infinity.
    pub non_finite: NonFinite,
    /// Code everything, write nothing.
    pub dry_run: bool,
}

impl CompressOptions {
    /// Data-free, everything coded, at the rate of `codec`.
    pub fn new(codec: CodecChoice) -> Self {
        Self {
            feedback: Some(Feedback::recommended(&codec)),
            codec,
            embeddings: Embeddings::Code,
            embedding_bits: None,
            latent_states: None,
            quality_levels: QualityLevels::Uniform(QualityLevel(0)),
            statistics: None,
            sensitivity: Sensitivity::Sequences,
            normalization: Normalization::Rows,
            steps: Steps::Full,
            non_finite: NonFinite::Refuse,
            dry_run: false,
        }
    }
}

/// Whose cost an error is weighed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensitivity {
    /// Single tokens': `E[x xᵀ]` and `E[g²]`, as in the paper.
    Tokens,
    /// Single tokens' and whole sequences', where the statistics hold their curvature
    /// ([`nwc_compensate::Curvature`]).
    Sequences,
}

/// How the error of coded columns is made up for in those still to be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// Columns coded between two feedbacks, at least 1; 128 is the paper's.
    pub block_cols: usize,
    /// The order of columns; the paper's is [`ColumnOrder::Natural`].
    pub column_order: ColumnOrder,
}

impl Feedback {
    /// That of the paper's release: last column first, after every 128 columns (METHOD 2.7).
    pub fn paper() -> Self {
        Self {
            block_cols: 128,
            column_order: ColumnOrder::Natural,
        }
    }

    /// After every column.
    ///
    /// The neural family's steps are the same in all columns, so it gains by coding those first whose errors weigh most;
    /// the trellis' steps even that out, and at low rates it loses by it (`docs/RESULTS.md`).
    pub fn recommended(codec: &CodecChoice) -> Self {
        Self {
            block_cols: 1,
            column_order: match codec {
                CodecChoice::Trellis { .. } => ColumnOrder::Natural,
                CodecChoice::Pretrained { .. } | CodecChoice::File(_) => ColumnOrder::Importance,
            },
        }
    }
}

/// Codec family and rate.
#[derive(Debug, Clone, PartialEq)]
pub enum CodecChoice {
    /// The codec of the repository's set that was trained for this lambda.
    Pretrained {
        /// One of [`crate::PRETRAINED_LAMBDAS`].
        lambda: f32,
    },
    /// A codec file of any family.
    File(PathBuf),
    /// A trellis, fitted to the checkpoint.
    Trellis {
        /// What to aim at.
        target: RateTarget,
        /// 4, 8, 16, 64 or 256.
        n_states: usize,
    },
}

/// What a trellis' step is chosen by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RateTarget {
    /// Bits of the whole output over all parameters.
    BpwTotal(f64),
    /// Stored payload and side information over the coded linear weights.
    BpwPayload(f64),
    /// Bytes of the whole output.
    TotalBytes(u64),
    /// Predicted KL divergence, nats a token.
    MaxKl(f64),
    /// The step itself.
    Step(f64),
}

/// What happens to embeddings and output head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embeddings {
    /// Coded finer than the rest.
    Code,
    /// Stored as they are.
    Keep,
}

/// How columns get their quality level.
#[derive(Debug, Clone, PartialEq)]
pub enum QualityLevels {
    /// One level for all.
    Uniform(QualityLevel),
    /// Shares of the columns at level 1, 2, …, the most important at the highest (METHOD 2.7);
    /// without statistics all columns get level 0.
    Shares(Vec<f64>),
}

impl QualityLevels {
    /// The paper's: 10 %, 1 % and 0.1 % at levels 1, 2 and 3.
    pub fn paper() -> Self {
        Self::Shares(vec![0.1, 0.01, 0.001])
    }
}

/// What weights are divided by before the neural family codes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// Each row by its standard deviation (METHOD 2.7).
    Rows,
    /// All rows by the tensor's standard deviation: the paper's ablation without row normalisation (METHOD 3.4).
    Tensor,
}

/// How much of what statistics say the steps of the trellis family follow; all but the last are for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// Each row its scale, as without statistics.
    RowScales,
    /// One step a layer, by the layer's mean importance.
    Layer,
    /// The layer's, and each column by its importance.
    Columns,
    /// The columns', and each row by its importance.
    Full,
}

/// What happens to tensors that hold NaN or infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// An error names the first one.
    Refuse,
    /// Such tensors are stored losslessly.
    Keep,
}

/// How tensors are decoded.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// Where the learned codecs' syntheses run; `None`, the default, for plain Rust on the caller's rayon pool.
    ///
    /// Another backend may round the last bits of a weight differently, and changes nothing before them.
    pub synthesis: Option<Arc<dyn SynthesisBackend>>,
}

impl DecodeOptions {
    /// Synthesis on `backend`.
    pub fn on(backend: Arc<dyn SynthesisBackend>) -> Self {
        Self {
            synthesis: Some(backend),
        }
    }
}

/// Told of progress; calls come from several threads.
pub trait Progress: Sync {
    /// `n_weights` are about to be worked on.
    fn start(&self, what: &str, n_weights: u64);
    /// `n_weights` more are done.
    fn advance(&self, n_weights: u64);
    /// The work announced last is over.
    fn finish(&self);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _n_weights: u64) {}
    fn advance(&self, _n_weights: u64) {}
    fn finish(&self) {}
}
