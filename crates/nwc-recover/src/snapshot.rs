//! A copy of the tuned tensors, to return to.

use tch::Tensor;

use crate::error::Result;

/// Copies of tensors.
pub(crate) struct Snapshot(Vec<Tensor>);

impl Snapshot {
    pub(crate) fn of(tensors: &[&Tensor]) -> Result<Self> {
        tch::no_grad(|| {
            let copy = |tensor: &&Tensor| -> Result<Tensor> {
                let copy = tensor.f_detach()?.f_empty_like()?;
                copy.shallow_clone().f_copy_(tensor)?;
                Ok(copy)
            };
            Ok(Self(tensors.iter().map(copy).collect::<Result<_>>()?))
        })
    }

    /// Puts the copies into `tensors`, which are those that were copied.
    pub(crate) fn restore(&self, tensors: &[&Tensor]) -> Result<()> {
        tch::no_grad(|| {
            for (tensor, kept) in tensors.iter().zip(&self.0) {
                tensor.shallow_clone().f_copy_(kept)?;
            }
            Ok(())
        })
    }
}
