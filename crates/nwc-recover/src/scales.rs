//! The last stage of recovery: row gains, norms and biases of the whole model are tuned to the original's predictions.

use std::collections::{BTreeMap, BTreeSet};

use nwc_lm::{
    Block, Head, LanguageModel, LinearWeight, NoTap, Place, Sequence, WeightTensor,
    final_hidden_states, require_next_token, spread_windows, to_vec_f32,
};
use tch::{Kind, Tensor, no_grad};

use crate::adam::Adam;
use crate::blocks::{check_at_least_one, check_learning_rate};
use crate::error::{Error, Result};
use crate::parameters::scales_and_norms;
use crate::snapshot::Snapshot;

/// How scales are tuned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaleOptions {
    /// Tokens in a window; each window is one step.
    pub window: usize,
    /// Largest number of windows to train on; the text may have fewer.
    pub n_train_windows: usize,
    /// Windows to validate on; the state with the lowest KL divergence there is kept.
    pub n_validation_windows: usize,
    /// Adam's first step size, relative to a tensor's root mean square; it decays to 0 along half a cosine.
    pub learning_rate: f64,
    /// Steps between two validations.
    pub validate_every: usize,
}

impl ScaleOptions {
    /// Settings for small models and two cores: 64 + 8 windows of 512 tokens.
    #[must_use]
    pub fn small() -> Self {
        Self {
            window: 512,
            n_train_windows: 64,
            n_validation_windows: 8,
            learning_rate: 2e-4,
            validate_every: 16,
        }
    }

    fn validate(&self) -> Result<()> {
        let at_least_one = [
            ("n_train_windows", self.n_train_windows),
            ("n_validation_windows", self.n_validation_windows),
            ("validate_every", self.validate_every),
        ];
        for (option, found) in at_least_one {
            check_at_least_one(option, found)?;
        }
        check_learning_rate(self.learning_rate)
    }
}

/// The outcome of tuning scales.
#[derive(Debug, Clone, PartialEq)]
pub struct TunedScales {
    /// The factor of each output row, `[out]`, by weight name of the coded linear.
    pub gains: BTreeMap<String, Vec<f32>>,
    /// Norms and biases of the blocks.
    pub tensors: BTreeMap<String, WeightTensor>,
    /// Mean KL(original ‖ student) over the validation windows' tokens before, in nats.
    pub kl_before: f64,
    /// The same in the state that was kept; never larger.
    pub kl_after: f64,
}

