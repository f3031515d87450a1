//! The first stage of recovery: after each coded linear, the rest of its block is tuned to the original block's output.

use std::collections::BTreeMap;

use ndarray::Array2;
use nwc_lm::{
    Batch, Block, LanguageModel, LinearWeight, NoTap, Place, WeightTensor, embed_batches,
    from_matrix, from_slice, spread_windows, to_matrix, to_vec_f32, without_grad,
};
use tch::Tensor;

use crate::error::{Error, Result};
use crate::parameters::{Parameter, trainable};
use crate::tuning::{Example, tune};

/// How a block is tuned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockOptions {
    /// Tokens in a window.
    pub window: usize,
    /// Windows to train on.
    pub n_train_windows: usize,
    /// Windows to validate on; the state with the lowest loss there is kept.
    pub n_validation_windows: usize,
    /// Largest number of passes over the training windows after each linear.
    pub n_epochs: usize,
    /// Windows in a step.
    pub batch_windows: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Tuning after a linear stops once this many passes in a row have not lowered the validation loss.
    pub patience: usize,
}

impl BlockOptions {
    /// The settings of the authors' release (arXiv 2510.11234): 256 + 128 windows of 4096 tokens, 5 epochs of batches of 4, step 3e-6.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            window: 4096,
            n_train_windows: 256,
            n_validation_windows: 128,
            n_epochs: 5,
            batch_windows: 4,
            learning_rate: 3e-6,
            patience: 5,
        }
    }

    /// Settings for small models and two cores: 12 + 4 windows of 512 tokens, one window per step. With so few steps each
    /// is larger: 1e-4.
    #[must_use]
    pub fn small() -> Self {
        Self {
            window: 512,
            n_train_windows: 12,
            n_validation_windows: 4,
            n_epochs: 1,
            batch_windows: 1,
            learning_rate: 1e-4,
            patience: 1,
        }
    }

    fn validate(&self) -> Result<()> {
        let at_least_one = [
            ("n_train_windows", self.n_train_windows),
            ("n_validation_windows", self.n_validation_windows),
            ("batch_windows", self.batch_windows),
        ];
        for (option, found) in at_least_one {
            check_at_least_one(option, found)?;
        }
        check_learning_rate(self.learning_rate)
    }
}

/// Refuses 0.
pub(crate) fn check_at_least_one(option: &'static str, found: usize) -> Result<()> {
    if found > 0 {
        return Ok(());
    }
    Err(Error::Argument {
        option,
        found: found.to_string(),
        allowed: "1 or more",
    })
}

/// Refuses a step size that is not a positive number.
pub(crate) fn check_learning_rate(learning_rate: f64) -> Result<()> {
    if learning_rate > 0.0 && learning_rate.is_finite() {
        return Ok(());
    }
    Err(Error::Argument {
        option: "learning_rate",
        found: learning_rate.to_string(),
        allowed: "a positive number",
    })
}

/// A coded linear: its weight is each row of `normalized` times the row's scale.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLinear {
    /// Decoded, `[out, in]`; fixed from here on.
    pub normalized: Array2<f32>,
    /// `[out]`; tuned further.
    pub row_scales: Vec<f32>,
}

/// Codes one linear, given its weight name and its current weights `[out, in]`. A linear for which it returns `None` stays
/// uncoded and is tuned to the end.
pub type Quantize<'q> = dyn FnMut(&str, &Array2<f32>) -> Result<Option<QuantizedLinear>> + 'q;

/// The block's distance from the original after one linear was coded.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryStep {
    /// The linear's weight name.
    pub linear: String,
    /// Mean squared error of the block's output on the validation windows, right after coding.
    pub loss_before: f64,
    /// The same in the state that was kept; never larger.
    pub loss_after: f64,
    /// Passes over the training windows.
    pub n_epochs: usize,
}

/// A block after recovery.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveredBlock {
    /// The coded linears by weight name, with their tuned row scales.
    pub linears: BTreeMap<String, QuantizedLinear>,
    /// Everything else of the block that was tuned (norms, biases, uncoded linears), in the checkpoint's layout.
    pub tensors: BTreeMap<String, WeightTensor>,
    /// One entry for each coded linear, in order.
    pub steps: Vec<RecoveryStep>,
}

