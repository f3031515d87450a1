//! `compress --recover`: what costs no bits follows the original.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use nwc::ndarray::Array2;
use nwc::{CodedLinear, CompressOptions, Inspection, LinearCoder, Recovered};
use nwc_lm::{
    LanguageModel, ModelOptions, OverlaidWeights, QuantizedLinear, Recovery, RecoveryOptions,
    Residency, ScaleTuningOptions, WeightTensor, tune_scales,
};

use super::source::{Weights, read_text};
use crate::args::{CompressArgs, Recover};
use crate::outcome::chain;
use crate::progress::Bar;

/// Compresses with recovery.
pub(crate) fn compress_with_recovery(
    args: &CompressArgs,
    recover: Recover,
    options: &CompressOptions,
    bar: &Bar,
) -> anyhow::Result<Inspection> {
    ensure!(
        !args.text.is_empty(),
        "--recover needs --text FILE to tune on"
    );
    let weights = Weights::open(&args.in_dir)?;
    let model = weights.model(ModelOptions {
        residency: match recover {
            Recover::Blocks => Residency::PerBlock,
            Recover::Scales | Recover::Both => Residency::Whole,
        },
        ..ModelOptions::default()
    })?;
    let tokens = weights
        .tokenizer()?
        .encode(&read_text(&args.text)?, model.config().vocab_size)
        .context("--text")?;
    let mut recover = |coder: &LinearCoder<'_>| {
        let mut coded = match recover {
            Recover::Blocks | Recover::Both => tune_blocks(
                Recovery::new(&model, &tokens, RecoveryOptions::small())?,
                coder,
            )?,
            Recover::Scales => Coded::default(),
        };
        if matches!(recover, Recover::Scales | Recover::Both) {
            coded.complete(coder)?;
            coded.tune_scales((&weights, &model), &tokens, coder)?;
        }
        Ok(coded.finish())
    };
    Ok(nwc::compress_recovered(
        &args.in_dir,
        &args.out_dir,
        options,
        &mut recover,
        bar,
    )?)
}

/// What is coded so far, and what goes with it.
#[derive(Default)]
struct Coded {
    linears: BTreeMap<String, CodedLinear>,
    /// Row scales that are no longer those of the linear.
    row_scales: BTreeMap<String, Vec<f32>>,
    /// Tuned tensors that are stored as they are.
    values: BTreeMap<String, Vec<f32>>,
}

fn tune_blocks(mut recovery: Recovery<'_, '_>, coder: &LinearCoder<'_>) -> nwc_lm::Result<Coded> {
    let mut all = Coded::default();
    while let Some(block_idx) = recovery.next_block_idx() {
        let mut linears: BTreeMap<String, CodedLinear> = BTreeMap::new();
        let block = recovery.recover_block(&mut |name, weights| {
            let linear = coder.code(name, weights).map_err(|e| not_coded(name, &e))?;
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
        all.linears.extend(linears);
        let tuned = block.linears.into_iter();
        all.row_scales
            .extend(tuned.map(|(name, linear)| (name, linear.row_scales)));
        let tensors = block.tensors.into_iter();
        all.values
            .extend(tensors.map(|(name, tensor)| (name, tensor.data)));
    }
    Ok(all)
}

impl Coded {
    /// Codes what is not coded yet, embeddings among it.
    fn complete(&mut self, coder: &LinearCoder<'_>) -> nwc_lm::Result<()> {
        for name in coder.coded_names() {
            if self.linears.contains_key(name) {
                continue;
            }
            let linear = coder.code_original(name).map_err(|e| not_coded(name, &e))?;
            if let Some(linear) = linear {
                self.linears.insert(name.into(), linear);
            }
        }
        Ok(())
    }

    /// Tunes the row scales of what is coded, and norms, against the original's predictions.
    fn tune_scales(
        &mut self,
        (weights, model): (&Weights, &LanguageModel<'_>),
        tokens: &[u32],
        coder: &LinearCoder<'_>,
    ) -> nwc_lm::Result<()> {
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
        let mut overlay = BTreeMap::new();
        for (name, data) in replaced {
            let shape = weights.shape(&name).map_err(|e| not_coded(&name, &e))?;
            overlay.insert(name, WeightTensor { shape, data });
        }
        let decoded = OverlaidWeights {
            base: weights,
            replaced: overlay,
        };
        let student =
            LanguageModel::open(model.config().clone(), &decoded, ModelOptions::default())?;
        let names: BTreeSet<String> = self.linears.keys().cloned().collect();
        let tuned = tune_scales(
            model,
            &student,
            &names,
            tokens,
            &ScaleTuningOptions::small(),
            &mut |done, of| tracing::info!(done, of, "tuning scales"),
        )?;
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

fn not_coded(linear: &str, error: &nwc::Error) -> nwc_lm::Error {
    nwc_lm::Error::Quantizer {
        linear: linear.into(),
        message: chain(error),
    }
}
