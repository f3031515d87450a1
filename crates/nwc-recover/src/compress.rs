//! Compression with recovery: both stages around the coding of a checkpoint's linears.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ndarray::Array2;
use nwc::{CodedLinear, CompressOptions, Inspection, LinearCoder, Progress, Recovered};
use nwc_lm::{
    CheckpointWeights, LanguageModel, ModelOptions, OverlaidWeights, Residency, WeightTensor,
};

use crate::blocks::{BlockOptions, BlockRecovery, QuantizedLinear};
use crate::error::{Error, Result};
use crate::scales::{ScaleOptions, tune_scales};

/// The stages of recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stages {
    /// Block by block ([`BlockRecovery`]).
    Blocks,
    /// Row scales and norms at the end ([`tune_scales`]).
    Scales,
    /// Blocks, then scales.
    Both,
}

/// The options of recovery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecoverOptions {
    /// The stages to run.
    pub stages: Stages,
    /// Options of the first stage.
    pub blocks: BlockOptions,
    /// Options of the last stage.
    pub scales: ScaleOptions,
}

impl RecoverOptions {
    /// Settings for small models and two cores.
    #[must_use]
    pub fn small(stages: Stages) -> Self {
        Self {
            stages,
            blocks: BlockOptions::small(),
            scales: ScaleOptions::small(),
        }
    }
}

/// Compresses the checkpoint in `dir` into the new folder `out`, as [`nwc::compress`] does, and tunes the model to `text`
/// while its linears are coded.
///
/// With [`Stages::Blocks`] one block is in memory at a time; otherwise the whole model is, twice.
///
/// # Errors
/// As [`nwc::compress`]; [`nwc::Error::Recovery`] around an [`Error`] where recovery fails.
pub fn compress(
    dir: &Path,
    out: &Path,
    text: &str,
    options: &CompressOptions,
    recover: &RecoverOptions,
    progress: &dyn Progress,
) -> nwc::Result<Inspection> {
    let mut run = |coder: &LinearCoder<'_>| Ok(recovered(dir, text, recover, coder)?);
    nwc::compress_recovered(dir, out, options, &mut run, progress)
}

fn recovered(
    dir: &Path,
    text: &str,
    options: &RecoverOptions,
    coder: &LinearCoder<'_>,
) -> Result<Recovered> {
    let weights = CheckpointWeights::open(dir)?;
    let model = weights.model(ModelOptions {
        residency: match options.stages {
            Stages::Blocks => Residency::PerBlock,
            Stages::Scales | Stages::Both => Residency::Whole,
        },
        ..ModelOptions::default()
    })?;
    let tokens = weights
        .tokenizer()?
        .encode(text, model.config().vocab_size)?;
    let mut coded = Coded::default();
    if matches!(options.stages, Stages::Blocks | Stages::Both) {
        coded.recover_blocks(BlockRecovery::new(&model, &tokens, options.blocks)?, coder)?;
    }
    if matches!(options.stages, Stages::Scales | Stages::Both) {
        coded.complete(coder)?;
        coded.tune_scales((&weights, &model), &tokens, &options.scales, coder)?;
    }
    Ok(coded.finish())
}

/// The linears coded so far, and the tensors tuned beside them.
#[derive(Default)]
struct Coded {
    linears: BTreeMap<String, CodedLinear>,
    /// Tuned row scales, which differ from those in `linears`.
    row_scales: BTreeMap<String, Vec<f32>>,
    /// Tuned tensors that are stored as they are.
    values: BTreeMap<String, Vec<f32>>,
}