/// Recovers a model block by block. Each block is tuned on its own: its inputs and targets come from the original model.
///
/// To continue an interrupted run, call [`BlockRecovery::skip_block`] for each block that is done.
#[derive(Debug)]
pub struct BlockRecovery<'m, 's> {
    model: &'m LanguageModel<'s>,
    options: BlockOptions,
    batches: Vec<Batch>,
    next_block_idx: usize,
}

impl<'m, 's> BlockRecovery<'m, 's> {
    /// Embeds the training windows, then the validation windows, from all over `tokens`.
    ///
    /// # Errors
    /// [`Error::Argument`]; [`nwc_lm::Error::TextTooShort`] where the text has fewer windows than both together.
    pub fn new(
        model: &'m LanguageModel<'s>,
        tokens: &[u32],
        options: BlockOptions,
    ) -> Result<Self> {
        options.validate()?;
        let n_windows = options
            .n_train_windows
            .saturating_add(options.n_validation_windows);
        let all = spread_windows(tokens, options.window, n_windows, Place::Start)?;
        if all.len() < n_windows {
            let window = options.window.saturating_mul(n_windows);
            let n_tokens = tokens.len();
            return Err(nwc_lm::Error::TextTooShort { n_tokens, window }.into());
        }
        let batches = embed_batches(model, &all)?;
        Ok(Self {
            model,
            options,
            batches,
            next_block_idx: 0,
        })
    }

    /// The index of the next block; `None` after the last.
    #[must_use]
    pub fn next_block_idx(&self) -> Option<usize> {
        (self.next_block_idx < self.model.n_blocks()).then_some(self.next_block_idx)
    }

    /// Runs the next block without coding it.
    ///
    /// # Errors
    /// [`nwc_lm::Error::BlockIndex`] after the last block; errors of running it.
    pub fn skip_block(&mut self) -> Result<()> {
        let original = self.model.block(self.next_block_idx)?;
        for batch in &mut self.batches {
            batch.hidden = run(&original, batch)?;
        }
        self.next_block_idx += 1;
        Ok(())
    }

    /// Codes the next block's linears one after another (v, q, k, o, up, gate, down) and tunes the rest after each.
    ///
    /// Trainable are the linears not yet coded, norms, biases, and the coded linears' row scales; the loss is the mean
    /// squared error of the block's output. The state with the lowest validation loss is kept, the untuned one
    /// included. Source: the release of Neural Weight Compression (arXiv 2510.11234).
    /// Differs from the paper's release: the tuned row scales are part of the result.
    ///
    /// # Errors
    /// [`nwc_lm::Error::BlockIndex`] after the last block; [`Error::CodedShape`], [`Error::CodedNonFinite`] and errors of
    /// `quantize`; errors of running the block.
    pub fn recover_block(&mut self, quantize: &mut Quantize<'_>) -> Result<RecoveredBlock> {
        let original = self.model.block(self.next_block_idx)?;
        let mut block = self.model.fresh_block(self.next_block_idx)?;
        let mut examples = Vec::new();
        let mut outputs = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let output = run(&original, batch)?;
            for offset in 0..batch.windows.len() as i64 {
                let input = batch.hidden.f_narrow(0, offset, 1)?;
                examples.push(Example {
                    input,
                    target: output.f_narrow(0, offset, 1)?,
                });
            }
            outputs.push(output);
        }
        drop(original);
        let sequence = self.model.sequence(0, self.options.window)?;
        let (train, validation) = examples.split_at(self.options.n_train_windows);
        let mut coded: BTreeMap<String, Array2<f32>> = BTreeMap::new();
        let mut steps = Vec::new();
        for linear_idx in coding_order(&block) {
            let Some((name, quantized)) = code(&mut block, linear_idx, quantize)? else {
                continue;
            };
            coded.insert(name.clone(), quantized);
            let parameters = trainable(&block)?;
            let tuned = tune(
                &block,
                &sequence,
                &parameters,
                (train, validation),
                &self.options,
            )?;
            steps.push(RecoveryStep {
                linear: name,
                loss_before: tuned.loss_before,
                loss_after: tuned.loss_after,
                n_epochs: tuned.n_epochs,
            });
        }
        let recovered = collect(&block, coded, steps)?;
        for (batch, output) in self.batches.iter_mut().zip(outputs) {
            batch.hidden = output;
        }
        self.next_block_idx += 1;
        Ok(recovered)
    }
}

