//! How a checkpoint is compressed.

use std::path::PathBuf;

use nwc_chunk::QualityLevel;

use super::{Ablation, Normalization, Steps};
use crate::{Error, Result};

/// Everything about one compression that is not the two folders.
///
/// ```
/// use nwc::{CodecChoice, CompressOptions, Embeddings};
///
/// let mut options = CompressOptions::new(CodecChoice::bits(3.5));
/// options.embeddings = Embeddings::Keep;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompressOptions {
    /// Codec family and rate.
    pub codec: CodecChoice,
    /// What happens to embeddings and output head.
    pub embeddings: Embeddings,
    /// Bits a weight by which the trellis codes embeddings finer than other weights; `None` for what was found best
    /// (`docs/RESULTS.md`). Trellis only.
    pub embedding_bits: Option<f64>,
    /// States of the trellis that a learned codec's latents run through; 1 rounds them, `None` takes the codec's own.
    /// With another number the codec's tables are made anew from the checkpoint. Learned codecs only.
    pub latent_states: Option<u16>,
    /// How columns get their quality level; `None` for [`QualityLevels::paper`] where there are statistics and level 0
    /// everywhere where there are none. Learned codecs only.
    pub quality_levels: Option<QualityLevels>,
    /// Statistics file; `None` compresses data-free.
    pub statistics: Option<PathBuf>,
    /// Patterns over tensor names, `*` for any characters and `?` for one: such tensors are stored as they are.
    pub keep: Vec<String>,
    /// Patterns of tensors that are coded although a rule by name keeps them; `keep` goes before.
    pub code: Vec<String>,
    /// Whether weights of FP8, MXFP4, GPTQ or AWQ are opened: decoded to bf16 and coded like any others. Scales and zero
    /// points go, and so does the configuration's entry about them: what is decompressed is a plain model of bf16.
    /// Otherwise quantised tensors are carried bit for bit.
    pub dequantize: bool,
    /// What happens to tensors that hold NaN or infinity.
    pub non_finite: NonFinite,
    /// Whether everything that was written is decoded and compared with the original before the folder appears, and not
    /// a sample of every tensor only. After recovery, which changes the weights, it is decoded and not compared.
    pub verify: bool,
    /// The model card to write, a `README.md` above the checkpoint's own, which decompression gives back.
    pub card: Option<ModelCard>,
    /// Code everything, write nothing.
    pub dry_run: bool,
    /// What a comparison changes about the method.
    pub ablation: Ablation,
}

impl CompressOptions {
    /// Data-free, everything coded, at the rate of `codec`.
    pub fn new(codec: CodecChoice) -> Self {
        Self {
            ablation: Ablation::none(&codec),
            codec,
            embeddings: Embeddings::Code,
            embedding_bits: None,
            latent_states: None,
            quality_levels: None,
            statistics: None,
            keep: Vec::new(),
            code: Vec::new(),
            dequantize: false,
            non_finite: NonFinite::Refuse,
            verify: false,
            card: None,
            dry_run: false,
        }
    }

    /// The paper's method with the learned codec `codec`: embeddings are kept.
    pub fn paper(codec: CodecChoice) -> Self {
        Self {
            embeddings: Embeddings::Keep,
            ablation: Ablation::paper(),
            ..Self::new(codec)
        }
    }

    /// Refuses options that the chosen family has no use for.
    ///
    /// # Errors
    /// [`Error::Argument`] names the option.
    pub(crate) fn check(&self) -> Result<()> {
        let is_trellis = matches!(self.codec, CodecChoice::Trellis { .. });
        let is_lossless = self.codec == CodecChoice::Lossless;
        let refuse = |argument, is_set: bool, allowed: &str| match is_set {
            true => Err(Error::Argument {
                argument,
                found: "given".into(),
                allowed: format!("only with {allowed}"),
            }),
            false => Ok(()),
        };
        if is_lossless {
            let lossy = "a codec that loses something";
            refuse("statistics", self.statistics.is_some(), lossy)?;
            refuse("tensors to code", !self.code.is_empty(), lossy)?;
            refuse("dequantisation", self.dequantize, lossy)?;
            refuse("latents' states", self.latent_states.is_some(), lossy)?;
            refuse("quality levels", self.quality_levels.is_some(), lossy)?;
        }
        if is_trellis {
            let learned = "a learned codec";
            refuse("latents' states", self.latent_states.is_some(), learned)?;
            refuse("quality levels", self.quality_levels.is_some(), learned)?;
            let is_whole = self.ablation.normalization == Normalization::Tensor;
            refuse("normalisation by tensor", is_whole, learned)
        } else {
            let trellis = "the trellis";
            refuse("embedding bits", self.embedding_bits.is_some(), trellis)?;
            refuse("coarser steps", self.ablation.steps != Steps::Full, trellis)
        }
    }
}

