//! Calibration: input Hessians and output Fisher of every linear, with one block's statistics in memory.

use ndarray::Array2;

use crate::batches::embed_batches;
use crate::error::{Error, Result};
use crate::model::{LanguageModel, LinearInfo};
use crate::tensors::without_grad;
use crate::text::{Place, spread_windows};

mod curvature;
mod fisher;
mod hessian;
mod labels;
mod moments;

use hessian::HessianTap;
pub(crate) use labels::{sample_tokens, uniform};

/// How much text the statistics come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalibrationOptions {
    /// Tokens in a window for the Hessians.
    pub hessian_window: usize,
    /// Windows for the Hessians; the text may give fewer.
    pub hessian_n_windows: usize,
    /// Tokens in a window for the output Fisher.
    pub fisher_window: usize,
    /// Windows for the output Fisher, 0 for no Fisher; the text may give fewer.
    pub fisher_n_windows: usize,
    /// Decides the labels that are drawn from the model.
    pub seed: u64,
    /// Most bytes of hidden states that the Fisher's forward pass keeps: more means fewer passes over the weights.
    pub activation_bytes: u64,
}

impl CalibrationOptions {
    /// 24 windows of 1024 tokens for the Hessians, 40 of 512 for Fisher and curvature, which need more of them; 4 GiB.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            hessian_window: 1024,
            hessian_n_windows: 24,
            fisher_window: 512,
            fisher_n_windows: 40,
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

/// Receives the statistics as they become final.
///
/// The two `has_` methods let an interrupted calibration go on: what they answer yes for is not computed again.
pub trait StatisticsSink {
    /// H = mean over `n_tokens` tokens of x xᵀ, `[in, in]`, of the input that all of `linears` (weight names) read.
    ///
    /// An expert's tokens are those that were routed to it; one that saw none gets the mean of its siblings' and 0 tokens.
    ///
    /// # Errors
    /// [`Error::Sink`]; it stops the calibration.
    fn hessian(
        &mut self,
        input_key: &str,
        linears: &[String],
        n_tokens: u64,
        hessian: Array2<f32>,
    ) -> Result<()>;

    /// `E[g²]`, `[out]`: the mean over all tokens of the squared derivative of the text's summed log-likelihood by each
    /// output of the linear, labels drawn from the model.
    ///
    /// With it, an error ΔW costs about `½ Σ_i E[g_i²] (ΔW H ΔWᵀ)_ii` nats of KL per token. For an expert, the mean is
    /// over all tokens, also those routed elsewhere, so that this stays true.
    ///
    /// # Errors
    /// [`Error::Sink`]; it stops the calibration.
    fn output_fisher(&mut self, linear: &str, fisher: Vec<f32>) -> Result<()>;

    /// `E[g gᵀ]` of a linear of a block in diagonal blocks from the first output on, together `[out, out]`; `g` as for
    /// the output Fisher, over the windows that were held at once ([`CalibrationOptions::activation_bytes`]).
    ///
    /// # Errors
    /// [`Error::Sink`]; it stops the calibration.
    fn output_moments(&mut self, linear: &str, blocks: Vec<Array2<f32>>) -> Result<()> {
        let _ = (linear, blocks);
        Ok(())
    }

    /// Whether to work out output moments at all; they cost time and `out²` numbers a linear.
    fn wants_output_moments(&self) -> bool {
        false
    }

    /// Whether the moments of this linear are already stored.
    fn has_output_moments(&self, linear: &str) -> bool {
        let _ = linear;
        false
    }

    /// The curvature of the KL divergence in the weights of a linear of a block, as a matrix over inputs `[in, in]` and a
    /// diagonal over outputs `[out]`, from `G = Σ_t g_t x_tᵀ` over each Fisher window that was held at once
    /// ([`CalibrationOptions::activation_bytes`]). A linear that no token reached has none.
    ///
    /// `cols` is `E[Gᵀ U G]` with every output weighed by its gradients in the window, pairs of different tokens shrunk;
    /// only its shape counts. `rows` is `E[G_i H⁻¹ G_iᵀ] / tr(H⁻¹ H)` per token, `H` damped: the output Fisher, were tokens on their own.
    ///
    /// # Errors
    /// [`Error::Sink`]; it stops the calibration.
    fn curvature(&mut self, linear: &str, cols: Array2<f32>, rows: Vec<f32>) -> Result<()> {
        let _ = (linear, cols, rows);
        Ok(())
    }

    /// Whether to work out curvatures at all; they take about as long as the rest of the Fisher.
    fn wants_curvature(&self) -> bool {
        false
    }

    /// The Hessian that was handed in for this input; linears whose Hessian it does not give get no curvature.
    ///
    /// # Errors
    /// [`Error::Sink`]; it stops the calibration.
    fn stored_hessian(&self, input_key: &str) -> Result<Option<Array2<f32>>> {
        let _ = input_key;
        Ok(None)
    }

    /// Whether the curvature of this linear is already stored.
    fn has_curvature(&self, linear: &str) -> bool {
        let _ = linear;
        false
    }

    /// Whether the Hessian of this input is already stored.
    fn has_hessian(&self, input_key: &str) -> bool {
        let _ = input_key;
        false
    }

    /// Whether the Fisher of this linear is already stored.
    fn has_output_fisher(&self, linear: &str) -> bool {
        let _ = linear;
        false
    }
}

/// Where a calibration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationStep {
    /// Hessians: blocks done and their number.
    Hessian(usize, usize),
    /// Fisher: backward blocks done and their number, over all groups of windows.
    Fisher(usize, usize),
}

/// What a calibration saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalibrationReport {
    /// Tokens that the Hessians are means over.
    pub hessian_n_tokens: u64,
    /// Tokens that the Fisher is a mean over.
    pub fisher_n_tokens: u64,
    /// Inputs of experts that no token reached; their statistics are their siblings' mean.
    pub unseen_experts: Vec<String>,
}

/// Runs windows from all over `tokens` through `model` and gives `sink` the statistics of every linear, the output head included.
///
/// Hessians go forward block by block, accumulated in f64; the output Fisher goes backward, recomputing each block
/// from its stored input, so that with [`crate::Residency::PerBlock`] one block's weights, gradients and statistics are in
/// memory at a time, beside the hidden states. A model without a head gets no Fisher.
///
/// Peak memory then is the largest of: the embedding or head, twice while it is read (4 bytes a weight); one block
/// (4 bytes a weight), its sums (8 bytes × Σ in² over inputs) and three f32 copies of the largest, with two sets of hidden
/// states (4 bytes × tokens × hidden); one block with its gradients and `activation_bytes`. For Llama-3-8B at the
/// standard options that is 4.2, 6.2 and 9.5 GB.
///
/// Source: METHOD 2.6 for H; the Fisher is the diagonal over outputs of the KL's second-order expansion.
///
/// # Errors
/// [`Error::TextTooShort`], [`Error::NonFinite`] naming the block, what `sink` returns, what reading weights meets.
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
        // Elsewhere than the Hessians' where the text is long enough: more of it is seen.
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
                // The logits themselves are not needed, only what they are made from.
                Some(last) => crate::model::Tap::input(&mut tap, last, &features),
                None => Ok(()),
            }
        })?;
    }
    tap.finish("head", sink, &mut report.unseen_experts)
}

#[cfg(test)]
mod tests;
