//! Adam over tensors that are changed in place.

use tch::Tensor;

use crate::error::Result;

/// Adam with its usual constants (arXiv 1412.6980), no weight decay.
pub(super) struct Adam {
    n_steps: i32,
    /// First and second moment of each parameter.
    moments: Vec<(Tensor, Tensor)>,
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

impl Adam {
    pub(super) fn new<'t>(parameters: impl IntoIterator<Item = &'t Tensor>) -> Result<Self> {
        let zeros = |parameter: &Tensor| -> Result<(Tensor, Tensor)> {
            let zeros = parameter.f_detach()?.f_zeros_like()?;
            Ok((zeros.f_zeros_like()?, zeros))
        };
        let moments = parameters.into_iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self {
            n_steps: 0,
            moments,
        })
    }

    /// One step; each parameter comes with its gradient and the most that an entry moves by.
    pub(super) fn step<'t>(
        &mut self,
        parameters: impl IntoIterator<Item = (&'t Tensor, &'t Tensor, f64)>,
    ) -> Result<()> {
        self.n_steps += 1;
        let correction_1 = 1.0 - BETA_1.powi(self.n_steps);
        let correction_2 = 1.0 - BETA_2.powi(self.n_steps);
        for ((parameter, gradient, learning_rate), (mean, square)) in
            parameters.into_iter().zip(&mut self.moments)
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
                .f_mul_scalar(-learning_rate / correction_1)?
                .f_div(&scale)?;
            drop(parameter.shallow_clone().f_add_(&change)?);
        }
        Ok(())
    }
}
