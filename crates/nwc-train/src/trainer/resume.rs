//! A run to bytes and back.

use std::collections::BTreeMap;

use tch::Tensor;

use super::Trainer;
use crate::checkpoint::{self, CheckpointHeader, StoredTensor};
use crate::data::TrainingData;
use crate::network::to_vec;
use crate::{DeviceChoice, Error, Result, TrainConfig};

/// # Checkpoints
impl<'d> Trainer<'d> {
    /// The run that [`Trainer::checkpoint`] saved, on the same data, to go on with on `device`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where the bytes are damaged or of other data; else as [`Trainer::new`].
    pub fn resume(checkpoint: &[u8], data: &'d TrainingData, device: DeviceChoice) -> Result<Self> {
        let (header, mut stored) = checkpoint::read(checkpoint)?;
        if header.data_fingerprint != data.fingerprint() {
            return Err(Error::checkpoint("is of other training data than given"));
        }
        let mut trainer = Self::new(
            TrainConfig {
                device,
                ..header.config
            },
            data,
        )?;
        if header.step > trainer.config.n_steps() {
            let what = format!(
                "has done {} of {} steps",
                header.step,
                trainer.config.n_steps()
            );
            return Err(Error::checkpoint(what));
        }
        trainer.step = header.step;
        trainer.curve = header.curve;
        let moments = &mut trainer.moments;
        for (name, tensor) in trainer
            .network
            .tensors
            .iter_mut()
            .chain(&mut trainer.density.tensors)
        {
            restore(&mut stored, &format!("parameter/{name}"), tensor)?;
            if let Some(moments) = moments.get_mut(name) {
                restore(
                    &mut stored,
                    &format!("first_moment/{name}"),
                    &mut moments.first,
                )?;
                restore(
                    &mut stored,
                    &format!("second_moment/{name}"),
                    &mut moments.second,
                )?;
            }
        }
        if let Some((_, medians)) = stored.remove("medians") {
            let n_medians = trainer.n_densities();
            if medians.len() != n_medians {
                let what = format!("holds {} medians, expected {n_medians}", medians.len());
                return Err(Error::checkpoint(what));
            }
            trainer.medians = Some(medians);
            trainer.network.fix_analysis();
        }
        if let Some(name) = stored.keys().next() {
            return Err(Error::checkpoint(format!(
                "holds a tensor {name} that is not expected"
            )));
        }
        Ok(trainer)
    }

    /// All that [`Trainer::resume`] needs.
    ///
    /// # Errors
    /// [`Error::Torch`]; [`Error::Checkpoint`] where it cannot be written.
    pub fn checkpoint(&self) -> Result<Vec<u8>> {
        let mut stored: BTreeMap<String, StoredTensor> = BTreeMap::new();
        let mut store = |name: String, tensor: &Tensor| -> Result<()> {
            let shape = tensor.size().iter().map(|&n| n as usize).collect();
            stored.insert(name, (shape, to_vec(tensor)?));
            Ok(())
        };
        for (name, tensor) in self.network.tensors.iter().chain(&self.density.tensors) {
            store(format!("parameter/{name}"), tensor)?;
        }
        for (name, moments) in &self.moments {
            store(format!("first_moment/{name}"), &moments.first)?;
            store(format!("second_moment/{name}"), &moments.second)?;
        }
        if let Some(medians) = &self.medians {
            stored.insert("medians".into(), (vec![medians.len()], medians.clone()));
        }
        let header = CheckpointHeader::new(
            &self.config,
            self.step,
            self.data.fingerprint(),
            &self.curve,
        );
        checkpoint::write(&header, &stored)
    }
}

/// Overwrites `tensor` with the stored one of that name.
fn restore(
    stored: &mut BTreeMap<String, StoredTensor>,
    name: &str,
    tensor: &mut Tensor,
) -> Result<()> {
    let (shape, values) = stored
        .remove(name)
        .ok_or_else(|| Error::checkpoint(format!("has no tensor {name}")))?;
    let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    if shape != tensor.size() {
        let what = format!(
            "tensor {name} has shape {shape:?}, expected {:?}",
            tensor.size()
        );
        return Err(Error::checkpoint(what));
    }
    let _guard = tch::no_grad_guard();
    tensor.f_copy_(&Tensor::f_from_slice(&values)?.f_reshape(shape)?)?;
    Ok(())
}
