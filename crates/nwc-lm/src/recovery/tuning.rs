//! Adam on a block's parameters until the validation loss stops falling.

use tch::{Kind, Reduction, Tensor};

use super::RecoveryOptions;
use super::parameters::Parameter;
use crate::error::{Error, Result};
use crate::model::{Block, NoTap, Sequence};
use crate::tensors::without_grad;

/// One window: what the original block reads and gives, `[1, T, hidden]` each.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) input: Tensor,
    pub(super) target: Tensor,
}

/// What tuning did.
#[derive(Debug)]
pub(super) struct Tuned {
    pub(super) loss_before: f64,
    pub(super) loss_after: f64,
    pub(super) n_epochs: usize,
}

/// Adam with its usual constants (arXiv 1412.6980), no weight decay.
struct Adam {
    learning_rate: f64,
    n_steps: i32,
    /// First and second moment of each parameter.
    moments: Vec<(Tensor, Tensor)>,
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

impl Adam {
    fn new(parameters: &[Parameter], learning_rate: f64) -> Result<Self> {
        let zeros = |parameter: &Parameter| -> Result<(Tensor, Tensor)> {
            let zeros = parameter.tensor.f_detach()?.f_zeros_like()?;
            Ok((zeros.f_zeros_like()?, zeros))
        };
        let moments = parameters.iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self {
            learning_rate,
            n_steps: 0,
            moments,
        })
    }

    fn step(&mut self, parameters: &[Parameter], gradients: &[Tensor]) -> Result<()> {
        self.n_steps += 1;
        let correction_1 = 1.0 - BETA_1.powi(self.n_steps);
        let correction_2 = 1.0 - BETA_2.powi(self.n_steps);
        let moments = self.moments.iter_mut();
        for ((parameter, gradient), (mean, square)) in parameters.iter().zip(gradients).zip(moments)
        {
            *mean = mean
                .f_mul_scalar(BETA_1)?
                .f_add(&gradient.f_mul_scalar(1.0 - BETA_1)?)?;
            let squared = gradient.f_square()?.f_mul_scalar(1.0 - BETA_2)?;
            *square = square.f_mul_scalar(BETA_2)?.f_add(&squared)?;
            let scale = square
                .f_div_scalar(correction_2)?
                .f_sqrt()?
                .f_add_scalar(EPSILON)?;
            let change = mean
                .f_mul_scalar(-self.learning_rate / correction_1)?
                .f_div(&scale)?;
            drop(parameter.tensor.shallow_clone().f_add_(&change)?);
        }
        Ok(())
    }
}

/// Tunes `parameters`, which share their storage with `block`, and leaves the best state in them.
pub(super) fn tune(
    block: &Block,
    sequence: &Sequence,
    parameters: &[Parameter],
    (train, validation): (&[Example], &[Example]),
    options: &RecoveryOptions,
) -> Result<Tuned> {
    let loss_before = mean_loss(block, sequence, validation, options.batch_windows)?;
    let mut tuned = Tuned {
        loss_before,
        loss_after: loss_before,
        n_epochs: 0,
    };
    let mut best = snapshot(parameters)?;
    let mut adam = Adam::new(parameters, options.learning_rate)?;
    let mut n_worse = 0;
    let wanted: Vec<&Tensor> = parameters
        .iter()
        .map(|parameter| &parameter.tensor)
        .collect();
    while tuned.n_epochs < options.n_epochs && n_worse < options.patience.max(1) {
        for batch in train.chunks(options.batch_windows) {
            let loss = batch_loss(block, sequence, batch)?;
            let gradients = Tensor::f_run_backward(&[loss], &wanted, false, false)?;
            without_grad(|| adam.step(parameters, &gradients))?;
        }
        tuned.n_epochs += 1;
        // A step that was too long shows as NaN here and is dropped like any other bad one.
        let loss = match mean_loss(block, sequence, validation, options.batch_windows) {
            Err(Error::NonFinite { .. }) => f64::INFINITY,
            other => other?,
        };
        if loss < tuned.loss_after {
            tuned.loss_after = loss;
            best = snapshot(parameters)?;
            n_worse = 0;
        } else {
            n_worse += 1;
        }
        if loss.is_infinite() {
            break;
        }
    }
    without_grad(|| {
        for (parameter, best) in parameters.iter().zip(&best) {
            parameter.tensor.shallow_clone().f_copy_(best)?;
        }
        Ok(())
    })?;
    Ok(tuned)
}

fn snapshot(parameters: &[Parameter]) -> Result<Vec<Tensor>> {
    without_grad(|| {
        let copy = |parameter: &Parameter| -> Result<Tensor> {
            let copy = parameter.tensor.f_detach()?.f_empty_like()?;
            copy.shallow_clone().f_copy_(&parameter.tensor)?;
            Ok(copy)
        };
        parameters.iter().map(copy).collect()
    })
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
        let loss = without_grad(|| batch_loss(block, sequence, batch))?;
        sum += loss.f_to_kind(Kind::Double)?.f_double_value(&[])? * batch.len() as f64;
    }
    Ok(sum / examples.len().max(1) as f64)
}
