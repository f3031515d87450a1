//! `compress --recover`: what is not coded yet follows the original block's output.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use nwc::{CodedLinear, CompressOptions, Inspection, LinearCoder, Recovered};
use nwc_lm::{ModelOptions, QuantizedLinear, Recovery, RecoveryOptions, Residency};

use super::source::{Weights, read_text};
use crate::args::CompressArgs;
use crate::outcome::chain;
use crate::progress::Bar;

/// Compresses with recovery between the linears.
pub(crate) fn compress_with_recovery(
    args: &CompressArgs,
    options: &CompressOptions,
    bar: &Bar,
) -> anyhow::Result<Inspection> {
    ensure!(
        !args.text.is_empty(),
        "--recover needs --text FILE to tune on"
    );
    let weights = Weights::open(&args.in_dir)?;
    let model = weights.model(ModelOptions {
        residency: Residency::PerBlock,
        ..ModelOptions::default()
    })?;
    let tokens = weights
        .tokenizer()?
        .encode(&read_text(&args.text)?, model.config().vocab_size)
        .context("--text")?;
    let mut recover = |coder: &LinearCoder<'_>| -> Result<Recovered, _> {
        let recovery = Recovery::new(&model, &tokens, RecoveryOptions::small())?;
        tune(recovery, coder).map_err(Into::into)
    };
    Ok(nwc::compress_recovered(
        &args.in_dir,
        &args.out_dir,
        options,
        &mut recover,
        bar,
    )?)
}

fn tune(mut recovery: Recovery<'_, '_>, coder: &LinearCoder<'_>) -> nwc_lm::Result<Recovered> {
    let mut recovered = Recovered::default();
    while let Some(block_idx) = recovery.next_block_idx() {
        let mut coded: BTreeMap<String, CodedLinear> = BTreeMap::new();
        let block = recovery.recover_block(&mut |name, weights| {
            let linear = coder
                .code(name, weights)
                .map_err(|e| nwc_lm::Error::Quantizer {
                    linear: name.into(),
                    message: chain(&e),
                })?;
            Ok(linear.map(|linear| {
                let quantized = QuantizedLinear {
                    normalized: linear.normalized.clone(),
                    row_scales: linear.row_scales.clone(),
                };
                coded.insert(name.into(), linear);
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
        for (name, linear) in coded {
            if let Some(tuned) = block.linears.get(&name) {
                recovered
                    .coded
                    .insert(name, linear.tuned(&tuned.row_scales));
            }
        }
        for (name, tensor) in block.tensors {
            recovered.values.insert(name, tensor.data);
        }
    }
    Ok(recovered)
}
