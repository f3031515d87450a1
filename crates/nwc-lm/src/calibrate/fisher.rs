//! The output Fisher: squared derivatives of the log-likelihood by every linear's output, from the last block backward.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::curvature::Curvatures;
use super::hessian::expert_role;
use super::labels::{sample_tokens, uniform};
use super::{CalibrationOptions, CalibrationStep, Statistic, StatisticKind, StatisticsSink, put};
use crate::batches::{Batch, embed_batches};
use crate::error::{Error, Result};
use crate::model::{Block, Head, LanguageModel, LinearInfo, NoTap, Tap};
use crate::tensors::{all_finite, to_vec_f32, without_grad};

/// Tokens whose logits, with their graph, are in memory at once.
const HEAD_TOKENS: usize = 256;

/// One run of a linear.
struct Pass {
    linear: LinearInfo,
    input: Tensor,
    output: Tensor,
}

/// Keeps the inputs and outputs of a block's linears, for the gradients of the outputs.
#[derive(Default)]
struct PassTap {
    /// The input of the linear that is running.
    input: Option<Tensor>,
    passes: Vec<Pass>,
}

impl Tap for PassTap {
    fn input(&mut self, _linear: &LinearInfo, input: &Tensor) -> Result<()> {
        self.input = Some(input.f_detach()?);
        Ok(())
    }

    fn output(&mut self, linear: &LinearInfo, output: &Tensor) -> Result<()> {
        if let Some(input) = self.input.take() {
            self.passes.push(Pass {
                linear: linear.clone(),
                input,
                output: output.shallow_clone(),
            });
        }
        Ok(())
    }
}

/// Σ g² over tokens by weight name, `[out]` in f64.
#[derive(Default)]
struct Squares {
    sums: BTreeMap<String, Tensor>,
}

impl Squares {
    fn add(&mut self, name: &str, squares: Tensor) -> Result<()> {
        match self.sums.get_mut(name) {
            Some(sum) => drop(sum.f_add_(&squares)?),
            None => drop(self.sums.insert(name.to_owned(), squares)),
        }
        Ok(())
    }

    fn add_gradient(&mut self, linear: &LinearInfo, gradient: &Tensor) -> Result<()> {
        let flat = gradient.f_reshape([-1, linear.n_out as i64])?;
        self.add(
            &linear.weight_name,
            flat.f_square()?.f_sum_dim_intlist(0, false, Kind::Double)?,
        )
    }
}

/// The sums that take in the gradients of one block.
struct Sums<'a> {
    squares: &'a mut Squares,
    curvatures: Curvatures,
}

/// Runs all windows forward and backward, in groups whose block inputs fit `options.activation_bytes`.
pub(super) fn output_fisher(
    model: &LanguageModel<'_>,
    windows: &[&[u32]],
    options: &CalibrationOptions,
    sink: &mut dyn StatisticsSink,
    progress: &mut dyn FnMut(CalibrationStep),
) -> Result<()> {
    let all: Vec<LinearInfo> = model.linears()?;
    let is_done = |linear: &LinearInfo| sink.has(StatisticKind::OutputFisher, &linear.weight_name);
    if all.iter().all(is_done) {
        return Ok(());
    }
    let config = model.config();
    let window_bytes =
        4 * (options.fisher_window * config.hidden_size) as u64 * (config.n_blocks as u64 + 2);
    let group =
        usize::try_from(options.activation_bytes / window_bytes.max(1)).unwrap_or(usize::MAX);
    let group = group.clamp(1, windows.len());
    let n_steps = windows.len().div_ceil(group) * config.n_blocks;
    let mut squares = Squares::default();
    let mut n_done = 0;
    for (group_idx, windows) in windows.chunks(group).enumerate() {
        let first_window = group_idx * group;
        let mut step = || {
            n_done += 1;
            progress(CalibrationStep::Fisher(n_done, n_steps));
        };
        group_fisher(
            model,
            windows,
            (options.seed, first_window),
            &mut squares,
            // The curvatures of one group are final after each block, so only one block's are in memory.
            (group_idx == 0 && options.curvature).then_some(&mut *sink),
            &mut step,
        )?;
    }
    let n_tokens = (windows.len() * options.fisher_window) as f64;
    for linear in &all {
        let name = &linear.weight_name;
        if sink.has(StatisticKind::OutputFisher, name) {
            continue;
        }
        let mean = match squares.sums.get(name) {
            Some(sum) => sum.f_div_scalar(n_tokens)?,
            None => sibling_mean(linear, &all, &squares)?.f_div_scalar(n_tokens)?,
        };
        if !all_finite(&mean)? {
            return Err(Error::NonFinite {
                block: name.clone(),
            });
        }
        put(sink, name, Statistic::OutputFisher(to_vec_f32(&mean)?))?;
    }
    Ok(())
}

