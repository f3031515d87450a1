//! A state of the tuned tensors to go back to.

use tch::Tensor;

use crate::error::Result;
use crate::tensors::without_grad;

/// Copies of tensors.
pub(super) struct Snapshot(Vec<Tensor>);

impl Snapshot {
    pub(super) fn of(tensors: &[&Tensor]) -> Result<Self> {
        without_grad(|| {
            let copy = |tensor: &&Tensor| -> Result<Tensor> {
                let copy = tensor.f_detach()?.f_empty_like()?;
                copy.shallow_clone().f_copy_(tensor)?;
                Ok(copy)
            };
            Ok(Self(tensors.iter().map(copy).collect::<Result<_>>()?))
        })
    }

    /// Puts the copies into `tensors`, which are those that were copied.
    pub(super) fn restore(&self, tensors: &[&Tensor]) -> Result<()> {
        without_grad(|| {
            for (tensor, kept) in tensors.iter().zip(&self.0) {
                tensor.shallow_clone().f_copy_(kept)?;
            }
            Ok(())
        })
    }
}