fn run(block: &Block, batch: &Batch) -> Result<Tensor> {
    Ok(without_grad(|| {
        block.forward(&batch.hidden, &batch.sequence, &mut NoTap, None)
    })?)
}

/// Indices into [`Block::linears`] in the order in which the release of arXiv 2510.11234 codes them: v, q, k, o, then up,
/// gate, down (of each expert).
fn coding_order(block: &Block) -> Vec<usize> {
    let n_qkv = block.n_query_key_value();
    let mut order: Vec<usize> = match n_qkv {
        3 => vec![2, 0, 1],
        n => (0..n).collect(),
    };
    order.push(n_qkv);
    let feed_forward = n_qkv + 1..block.linears().len();
    let (start, n_rest) = (feed_forward.start, feed_forward.len());
    // Gated layers come as gate, up, down; with experts a router stands before them.
    let router = n_rest % 3 == 1;
    if router {
        order.push(start);
    }
    let first = start + usize::from(router);
    if n_rest >= 3 {
        for gate in (first..start + n_rest).step_by(3) {
            order.extend([gate + 1, gate, gate + 2]);
        }
    } else {
        order.extend(first..start + n_rest);
    }
    order
}

/// Codes one linear and puts the coded one in its place.
fn code(
    block: &mut Block,
    linear_idx: usize,
    quantize: &mut Quantize<'_>,
) -> Result<Option<(String, Array2<f32>)>> {
    let mut linears = block.linears_mut();
    let Some(linear) = linears.get_mut(linear_idx) else {
        return Ok(None);
    };
    let name = linear.info().weight_name.clone();
    let weights = linear.effective_weight()?;
    let Some(quantized) = quantize(&name, &to_matrix(&weights)?)? else {
        return Ok(None);
    };
    let (n_out, n_in) = (linear.info().n_out, linear.info().n_in);
    let (found, n_row_scales) = (quantized.normalized.dim(), quantized.row_scales.len());
    if (found, n_row_scales) != ((n_out, n_in), n_out) {
        return Err(Error::CodedShape {
            linear: name,
            found,
            n_row_scales,
            expected: (n_out, n_in),
        });
    }
    let mut values = quantized.normalized.iter().chain(&quantized.row_scales);
    if !values.all(|value| value.is_finite()) {
        return Err(Error::CodedNonFinite { linear: name });
    }
    let device = weights.device();
    linear.weight = LinearWeight::Scaled {
        normalized: from_matrix(&quantized.normalized, device)?,
        row_scales: from_slice(&quantized.row_scales, &[n_out], device)?,
    };
    Ok(Some((name, quantized.normalized)))
}

/// Takes the final state out of the block.
fn collect(
    block: &Block,
    coded: BTreeMap<String, Array2<f32>>,
    steps: Vec<RecoveryStep>,
) -> Result<RecoveredBlock> {
    let mut tensors = BTreeMap::new();
    for Parameter {
        name,
        tensor,
        transposed,
        is_row_scale,
    } in trainable(block)?
    {
        if is_row_scale {
            continue;
        }
        let stored = if transposed {
            tensor.f_transpose(0, 1)?
        } else {
            tensor
        };
        let shape = stored
            .size()
            .iter()
            .map(|&extent| extent as usize)
            .collect();
        tensors.insert(
            name,
            WeightTensor {
                shape,
                data: to_vec_f32(&stored)?,
            },
        );
    }
    let mut linears = BTreeMap::new();
    for linear in block.linears() {
        if let LinearWeight::Scaled { row_scales, .. } = &linear.weight
            && let Some(normalized) = coded.get(&linear.info().weight_name)
        {
            let row_scales = to_vec_f32(row_scales)?;
            let quantized = QuantizedLinear {
                normalized: normalized.clone(),
                row_scales,
            };
            linears.insert(linear.info().weight_name.clone(), quantized);
        }
    }
    Ok(RecoveredBlock {
        linears,
        tensors,
        steps,
    })
}

#[cfg(test)]
mod tests;