/// Lowers the KL divergence between `original` and `student` by tuning what costs no bits: a gain for each row of the
/// linears in `coded`, and the blocks' norms and biases.
///
/// Both models are held in memory with the activations of one window: about 8 bytes per parameter. `student` reads its
/// weights as they will be decoded. `progress` receives the number of steps done and their total.
/// Source: the end-to-end variant that the paper (arXiv 2510.11234) reports beside its release, which has none.
///
/// # Errors
/// [`nwc_lm::Error::NotCausal`], [`Error::Argument`]; [`nwc_lm::Error::TextTooShort`] if the text has no window left for
/// training after those for validation; errors of running the models.
pub fn tune_scales(
    original: &LanguageModel<'_>,
    student: &LanguageModel<'_>,
    coded: &BTreeSet<String>,
    tokens: &[u32],
    options: &ScaleOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TunedScales> {
    options.validate()?;
    require_next_token(original, "a reference")?;
    let n_windows = options
        .n_train_windows
        .saturating_add(options.n_validation_windows);
    let all = spread_windows(tokens, options.window, n_windows, Place::Start)?;
    if all.len() <= options.n_validation_windows {
        let n_windows = options.n_validation_windows.saturating_add(1);
        return Err(nwc_lm::Error::TextTooShort {
            n_tokens: tokens.len(),
            window: options.window.saturating_mul(n_windows),
        }
        .into());
    }
    let (validation, train) = all.split_at(options.n_validation_windows);
    let pair = Pair::new(original, student, coded, options.window)?;
    let mut parameters = Vec::new();
    for block in &pair.blocks {
        parameters.extend(scales_and_norms(block)?);
    }
    let tensors: Vec<&Tensor> = parameters.iter().map(|p| &p.tensor).collect();
    let sizes = tensors
        .iter()
        .map(|tensor| root_mean_square(tensor))
        .collect::<Result<Vec<f64>>>()?;
    // The original's states do not change and are needed at every validation.
    let validation = validation
        .iter()
        .map(|&window| Ok((window, pair.original_states(window)?)))
        .collect::<Result<Vec<_>>>()?;
    let kl_before = pair.mean_kl(&validation)?;
    let mut kl_after = kl_before;
    let mut best = Snapshot::of(&tensors)?;
    let mut adam = Adam::new(&tensors)?;
    for (step, window) in train.iter().enumerate() {
        let gradients = pair.gradients(window, &tensors)?;
        let progressed = step as f64 / train.len() as f64;
        let learning_rate =
            options.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progressed).cos());
        let steps = tensors
            .iter()
            .zip(&gradients)
            .zip(&sizes)
            .map(|((tensor, gradient), size)| (*tensor, gradient, learning_rate * size));
        adam.step(steps)?;
        let n_done = step + 1;
        if n_done % options.validate_every == 0 || n_done == train.len() {
            // Too long a step shows as NaN here; it is dropped like any other that made things worse.
            let kl = match pair.mean_kl(&validation) {
                Err(Error::Model(nwc_lm::Error::NonFinite { .. })) => f64::INFINITY,
                other => other?,
            };
            tracing::debug!(n_done, kl, "scales tuned");
            if kl < kl_after {
                kl_after = kl;
                best = Snapshot::of(&tensors)?;
            }
            if kl.is_infinite() {
                break;
            }
        }
        progress(n_done, train.len());
    }
    best.restore(&tensors)?;
    let mut tuned = TunedScales {
        gains: BTreeMap::new(),
        tensors: BTreeMap::new(),
        kl_before,
        kl_after,
    };
    for parameter in &parameters {
        let data = to_vec_f32(&parameter.tensor)?;
        if parameter.is_row_scale {
            tuned.gains.insert(parameter.name.clone(), data);
        } else {
            let size = parameter.tensor.size();
            tuned.tensors.insert(
                parameter.name.clone(),
                WeightTensor {
                    shape: size.iter().map(|&extent| extent as usize).collect(),
                    data,
                },
            );
        }
    }
    Ok(tuned)
}

/// Tokens whose logits, with their graph, are in memory at once.
const HEAD_TOKENS: i64 = 256;

/// The original and the student, ready to run.
struct Pair<'a, 'm> {
    original: &'a LanguageModel<'m>,
    student: &'a LanguageModel<'m>,
    /// The student's own, with gains.
    blocks: Vec<Block>,
    sequence: Sequence,
}

impl<'a, 'm> Pair<'a, 'm> {
    fn new(
        original: &'a LanguageModel<'m>,
        student: &'a LanguageModel<'m>,
        coded: &BTreeSet<String>,
        window: usize,
    ) -> Result<Self> {
        let mut blocks = Vec::with_capacity(student.n_blocks());
        for block_idx in 0..student.n_blocks() {
            let mut block = student.fresh_block(block_idx)?;
            for linear in block.linears_mut() {
                if !coded.contains(&linear.info().weight_name) {
                    continue;
                }
                let normalized = linear.effective_weight()?;
                let rows = linear.info().n_out as i64;
                let row_scales = Tensor::f_ones([rows], (Kind::Float, normalized.device()))?;
                linear.weight = LinearWeight::Scaled {
                    normalized,
                    row_scales,
                };
            }
            blocks.push(block);
        }
        Ok(Self {
            original,
            student,
            blocks,
            sequence: student.sequence(0, window)?,
        })
    }

