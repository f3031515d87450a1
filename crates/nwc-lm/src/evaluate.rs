//! The cost of compression: perplexity, KL divergence to a reference, top-1 agreement.

mod continuation;

use tch::{Kind, Tensor};

use crate::batches::final_hidden_states;
use crate::error::{Error, Result};
use crate::model::{Head, LanguageModel, NoTap};
use crate::tensors::{to_vec_f64, token_tensor, without_grad};
use crate::text::windows;

pub use continuation::continue_greedily;

/// How a model is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationOptions {
    /// Tokens in a window; windows do not overlap.
    pub window: usize,
    /// Largest number of tokens of the text, rounded down to whole windows; `None` for all of it.
    pub max_tokens: Option<usize>,
}

/// How well a model predicts a text.
///
/// Tokens 2 to T of each window of T are scored, each from all tokens before it in its window.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Number of windows.
    pub n_windows: usize,
    /// Number of tokens scored, `n_windows * (window - 1)`.
    pub n_tokens: usize,
    /// exp of the mean negative log-likelihood.
    pub perplexity: f64,
    /// The comparison with the reference, if there is one.
    pub comparison: Option<Comparison>,
}

/// How a model's predictions differ from a reference's.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The reference's own perplexity.
    pub reference_perplexity: f64,
    /// Mean over tokens of KL(reference ‖ model), in nats.
    pub mean_kl: f64,
    /// Standard deviation of the tokens' KL over the square root of their number.
    pub kl_standard_error: f64,
    /// The 99 % quantile of the tokens' KL (linear between ranks).
    pub kl_99_percent: f64,
    /// Share of tokens for which both models find the same next token most likely.
    pub top1_agreement: f64,
}

/// Bytes of hidden states in memory at once, over both models.
const HIDDEN_BYTES: usize = 1 << 30;
/// Tokens whose logits are in memory at once: 256 of 150,000 entries are 150 MB.
const HEAD_TOKENS: i64 = 256;

/// Measures the perplexity of `model`, and its divergence from `reference` if one is given.
///
/// For a group of windows, the hidden states of one model and then of the other are computed block by block, and then the
/// logits in slices, so that neither a model's weights nor a window's logits must be in memory at once. `progress` receives
/// the number of windows done and their total.
///
/// # Errors
/// [`Error::NotCausal`], [`Error::VocabularyMismatch`], [`Error::TextTooShort`], and errors of
/// running the models.
pub fn evaluate(
    model: &LanguageModel<'_>,
    reference: Option<&LanguageModel<'_>>,
    tokens: &[u32],
    options: EvaluationOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    require_next_token(model, "perplexity")?;
    if let Some(reference) = reference {
        require_next_token(reference, "a reference")?;
        let (found, expected) = (model.config().vocab_size, reference.config().vocab_size);
        if found != expected {
            return Err(Error::VocabularyMismatch { found, expected });
        }
    }
    let n_kept = options.max_tokens.unwrap_or(usize::MAX).min(tokens.len());
    let all = windows(&tokens[..n_kept], options.window, None)?;
    let widest = model
        .config()
        .hidden_size
        .max(reference.map_or(0, |r| r.config().hidden_size));
    let window_bytes = options.window.saturating_mul(widest).saturating_mul(8);
    let group = (HIDDEN_BYTES / window_bytes.max(1)).max(1);
    let mut totals = Totals::default();
    let mut n_done = 0;
    for group in all.chunks(group) {
        let states = final_hidden_states(model, group)?;
        let reference_states = reference
            .map(|reference| final_hidden_states(reference, group))
            .transpose()?;
        let head = model.head()?;
        let reference_head = reference.map(LanguageModel::head).transpose()?;
        for (window_idx, (window, state)) in group.iter().zip(&states).enumerate() {
            let compared = match (&reference_states, &reference_head) {
                (Some(states), Some(head)) => states.get(window_idx).map(|state| (state, &**head)),
                _ => None,
            };
            without_grad(|| score_window(window, (state, &head), compared, &mut totals))?;
            n_done += 1;
            progress(n_done, all.len());
        }
    }
    totals.finish(all.len(), reference.is_some())
}