/// The mean over the block's experts that saw tokens, for one that saw none.
fn sibling_mean(linear: &LinearInfo, all: &[LinearInfo], squares: &Squares) -> Result<Tensor> {
    let role = expert_role(linear);
    let mut mean = Tensor::f_zeros([linear.n_out as i64], (Kind::Double, tch::Device::Cpu))?;
    let mut n_siblings = 0.0;
    for other in all
        .iter()
        .filter(|other| other.block_idx == linear.block_idx)
    {
        if role.is_some()
            && expert_role(other) == role
            && let Some(sum) = squares.sums.get(&other.weight_name)
        {
            mean = mean.f_add(&sum.f_to_device(tch::Device::Cpu)?)?;
            n_siblings += 1.0;
        }
    }
    tracing::warn!(
        linear = linear.weight_name,
        n_siblings,
        "no token reached this expert"
    );
    Ok(mean.f_div_scalar(f64::max(n_siblings, 1.0))?)
}

fn group_fisher(
    model: &LanguageModel<'_>,
    windows: &[&[u32]],
    (seed, first_window): (u64, usize),
    squares: &mut Squares,
    mut curvature_sink: Option<&mut dyn StatisticsSink>,
    step: &mut dyn FnMut(),
) -> Result<()> {
    let mut batches = embed_batches(model, windows)?;
    // inputs[block][batch]: the input of each block.
    let mut inputs: Vec<Vec<Tensor>> = Vec::with_capacity(model.n_blocks());
    for block_idx in 0..model.n_blocks() {
        let block = model.block(block_idx)?;
        let mut read = Vec::with_capacity(batches.len());
        for batch in &mut batches {
            let output =
                without_grad(|| block.forward(&batch.hidden, &batch.sequence, &mut NoTap, None))?;
            read.push(std::mem::replace(&mut batch.hidden, output));
        }
        inputs.push(read);
    }
    let head = model.head()?;
    let mut gradients = Vec::with_capacity(batches.len());
    for batch in &batches {
        gradients.push(head_gradient(&head, batch, (seed, first_window), squares)?);
    }
    drop(head);
    for block_idx in (0..model.n_blocks()).rev() {
        let block = model.block(block_idx)?;
        let read = inputs.pop().unwrap_or_default();
        let curvatures = match &curvature_sink {
            Some(sink) => Curvatures::of(&block, &**sink)?,
            None => Curvatures::default(),
        };
        let mut sums = Sums {
            squares: &mut *squares,
            curvatures,
        };
        let mut n_tokens = 0;
        for ((batch, gradient), input) in batches.iter().zip(&mut gradients).zip(read) {
            *gradient = block_gradient(&block, batch, &input, gradient, &mut sums)?;
            n_tokens += batch.windows.len() * batch.sequence.n_tokens;
        }
        if let Some(sink) = &mut curvature_sink {
            sums.curvatures
                .finish(block.name(), n_tokens as f64, &mut **sink)?;
        }
        step();
    }
    Ok(())
}