/// Codec family and rate.
#[derive(Debug, Clone, PartialEq)]
pub enum CodecChoice {
    /// The learned codec of the built-in set that was trained for this λ.
    Pretrained {
        /// One of [`crate::PRETRAINED_LAMBDAS`].
        lambda: f32,
    },
    /// A learned codec from a codec file.
    File(PathBuf),
    /// None: every tensor comes back bit for bit.
    Lossless,
    /// The trellis, fitted to the checkpoint.
    Trellis {
        /// What to aim at.
        target: RateTarget,
        /// 1, 4, 8, 16, 64 or 256; 8 unless there is a reason.
        n_states: u16,
    },
}

impl CodecChoice {
    /// The trellis with 8 states at `bpw_total` bits of the whole output over all parameters.
    pub fn bits(bpw_total: f64) -> Self {
        Self::Trellis {
            target: RateTarget::BpwTotal(bpw_total),
            n_states: 8,
        }
    }

    /// Whether the rate depends on the bytes of what is not coded.
    pub(crate) fn aims_at_total(&self) -> bool {
        matches!(
            self,
            Self::Trellis {
                target: RateTarget::BpwTotal(_) | RateTarget::TotalBytes(_),
                ..
            }
        )
    }
}

/// What the trellis' step is chosen by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RateTarget {
    /// Bits of the whole output over all parameters.
    BpwTotal(f64),
    /// Stored payload and side information over the coded linear weights.
    BpwPayload(f64),
    /// Bytes of the whole output.
    TotalBytes(u64),
    /// Predicted KL divergence, nats a token; needs statistics.
    MaxKl(f64),
    /// The step itself.
    Step(f64),
}

/// What a model card says that the checkpoint does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelCard {
    /// The id of the original model on a hub, as in `org/model`; without it no base model is named.
    pub base_model: Option<String>,
}

/// What happens to embeddings and output head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embeddings {
    /// Coded, finer than the rest.
    Code,
    /// Stored as they are.
    Keep,
}

/// How columns get their quality level.
#[derive(Debug, Clone, PartialEq)]
pub enum QualityLevels {
    /// One level for all.
    Uniform(QualityLevel),
    /// Shares of the columns at level 1, 2, …, the most important at the highest (paper, section 3.3);
    /// without statistics all columns get level 0.
    Shares(Vec<f64>),
}

impl QualityLevels {
    /// The paper's: 10 %, 1 % and 0.1 % at levels 1, 2 and 3.
    pub fn paper() -> Self {
        Self::Shares(vec![0.1, 0.01, 0.001])
    }
}

/// What happens to tensors that hold NaN or infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// An error names the first one.
    Refuse,
    /// Such tensors are stored as they are.
    Keep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(codec: CodecChoice, change: impl Fn(&mut CompressOptions), expected: Option<&str>) {
        let mut options = CompressOptions::new(codec);
        change(&mut options);
        let found = options.check().err().map(|e| e.to_string());
        match (found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn options_of_the_other_family_are_refused() {
        let trellis = || CodecChoice::bits(4.0);
        let learned = || CodecChoice::Pretrained { lambda: 300.0 };
        check(trellis(), |_| {}, None);
        check(learned(), |_| {}, None);
        check(CodecChoice::Lossless, |_| {}, None);
        let statistics = |o: &mut CompressOptions| o.statistics = Some("s".into());
        check(CodecChoice::Lossless, statistics, Some("statistics"));
        check(
            CodecChoice::Lossless,
            |o| o.latent_states = Some(8),
            Some("latents"),
        );
        check(trellis(), |o| o.latent_states = Some(8), Some("latents"));
        check(learned(), |o| o.latent_states = Some(8), None);
        let levels = |o: &mut CompressOptions| o.quality_levels = Some(QualityLevels::paper());
        check(trellis(), levels, Some("quality levels"));
        check(learned(), levels, None);
        check(trellis(), |o| o.embedding_bits = Some(1.0), None);
        check(
            learned(),
            |o| o.embedding_bits = Some(1.0),
            Some("embedding bits"),
        );
        let steps = |o: &mut CompressOptions| o.ablation.steps = Steps::Layer;
        check(learned(), steps, Some("coarser steps"));
        let tensor = |o: &mut CompressOptions| o.ablation.normalization = Normalization::Tensor;
        check(trellis(), tensor, Some("normalisation"));
    }
}
