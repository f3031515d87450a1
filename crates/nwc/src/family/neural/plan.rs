//! Which learned codec codes which matrix, and at which quality levels.

use std::sync::Arc;

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_chunk::{QualityLevel, ZeroMask};
use nwc_codec::{Codec, NeuralCodec};
use nwc_compensate::quality_levels;

use super::coder::NeuralCoder;
use super::states;
use crate::family::{CodecFile, CodedMatrix, Layer, Layers, MatrixCoder};
use crate::options::{CompressOptions, Normalization, QualityLevels};
use crate::report::Totals;
use crate::survey::{Guidance, Keep};
use crate::{Error, Result, TensorError};

/// Learned codecs planned for one compression.
#[derive(Debug)]
pub(crate) struct NeuralPlan<'a> {
    /// For linear weights first, and for embeddings and head last, where that is another one.
    codecs: Vec<CodecFile>,
    levels: QualityLevels,
    normalization: Normalization,
    layers: &'a Layers<'a>,
}

/// Plans to code with `codecs`: the first for linear weights, the last for embeddings and head.
pub(crate) fn plan<'a>(
    codecs: Vec<CodecFile>,
    options: &CompressOptions,
    layers: &'a Layers<'a>,
) -> Result<NeuralPlan<'a>> {
    let codecs = match options.latent_states {
        Some(n_states) => codecs
            .into_iter()
            .map(|file| states::with_states(file, n_states, layers))
            .collect::<Result<_>>()?,
        None => codecs,
    };
    let levels = match &options.quality_levels {
        Some(levels) => levels.clone(),
        None => QualityLevels::paper(),
    };
    for file in &codecs {
        check_level(neural(file)?, &levels)?;
    }
    Ok(NeuralPlan {
        codecs,
        levels,
        normalization: options.ablation.normalization,
        layers,
    })
}

/// The codec of a file; one of another family is refused.
fn neural(file: &CodecFile) -> Result<&NeuralCodec> {
    match &file.codec {
        Codec::Neural(codec) => Ok(codec),
        Codec::Trellis(_) => Err(Error::Argument {
            argument: "codec",
            found: format!("{}, a trellis", file.id),
            allowed: "a learned codec; a trellis is fitted to the checkpoint at a rate".into(),
        }),
    }
}

/// A level that no codec has is an error before any work is done.
fn check_level(codec: &NeuralCodec, levels: &QualityLevels) -> Result<()> {
    let n_levels = codec.config().n_quality_levels();
    match levels {
        QualityLevels::Uniform(level) if usize::from(level.0) >= n_levels => Err(Error::Argument {
            argument: "quality level",
            found: level.0.to_string(),
            allowed: format!("0 to {}", n_levels - 1),
        }),
        _ => Ok(()),
    }
}

impl NeuralPlan<'_> {
    fn levels(
        &self,
        codec: &NeuralCodec,
        cols: usize,
        guidance: &Guidance,
    ) -> Result<Vec<QualityLevel>, TensorError> {
        Ok(match (&self.levels, &guidance.squared_inputs) {
            (QualityLevels::Uniform(level), _) => vec![*level; cols],
            (QualityLevels::Shares(shares), Some(importance)) => {
                let n = codec.config().n_quality_levels() - 1;
                quality_levels(importance, &shares[..shares.len().min(n)])?
            }
            (QualityLevels::Shares(_), None) => vec![QualityLevel(0); cols],
        })
    }
}

impl MatrixCoder for NeuralPlan<'_> {
    fn codecs(&self) -> &[CodecFile] {
        &self.codecs
    }

    fn code(
        &self,
        layer: &Layer<'_>,
        weights: ArrayView2<'_, f32>,
        zeros: Option<&Arc<ZeroMask>>,
    ) -> Result<(CodedMatrix, Array2<f32>)> {
        let guidance = self.layers.guidance(layer, Keep::No)?;
        let file = match layer.role.is_linear() {
            true => self.codecs.first(),
            false => self.codecs.last(),
        };
        let file = file.expect("a plan has at least one codec");
        let codec = neural(file)?;
        let levels = self
            .levels(codec, weights.ncols(), &guidance)
            .map_err(|e| layer.wrong(e))?;
        NeuralCoder {
            codec,
            codec_id: &file.id,
            levels,
            zeros,
            normalization: self.normalization,
            feedback: guidance.feedback(),
            cancel: self.layers.cancel(),
        }
        .code(weights)
        .map_err(|e| layer.wrong(e))
    }

    fn missed_by(&self, _totals: &Totals) -> Option<f64> {
        None
    }
}
