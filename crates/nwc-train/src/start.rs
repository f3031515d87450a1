//! What a run starts with: the device, the parameters, the densities.

use nwc_codec::{Parameters, initial_parameters, random_parameters};
use tch::{Device, Kind, Tensor};

use crate::data::TrainingData;
use crate::ecsq::ecsq_best_step;
use crate::entropy_bottleneck::EntropyBottleneck;
use crate::network::{Network, Side, by_density, to_vec};
use crate::{DeviceChoice, Error, Result, Start, TrainConfig};

/// Weights from which the first steps are chosen and the first densities get their width.
const N_START_WEIGHTS: usize = 1 << 18;

/// The device that `choice` stands for.
pub(crate) fn open_device(choice: DeviceChoice) -> Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda => check_device(Device::Cuda(0)),
        DeviceChoice::Auto => Ok(check_device(Device::Cuda(0)).unwrap_or(Device::Cpu)),
    }
}

/// `device`, where LibTorch has it.
pub(crate) fn check_device(device: Device) -> Result<Device> {
    let Device::Cuda(idx) = device else {
        return Ok(device);
    };
    let n_devices = tch::Cuda::device_count();
    if tch::Cuda::is_available() && i64::try_from(idx).is_ok_and(|idx| idx < n_devices) {
        Ok(device)
    } else {
        Err(Error::NoCuda { idx, n_devices })
    }
}

/// The first of the training runs' weights.
fn start_sample<'d>(config: &TrainConfig, data: &'d TrainingData) -> &'d [f32] {
    let (runs, _) = data.split(config.n_validation_runs);
    &runs[..runs.len().min(N_START_WEIGHTS)]
}

/// The parameters that `config` says to start at.
pub(crate) fn start_parameters(config: &TrainConfig, data: &TrainingData) -> Result<Parameters> {
    let codec = &config.codec;
    Ok(match config.start {
        Start::Random => random_parameters(codec, config.seed)?,
        Start::ScalarQuantizer => {
            let sample = start_sample(config, data);
            let best_step = |&coefficient: &f32| {
                let (lambda, coefficient) = (f64::from(codec.lambda), f64::from(coefficient));
                ecsq_best_step(sample, data.variance(), lambda, coefficient).step as f32
            };
            let steps: Vec<f32> = codec.rate_coefficients.iter().map(best_step).collect();
            initial_parameters(codec, &steps, config.seed)?
        }
    })
}

/// Densities as wide as the latents that `network` gives for a sample.
pub(crate) fn start_density(
    config: &TrainConfig,
    data: &TrainingData,
    network: &Network,
    device: Device,
) -> Result<EntropyBottleneck> {
    let _guard = tch::no_grad_guard();
    let n_levels = config.codec.n_quality_levels() as i64;
    let chunks = Tensor::f_from_slice(start_sample(config, data))?
        .f_reshape([1, -1, config.codec.chunk_len as i64])?
        .f_to_device(device)?
        .f_repeat([n_levels, 1, 1])?;
    let latents = by_density(&network.run(Side::Analysis, &chunks)?)?;
    let deviations = latents
        .f_square()?
        .f_mean_dim(1i64, false, Kind::Float)?
        .f_sqrt()?;
    EntropyBottleneck::new(&to_vec(&deviations)?, device)
}