    /// Final hidden states `[T, hidden]` of the original.
    fn original_states(&self, window: &[u32]) -> Result<Tensor> {
        let mut states = final_hidden_states(self.original, &[window])?;
        Ok(states.swap_remove(0)) // one for each window
    }

    /// Final hidden states `[T, hidden]` of the student, with their graph where gradients are recorded.
    fn student_states(&self, window: &[u32]) -> Result<Tensor> {
        let mut hidden = self.student.embed(&[window], &self.sequence)?;
        for block in &self.blocks {
            hidden = block.forward(&hidden, &self.sequence, &mut NoTap, None)?;
        }
        Ok(hidden.f_squeeze_dim(0)?)
    }

    /// The derivative of a window's mean KL by each of `parameters`.
    fn gradients(&self, window: &[u32], parameters: &[&Tensor]) -> Result<Vec<Tensor>> {
        let target = self.original_states(window)?;
        let states = self.student_states(window)?;
        // First by the final states, slice by slice, so that only a slice's logits are held.
        let leaf = states.f_detach()?.f_set_requires_grad(true)?;
        let (head, original_head) = (self.student.head()?, self.original.head()?);
        let n_tokens = window.len() as i64;
        let mut by_states = Vec::new();
        for start in (0..n_tokens).step_by(HEAD_TOKENS as usize) {
            let length = HEAD_TOKENS.min(n_tokens - start);
            let slice = leaf.f_narrow(0, start, length)?;
            let target = target.f_narrow(0, start, length)?;
            let kl = sum_kl((&target, &original_head), (&slice, &head))?
                .f_div_scalar(n_tokens as f64)?;
            by_states.extend(Tensor::f_run_backward(&[kl], &[&leaf], false, false)?);
        }
        let mut sum = leaf.f_zeros_like()?;
        for gradient in &by_states {
            sum = sum.f_add(gradient)?;
        }
        let loss = states.f_mul(&sum.f_detach()?)?.f_sum(Kind::Float)?;
        Ok(Tensor::f_run_backward(&[loss], parameters, false, false)?)
    }

    /// Mean KL over the tokens of `windows`, each with the original's final hidden states, in nats.
    fn mean_kl(&self, windows: &[(&[u32], Tensor)]) -> Result<f64> {
        let (mut sum, mut n_tokens) = (0.0, 0);
        let (head, original_head) = (self.student.head()?, self.original.head()?);
        for (window, target) in windows {
            let states = no_grad(|| self.student_states(window))?;
            let length = window.len() as i64;
            for start in (0..length).step_by(HEAD_TOKENS as usize) {
                let n = HEAD_TOKENS.min(length - start);
                let target = target.f_narrow(0, start, n)?;
                let states = states.f_narrow(0, start, n)?;
                let kl = no_grad(|| sum_kl((&target, &original_head), (&states, &head)))?;
                sum += kl.f_to_kind(Kind::Double)?.f_double_value(&[])?;
            }
            n_tokens += window.len();
        }
        Ok(sum / n_tokens.max(1) as f64)
    }
}

/// Σ over tokens of KL(original ‖ student), from final hidden states `[T, hidden]`.
fn sum_kl(original: (&Tensor, &Head), student: (&Tensor, &Head)) -> Result<Tensor> {
    let log_p = no_grad(|| log_probabilities(original))?;
    let log_q = log_probabilities(student)?;
    let kl = log_p.f_exp()?.f_mul(&log_p.f_sub(&log_q)?)?;
    Ok(kl.f_sum(Kind::Float)?)
}

fn log_probabilities((states, head): (&Tensor, &Head)) -> Result<Tensor> {
    Ok(head
        .forward(states, &mut NoTap)?
        .f_log_softmax(-1, Kind::Float)?)
}

fn root_mean_square(tensor: &Tensor) -> Result<f64> {
    let squares = tensor.f_detach()?.f_square()?.f_mean(Kind::Double)?;
    Ok(squares.f_double_value(&[])?.sqrt().max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests;
