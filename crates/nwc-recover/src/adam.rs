//! Adam over parameters that are changed in place.

use nwc_train::AdamMoments;
use tch::Tensor;

use crate::error::Result;

/// The state of Adam over a list of parameters.
#[derive(Debug)]
pub(crate) struct Adam {
    n_steps: usize,
    moments: Vec<AdamMoments>,
}

impl Adam {
    pub(crate) fn new(parameters: &[&Tensor]) -> Result<Self> {
        let moments = parameters
            .iter()
            .map(|tensor| AdamMoments::zero_like(tensor));
        Ok(Self {
            n_steps: 0,
            moments: moments.collect::<Result<_, _>>()?,
        })
    }

    /// Moves each of `parameters`, which are those of [`Adam::new`], along its gradient by at most its learning rate.
    pub(crate) fn step<'t>(
        &mut self,
        parameters: impl IntoIterator<Item = (&'t Tensor, &'t Tensor, f64)>,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for ((parameter, gradient, learning_rate), moments) in
            parameters.into_iter().zip(&mut self.moments)
        {
            let mut parameter = parameter.shallow_clone();
            moments.step(&mut parameter, gradient, learning_rate, self.n_steps)?;
        }
        self.n_steps += 1;
        Ok(())
    }
}
