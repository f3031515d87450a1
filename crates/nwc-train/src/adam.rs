//! Adam, with moments that can be saved, and the gradient's norm held.
//!
//! LibTorch's own optimiser does not let its moments out through tch, and a resumed run needs them.

use tch::Tensor;

use crate::Result;
use crate::network::Tensors;

/// PyTorch's defaults, which the paper uses (`docs/METHOD.md` 1.5).
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Adam's first and second moment of one tensor's gradient (arXiv 1412.6980), without weight decay.
#[derive(Debug)]
pub struct AdamMoments {
    pub(crate) first: Tensor,
    pub(crate) second: Tensor,
}

impl AdamMoments {
    /// The moments before the first gradient: zeros of the shape of `tensor`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where LibTorch refuses.
    pub fn zero_like(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.f_detach()?;
        Ok(Self {
            first: tensor.f_zeros_like()?,
            second: tensor.f_zeros_like()?,
        })
    }

    /// Takes `gradient` in and moves `tensor`, of the same shape, by one step of Adam in place.
    ///
    /// `n_steps_before` counts the steps that these moments have seen. No gradient must be recorded meanwhile
    /// ([`tch::no_grad`]).
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where LibTorch refuses.
    pub fn step(
        &mut self,
        tensor: &mut Tensor,
        gradient: &Tensor,
        learning_rate: f64,
        n_steps_before: usize,
    ) -> Result<()> {
        let n_steps = n_steps_before as f64 + 1.0;
        let correction1 = 1.0 - BETA1.powf(n_steps);
        let correction2 = 1.0 - BETA2.powf(n_steps);
        let Self { first, second } = self;
        let _ = first
            .f_mul_scalar_(BETA1)?
            .f_add_(&gradient.f_mul_scalar(1.0 - BETA1)?)?;
        let square = gradient.f_square()?.f_mul_scalar(1.0 - BETA2)?;
        let _ = second.f_mul_scalar_(BETA2)?.f_add_(&square)?;
        let deviation = second
            .f_sqrt()?
            .f_mul_scalar(1.0 / correction2.sqrt())?
            .f_add_scalar(EPSILON)?;
        let update = first
            .f_div(&deviation)?
            .f_mul_scalar(learning_rate / correction1)?;
        let _ = tensor.f_sub_(&update)?;
        Ok(())
    }
}

/// Scales all gradients down so that their common Euclidean norm is at most `max_norm`.
///
/// Without reading the norm back from the device.
pub(crate) fn clip_gradients<'t>(
    tensors: impl Iterator<Item = &'t Tensor>,
    max_norm: f64,
) -> Result<()> {
    // Those that no longer learn must not even add a zero: sums of more terms round otherwise, and a resumed
    // run does not have them.
    let learning = tensors.filter(|tensor| tensor.requires_grad());
    let gradients: Vec<Tensor> = learning.map(Tensor::grad).filter(Tensor::defined).collect();
    let norms = gradients
        .iter()
        .map(Tensor::f_norm)
        .collect::<Result<Vec<_>, _>>()?;
    if norms.is_empty() {
        return Ok(());
    }
    // PyTorch's clip_grad_norm_ adds the same 1e-6.
    let norm = Tensor::f_stack(&norms, 0)?.f_norm()?.f_add_scalar(1e-6)?;
    let factor = norm
        .f_reciprocal()?
        .f_mul_scalar(max_norm)?
        .f_clamp_max(1.0)?;
    for mut gradient in gradients {
        let _ = gradient.f_mul_(&factor)?;
    }
    Ok(())
}

/// One step of Adam on every tensor that has a gradient; the gradients are cleared.
///
/// `n_steps_before` counts the steps that these moments have seen.
pub(crate) fn adam_step(
    tensors: &mut Tensors,
    moments: &mut std::collections::BTreeMap<String, AdamMoments>,
    learning_rate: f64,
    n_steps_before: usize,
) -> Result<()> {
    for (name, tensor) in tensors {
        let mut gradient = tensor.grad();
        if !tensor.requires_grad() || !gradient.defined() {
            continue;
        }
        let Some(moments) = moments.get_mut(name) else {
            continue;
        };
        moments.step(tensor, &gradient, learning_rate, n_steps_before)?;
        let _ = gradient.f_zero_()?;
    }
    Ok(())
}