/// The derivative of the drawn labels' summed log-likelihood by the last block's output, like `batch.hidden`.
fn head_gradient(
    head: &Head,
    batch: &Batch,
    (seed, first_window): (u64, usize),
    squares: &mut Squares,
) -> Result<Tensor> {
    let shape = batch.hidden.size();
    let (n_windows, window, width) = batch.hidden.size3()?;
    let states = batch.hidden.f_reshape([n_windows * window, width])?;
    let numbers: Vec<f32> = batch
        .windows
        .clone()
        .flat_map(|window_idx| uniform(seed, (first_window + window_idx) as u64, window as usize))
        .collect();
    let mut gradients = Vec::new();
    for (slice_idx, numbers) in numbers.chunks(HEAD_TOKENS).enumerate() {
        let start = (slice_idx * HEAD_TOKENS) as i64;
        let state = states
            .f_narrow(0, start, numbers.len() as i64)?
            .f_detach()?
            .f_contiguous()?;
        let state = state.f_set_requires_grad(true)?;
        let mut tap = PassTap::default();
        let log_p = head
            .forward(&state, &mut tap)?
            .f_log_softmax(-1, Kind::Float)?;
        let probabilities = without_grad(|| Ok(log_p.f_detach()?.f_exp()?))?;
        let labels = without_grad(|| sample_tokens(&probabilities, numbers))?;
        let likelihood = log_p.f_gather(-1, &labels, false)?.f_sum(Kind::Float)?;
        // At the logits the expectation over labels is known: E[(1{y=i} - p_i)²] = p_i (1 - p_i).
        if let Some(Pass { linear: logits, .. }) = tap.passes.pop() {
            let variance = probabilities.f_mul(&probabilities.f_neg()?.f_add_scalar(1.0)?)?;
            squares.add(
                &logits.weight_name,
                variance.f_sum_dim_intlist(0, false, Kind::Double)?,
            )?;
        }
        let mut sums = Sums {
            squares: &mut *squares,
            curvatures: Curvatures::default(),
        };
        gradients.push(backward(&likelihood, &state, &tap, &mut sums)?);
    }
    Ok(Tensor::f_cat(&gradients, 0)?.f_reshape(shape.as_slice())?)
}

/// Runs `block` again on its stored input and propagates `gradient` from its output to its input.
fn block_gradient(
    block: &Block,
    batch: &Batch,
    input: &Tensor,
    gradient: &Tensor,
    sums: &mut Sums<'_>,
) -> Result<Tensor> {
    let input = input.f_detach()?.f_set_requires_grad(true)?;
    let mut tap = PassTap::default();
    let output = block.forward(&input, &batch.sequence, &mut tap, None)?;
    let objective = output.f_mul(gradient)?.f_sum(Kind::Float)?;
    let gradient = backward(&objective, &input, &tap, sums)?;
    if without_grad(|| all_finite(&gradient))? {
        Ok(gradient)
    } else {
        Err(Error::NonFinite {
            block: block.name().to_owned(),
        })
    }
}

/// The derivative of `objective` by `input`; the derivatives by the tapped outputs are added to `sums`.
fn backward(
    objective: &Tensor,
    input: &Tensor,
    tap: &PassTap,
    sums: &mut Sums<'_>,
) -> Result<Tensor> {
    let mut wanted: Vec<&Tensor> = vec![input];
    wanted.extend(tap.passes.iter().map(|pass| &pass.output));
    let mut found = Tensor::f_run_backward(&[objective], &wanted, false, false)?;
    without_grad(|| {
        for (pass, gradient) in tap.passes.iter().zip(found.iter().skip(1)) {
            sums.squares.add_gradient(&pass.linear, gradient)?;
            sums.curvatures.add(&pass.linear, &pass.input, gradient)?;
        }
        Ok(())
    })?;
    Ok(found.swap_remove(0))
}
