//! Calibration: input Hessians, output Fisher and curvature of every linear, with one block's statistics in memory.

use crate::batches::embed_batches;
use crate::error::{BoxedError, Error, Result};
use crate::model::{LanguageModel, LinearInfo};
use crate::tensors::without_grad;
use crate::text::{Place, spread_windows};

mod checkpoint;
mod curvature;
mod fisher;
mod hessian;
mod labels;
mod sink;

pub use checkpoint::{CalibrationText, calibrate_checkpoint};
use hessian::HessianTap;
pub(crate) use labels::{sample_tokens, uniform};
pub use sink::{Statistic, StatisticKind, StatisticsSink};

/// The options of calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalibrationOptions {
    /// Number of tokens in a window for the Hessians.
    pub hessian_window: usize,
    /// Largest number of windows for the Hessians; the text may have fewer.
    pub hessian_n_windows: usize,
    /// Number of tokens in a window for the output Fisher and the curvature.
    pub fisher_window: usize,
    /// Largest number of windows for the output Fisher and the curvature; 0 for neither.
    pub fisher_n_windows: usize,
    /// Whether to compute the curvature of whole windows; it takes about as long as the rest of the Fisher.
    pub curvature: bool,
    /// Seed of the labels that are drawn from the model, and of text that it writes itself.
    pub seed: u64,
    /// Largest number of bytes of hidden states that the Fisher's forward pass keeps in memory; the more, the fewer passes
    /// over the weights. The curvature comes from the first group of windows that fits.
    pub activation_bytes: u64,
}

impl CalibrationOptions {
    /// 24 windows of 1024 tokens for the Hessians; 40 of 512 for Fisher and curvature, which need more windows; 4 GiB.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            hessian_window: 1024,
            hessian_n_windows: 24,
            fisher_window: 512,
            fisher_n_windows: 40,
            curvature: true,
            seed: 1,
            activation_bytes: 4 << 30,
        }
    }

    fn validate(&self) -> Result<()> {
        if self.hessian_n_windows == 0 {
            return Err(Error::Argument {
                option: "hessian_n_windows",
                found: "0".to_owned(),
                allowed: "1 or more".to_owned(),
            });
        }
        Ok(())
    }
}

/// How far a calibration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationStep {
    /// Text that the model writes itself: tokens done of each window and their number.
    Generation(usize, usize),
    /// Hessians: blocks done and their number.
    Hessian(usize, usize),
    /// Fisher: backward blocks done and their number, over all groups of windows.
    Fisher(usize, usize),
}

/// What a calibration was based on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalibrationReport {
    /// Tokens that the Hessians are means over.
    pub hessian_n_tokens: u64,
    /// Tokens that the Fisher is a mean over.
    pub fisher_n_tokens: u64,
    /// Inputs of experts that no token reached; they get the mean statistics of their siblings.
    pub unseen_experts: Vec<String>,
}

/// Runs windows from all over `tokens` through `model` and stores the statistics of every linear, the head included, in
/// `sink`.
///
/// Hessians are accumulated in f64 in a forward pass, block by block. The output Fisher comes from a backward pass that
/// recomputes each block from its stored input, so that with [`crate::Residency::PerBlock`] only one block's weights,
/// gradients and statistics are in memory, beside the hidden states. A model without a head gets no Fisher.
///
/// The peak memory is then the largest of: the embedding or head, twice while it is read (4 bytes per weight); one block
/// (4 bytes per weight), its sums (8 bytes × Σ in² over inputs) and three f32 copies of the largest, with two sets of hidden
/// states (4 bytes × tokens × hidden); one block with its gradients and `activation_bytes`. For Llama-3-8B at the
/// standard options that is 4.2, 6.2 and 9.5 GB.
///
/// Source: H is that of the paper (arXiv 2510.11234), as in GPTQ (arXiv 2210.17323); the Fisher is the diagonal over
/// outputs of the second-order expansion of the KL divergence.
///
/// # Errors
/// [`Error::TextTooShort`]; [`Error::NonFinite`] names the block; [`Error::Sink`]; errors of reading weights.
pub fn calibrate(
    model: &LanguageModel<'_>,
    tokens: &[u32],
    options: &CalibrationOptions,
    sink: &mut dyn StatisticsSink,
    progress: &mut dyn FnMut(CalibrationStep),
) -> Result<CalibrationReport> {
    options.validate()?;
    let for_hessian = spread_windows(
        tokens,
        options.hessian_window,
        options.hessian_n_windows,
        Place::Start,
    )?;
    let mut report = CalibrationReport {
        hessian_n_tokens: (for_hessian.len() * options.hessian_window) as u64,
        ..CalibrationReport::default()
    };
    hessians(model, &for_hessian, sink, progress, &mut report)?;
    if options.fisher_n_windows > 0 && model.head()?.has_logits() {
        // Other windows than the Hessians' if the text is long enough, so that more of it is used.
        let for_fisher = spread_windows(
            tokens,
            options.fisher_window,
            options.fisher_n_windows,
            Place::End,
        )?;
        report.fisher_n_tokens = (for_fisher.len() * options.fisher_window) as u64;
        fisher::output_fisher(model, &for_fisher, options, sink, progress)?;
    }
    Ok(report)
}

fn hessians(
    model: &LanguageModel<'_>,
    windows: &[&[u32]],
    sink: &mut dyn StatisticsSink,
    progress: &mut dyn FnMut(CalibrationStep),
    report: &mut CalibrationReport,
) -> Result<()> {
    let mut batches = embed_batches(model, windows)?;
    for block_idx in 0..model.n_blocks() {
        let block = model.block(block_idx)?;
        let linears: Vec<&LinearInfo> = block
            .linears()
            .into_iter()
            .map(|linear| linear.info())
            .collect();
        let mut tap = HessianTap::new(&linears, sink);
        for batch in &mut batches {
            batch.hidden =
                without_grad(|| block.forward(&batch.hidden, &batch.sequence, &mut tap, None))?;
        }
        tap.finish(block.name(), sink, &mut report.unseen_experts)?;
        progress(CalibrationStep::Hessian(block_idx + 1, model.n_blocks()));
    }
    let head = model.head()?;
    let linears: Vec<&LinearInfo> = head
        .linears()
        .into_iter()
        .map(|linear| linear.info())
        .collect();
    let mut tap = HessianTap::new(&linears, sink);
    for batch in &batches {
        without_grad(|| {
            let features = head.features(&batch.hidden, &mut tap)?;
            match linears.last() {
                // The logits themselves are not needed, only the input of their linear.
                Some(last) => crate::model::Tap::input(&mut tap, last, &features),
                None => Ok(()),
            }
        })?;
    }
    tap.finish("head", sink, &mut report.unseen_experts)
}

/// Stores `statistic`, or says what could not be stored.
fn put(sink: &mut dyn StatisticsSink, name: &str, statistic: Statistic) -> Result<()> {
    sink.put(name, statistic).map_err(|e| refused(name, e))
}

fn refused(name: &str, source: BoxedError) -> Error {
    let name = name.to_owned();
    Error::Sink { name, source }
}

#[cfg(test)]
mod folder_tests;
#[cfg(test)]
mod tests;