impl Coded {
    /// Codes and tunes every block.
    fn recover_blocks(
        &mut self,
        mut recovery: BlockRecovery<'_, '_>,
        coder: &LinearCoder<'_>,
    ) -> Result<()> {
        while let Some(block_idx) = recovery.next_block_idx() {
            let mut linears: BTreeMap<String, CodedLinear> = BTreeMap::new();
            let block = recovery.recover_block(&mut |name, weights| {
                let linear = coder.code(name, weights);
                let linear = linear.map_err(|source| not_coded(name, source))?;
                Ok(linear.map(|linear| {
                    let quantized = QuantizedLinear {
                        normalized: linear.normalized.clone(),
                        row_scales: linear.row_scales.clone(),
                    };
                    linears.insert(name.into(), linear);
                    quantized
                }))
            })?;
            for step in &block.steps {
                tracing::info!(
                    block_idx,
                    linear = step.linear,
                    before = step.loss_before,
                    after = step.loss_after,
                    n_epochs = step.n_epochs,
                    "recovered"
                );
            }
            self.linears.extend(linears);
            let tuned = block.linears.into_iter();
            self.row_scales
                .extend(tuned.map(|(name, linear)| (name, linear.row_scales)));
            let tensors = block.tensors.into_iter();
            self.values
                .extend(tensors.map(|(name, tensor)| (name, tensor.data)));
        }
        Ok(())
    }

    /// Codes everything that is not coded yet, embeddings included.
    fn complete(&mut self, coder: &LinearCoder<'_>) -> Result<()> {
        for name in coder.coded_names() {
            if self.linears.contains_key(name) {
                continue;
            }
            let linear = coder.code_original(name);
            if let Some(linear) = linear.map_err(|source| not_coded(name, source))? {
                self.linears.insert(name.into(), linear);
            }
        }
        Ok(())
    }

    /// Tunes the row scales of the coded linears, and norms, to the original's predictions.
    fn tune_scales(
        &mut self,
        (weights, model): (&CheckpointWeights, &LanguageModel<'_>),
        tokens: &[u32],
        options: &ScaleOptions,
        coder: &LinearCoder<'_>,
    ) -> Result<()> {
        let decoded = OverlaidWeights {
            base: weights,
            replaced: self.decoded(weights, coder)?,
        };
        let student =
            LanguageModel::open(model.config().clone(), &decoded, ModelOptions::default())?;
        let names: BTreeSet<String> = self.linears.keys().cloned().collect();
        let tuned = tune_scales(model, &student, &names, tokens, options, &mut |done, of| {
            tracing::info!(done, of, "tuning scales")
        })?;
        tracing::info!(
            before = tuned.kl_before,
            after = tuned.kl_after,
            "scales tuned, KL on the validation windows"
        );
        for (name, gains) in tuned.gains {
            if let Some(linear) = self.linears.get(&name) {
                let scales = self
                    .row_scales
                    .entry(name)
                    .or_insert(linear.row_scales.clone());
                for (scale, gain) in scales.iter_mut().zip(gains) {
                    *scale *= gain;
                }
            }
        }
        let tensors = tuned.tensors.into_iter();
        self.values
            .extend(tensors.map(|(name, tensor)| (name, tensor.data)));
        Ok(())
    }

    /// The model's tensors as they will be decoded, where they differ from the checkpoint's.
    fn decoded(
        &self,
        weights: &CheckpointWeights,
        coder: &LinearCoder<'_>,
    ) -> Result<BTreeMap<String, WeightTensor>> {
        let mut replaced = BTreeMap::new();
        for (name, linear) in &self.linears {
            let mut linear = linear.clone();
            if let Some(row_scales) = self.row_scales.get(name) {
                linear.row_scales.clone_from(row_scales);
            }
            let decoded = linear.decoded();
            let stored: Array2<f32> = match coder.is_transposed(name) {
                true => decoded.reversed_axes().as_standard_layout().into_owned(),
                false => decoded,
            };
            replaced.insert(name.clone(), stored.into_raw_vec_and_offset().0);
        }
        replaced.extend(self.values.clone());
        let with_shape = |(name, data): (String, Vec<f32>)| {
            let shape = weights.shape(&name)?;
            Ok((name, WeightTensor { shape, data }))
        };
        replaced.into_iter().map(with_shape).collect()
    }

    fn finish(self) -> Recovered {
        let mut recovered = Recovered {
            values: self.values,
            ..Recovered::default()
        };
        for (name, linear) in self.linears {
            let coded = match self.row_scales.get(&name) {
                Some(row_scales) => linear.tuned(row_scales),
                None => linear.coded,
            };
            recovered.coded.insert(name, coded);
        }
        recovered
    }
}

fn not_coded(linear: &str, source: nwc::Error) -> Error {
    let linear = linear.into();
    let source = Box::new(source);
    Error::Coding { linear, source }
}

#[cfg(test)]
mod tests;