/// Refuses a model that does not predict the next token.
///
/// # Errors
/// [`Error::NotCausal`] says that `wanted` needs one that does.
pub fn require_next_token(model: &LanguageModel<'_>, wanted: &'static str) -> Result<()> {
    if model.config().is_causal() {
        Ok(())
    } else {
        let architecture = model.config().architecture.model_type().to_owned();
        Err(Error::NotCausal {
            architecture,
            wanted,
        })
    }
}

/// Sums and per-token figures.
#[derive(Default)]
struct Totals {
    nll: f64,
    reference_nll: f64,
    n_agree: f64,
    kl: Vec<f64>,
    n_tokens: usize,
}

fn score_window(
    window: &[u32],
    model: (&Tensor, &Head),
    reference: Option<(&Tensor, &Head)>,
    totals: &mut Totals,
) -> Result<()> {
    let n_scored = window.len() as i64 - 1;
    let labels = token_tensor(&[window], model.0.device())?.f_view([-1, 1])?;
    let mut start = 0;
    while start < n_scored {
        let length = HEAD_TOKENS.min(n_scored - start);
        let labels = labels.f_narrow(0, start + 1, length)?;
        let log_p = log_probabilities(model, start, length)?;
        totals.nll -= likelihood(&log_p, &labels)?;
        if let Some(reference) = reference {
            let log_q = log_p;
            // The two models may be on different devices.
            let log_p = log_probabilities(reference, start, length)?.f_to_device(log_q.device())?;
            totals.reference_nll -= likelihood(&log_p, &labels)?;
            let kl = log_p.f_exp()?.f_mul(&log_p.f_sub(&log_q)?)?;
            totals.kl.extend(to_vec_f64(&kl.f_sum_dim_intlist(
                -1,
                false,
                Kind::Double,
            )?)?);
            let agree = log_p
                .f_argmax(-1, false)?
                .f_eq_tensor(&log_q.f_argmax(-1, false)?)?;
            totals.n_agree += agree.f_sum(Kind::Double)?.f_double_value(&[])?;
        }
        totals.n_tokens += length as usize;
        start += length;
    }
    Ok(())
}

/// Log-probabilities `[length, vocab]` of the tokens that follow `start..start + length`.
fn log_probabilities((states, head): (&Tensor, &Head), start: i64, length: i64) -> Result<Tensor> {
    let logits = head.forward(&states.f_narrow(0, start, length)?, &mut NoTap)?;
    Ok(logits.f_log_softmax(-1, Kind::Float)?)
}

fn likelihood(log_p: &Tensor, labels: &Tensor) -> Result<f64> {
    let labels = labels.f_to_device(log_p.device())?;
    Ok(log_p
        .f_gather(-1, &labels, false)?
        .f_sum(Kind::Double)?
        .f_double_value(&[])?)
}

impl Totals {
    fn finish(mut self, n_windows: usize, compared: bool) -> Result<Evaluation> {
        let n_tokens = self.n_tokens;
        let count = n_tokens as f64;
        let perplexity = (self.nll / count).exp();
        if !perplexity.is_finite() {
            return Err(Error::NonFinite {
                block: "head".to_owned(),
            });
        }
        let comparison = compared.then(|| {
            let mean_kl = self.kl.iter().sum::<f64>() / count;
            let squares: f64 = self.kl.iter().map(|kl| (kl - mean_kl).powi(2)).sum();
            self.kl.sort_by(f64::total_cmp);
            Comparison {
                reference_perplexity: (self.reference_nll / count).exp(),
                mean_kl,
                kl_standard_error: (squares / (count - 1.0).max(1.0) / count).sqrt(),
                kl_99_percent: quantile(&self.kl, 0.99),
                top1_agreement: self.n_agree / count,
            }
        });
        Ok(Evaluation {
            n_windows,
            n_tokens,
            perplexity,
            comparison,
        })
    }
}

/// The quantile `share` of `sorted`, linear between neighbours; 0 for an empty slice.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * sorted.len().saturating_sub(1) as f64;
    let below = sorted
        .get(position.floor() as usize)
        .copied()
        .unwrap_or(0.0);
    let above = sorted
        .get(position.ceil() as usize)
        .copied()
        .unwrap_or(below);
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests;
