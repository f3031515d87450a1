#![doc = include_str!("../README.md")]
//!
//! # How it is used
//! ```no_run
//! use nwc_train::{TrainConfig, TrainingData, train};
//!
//! # fn main() -> nwc_train::Result<()> {
//! # let normalized_matrices: Vec<nwc_chunk::ndarray::Array2<f32>> = Vec::new();
//! let data = TrainingData::from_matrices(normalized_matrices)?;
//! let trained = train(&TrainConfig::small(300.0), &data, &mut |progress| {
//!     println!("{} of {}: {:.3} bits", progress.n_steps_done, progress.n_steps, progress.point.bits_per_weight);
//! })?;
//! let codec_file: Vec<u8> = trained.codec.to_bytes()?;
//! # Ok(())
//! # }
//! ```
//! To keep checkpoints, drive a [`Trainer`] step by step; [`train`] is no more than that in a loop.
#![forbid(unsafe_code)]

mod adam;
mod checkpoint;
mod config;
mod curve;
mod data;
mod ecsq;
mod entropy_bottleneck;
mod error;
mod freeze;
mod measure;
mod network;
mod parity;
mod refreeze;
mod start;
mod synthesis;
mod synthetic;
mod trainer;

pub use adam::AdamMoments;
pub use config::{DeviceChoice, Schedule, Start, TrainConfig};
pub use curve::{CurvePoint, TrainProgress};
pub use data::{RUN_LEN, SamplingOptions, TrainingData};
pub use ecsq::{EcsqPoint, ecsq, ecsq_at_mse, ecsq_best_step};
pub use error::{Error, Result};
pub use measure::{LevelMeasurement, measure};
pub use parity::{ParityCase, parity_case};
pub use refreeze::refreeze;
pub use synthesis::TorchBackend;
pub use synthetic::{gaussian_matrix, gaussian_mixture_matrix};
pub use trainer::{TrainedCodec, Trainer, train};
