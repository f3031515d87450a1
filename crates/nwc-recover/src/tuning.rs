//! Adam on a block's parameters until the validation loss stops falling.

use nwc_lm::{Block, NoTap, Sequence};
use tch::{Kind, Reduction, Tensor};

use crate::adam::Adam;
use crate::blocks::BlockOptions;
use crate::error::{Error, Result};
use crate::parameters::Parameter;
use crate::snapshot::Snapshot;

/// One window: the original block's input and output, `[1, T, hidden]` each.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) input: Tensor,
    pub(crate) target: Tensor,
}

/// The outcome of tuning.
#[derive(Debug)]
pub(crate) struct Tuned {
    pub(crate) loss_before: f64,
    pub(crate) loss_after: f64,
    pub(crate) n_epochs: usize,
}

/// Tunes `parameters`, which share their storage with `block`, and leaves the best state in them.
pub(crate) fn tune(
    block: &Block,
    sequence: &Sequence,
    parameters: &[Parameter],
    (train, validation): (&[Example], &[Example]),
    options: &BlockOptions,
) -> Result<Tuned> {
    let loss_before = mean_loss(block, sequence, validation, options.batch_windows)?;
    let mut tuned = Tuned {
        loss_before,
        loss_after: loss_before,
        n_epochs: 0,
    };
    let mut n_worse = 0;
    let wanted: Vec<&Tensor> = parameters
        .iter()
        .map(|parameter| &parameter.tensor)
        .collect();
    let mut best = Snapshot::of(&wanted)?;
    let mut adam = Adam::new(&wanted)?;
    while tuned.n_epochs < options.n_epochs && n_worse < options.patience.max(1) {
        for batch in train.chunks(options.batch_windows) {
            let loss = batch_loss(block, sequence, batch)?;
            let gradients = Tensor::f_run_backward(&[loss], &wanted, false, false)?;
            let steps = wanted
                .iter()
                .zip(&gradients)
                .map(|(tensor, gradient)| (*tensor, gradient, options.learning_rate));
            adam.step(steps)?;
        }
        tuned.n_epochs += 1;
        // Too long a step shows as NaN here; it is dropped like any other that made things worse.
        let loss = match mean_loss(block, sequence, validation, options.batch_windows) {
            Err(Error::Model(nwc_lm::Error::NonFinite { .. })) => f64::INFINITY,
            other => other?,
        };
        if loss < tuned.loss_after {
            tuned.loss_after = loss;
            best = Snapshot::of(&wanted)?;
            n_worse = 0;
        } else {
            n_worse += 1;
        }
        if loss.is_infinite() {
            break;
        }
    }
    best.restore(&wanted)?;
    Ok(tuned)
}

/// Mean squared error of the block's output over a batch.
fn batch_loss(block: &Block, sequence: &Sequence, batch: &[Example]) -> Result<Tensor> {
    let join = |part: fn(&Example) -> &Tensor| {
        Tensor::f_cat(&batch.iter().map(part).collect::<Vec<_>>(), 0)
    };
    let output = block.forward(&join(|example| &example.input)?, sequence, &mut NoTap, None)?;
    Ok(output.f_mse_loss(&join(|example| &example.target)?, Reduction::Mean)?)
}

fn mean_loss(
    block: &Block,
    sequence: &Sequence,
    examples: &[Example],
    batch_windows: usize,
) -> Result<f64> {
    let mut sum = 0.0;
    for batch in examples.chunks(batch_windows) {
        let loss = tch::no_grad(|| batch_loss(block, sequence, batch))?;
        sum += loss.f_to_kind(Kind::Double)?.f_double_value(&[])? * batch.len() as f64;
    }
    Ok(sum / examples.len().max(1) as f64)
}
