//! Synthesis in LibTorch, so that decoding can use a CUDA device: the trainer's network, without gradients.

use std::sync::{Mutex, PoisonError};

use nwc_chunk::QualityLevel;
use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_codec::{CodecConfig, NeuralCodec, SynthesisBackend, Synthesizer};
use tch::{Device, Kind, Tensor};

use crate::network::{MEDIAN, Network, Side};
use crate::start::check_device;
use crate::{Error, Result};

/// Elements of a hidden layer in one batch on a device, 64 MiB in f32; half a dozen such tensors live at a time.
const DEVICE_BATCH_ELEMS: usize = 1 << 24;
/// The same on the processor, where they should stay in its caches.
const CPU_BATCH_ELEMS: usize = 1 << 16;

/// Runs synthesis where LibTorch can: for `nwc::DecodeOptions`.
///
/// Weights agree with the plain-Rust ones but for rounding, as both compute in f32 and add up in different orders.
/// On a device one batch is computed at a time, so that its memory is bounded whatever the matrix and the threads.
#[derive(Debug, Clone, Copy)]
pub struct TorchBackend {
    device: Device,
    batch_elems: usize,
}

impl TorchBackend {
    /// Synthesis on `device`; on [`Device::Cpu`] it serves tests and comparisons, as plain Rust is faster.
    ///
    /// # Errors
    /// [`Error::NoCuda`] where LibTorch does not have the device.
    pub fn new(device: Device) -> Result<Self> {
        let batch_elems = match device {
            Device::Cpu => CPU_BATCH_ELEMS,
            _ => DEVICE_BATCH_ELEMS,
        };
        Ok(Self {
            device: check_device(device)?,
            batch_elems,
        })
    }
}

impl SynthesisBackend for TorchBackend {
    fn load(&self, codec: &NeuralCodec) -> nwc_codec::Result<Box<dyn Synthesizer>> {
        Ok(Box::new(
            TorchSynthesizer::new(codec, *self).map_err(for_codec)?,
        ))
    }
}

/// One codec's synthesis on a device.
#[derive(Debug)]
struct TorchSynthesizer {
    config: CodecConfig,
    backend: TorchBackend,
    /// Locked for each batch: tensors must not be shared between threads, and a device's memory is bounded so.
    on_device: Mutex<OnDevice>,
}

#[derive(Debug)]
struct OnDevice {
    network: Network,
    /// `[n_quality_levels, latent_dim]`.
    medians: Tensor,
}

impl TorchSynthesizer {
    fn new(codec: &NeuralCodec, backend: TorchBackend) -> Result<Self> {
        let (config, device) = (codec.config(), backend.device);
        let needed = |name: &String| name.starts_with("decoder.") || name.starts_with("quality_");
        let parameters = codec.parameters().iter().filter(|(name, _)| needed(name));
        let parameters = parameters.map(|(name, p)| (name.clone(), p.clone()));
        let network = Network::new(config, &parameters.collect(), device)?;
        let medians: Vec<f32> = codec.parameters()[MEDIAN].iter().copied().collect();
        let medians = Tensor::f_from_slice(&medians)?
            .f_reshape([config.n_quality_levels() as i64, config.latent_dim as i64])?
            .f_to_device(device)?;
        Ok(Self {
            config: config.clone(),
            backend,
            on_device: Mutex::new(OnDevice { network, medians }),
        })
    }

    /// Rows in a batch.
    fn batch_rows(&self) -> usize {
        let CodecConfig {
            width,
            chunk_len,
            latent_dim,
            ..
        } = self.config;
        (self.backend.batch_elems / width.max(chunk_len).max(latent_dim)).max(1)
    }

    /// Writes the chunks `[levels.len(), chunk_len]` of the row-major `symbols`.
    fn run_batch(&self, symbols: &[i32], levels: &[QualityLevel], out: &mut [f32]) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let device = self.backend.device;
        let on_device = self
            .on_device
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let symbols = Tensor::f_from_slice(symbols)?
            .f_reshape([levels.len() as i64, self.config.latent_dim as i64])?
            .f_to_device(device)?
            .f_to_kind(Kind::Float)?;
        let of_levels = rows_of_levels(levels, device)?;
        let latents = symbols.f_add(&of_levels(&on_device.medians)?)?;
        let gain = of_levels(on_device.network.embedding(Side::Synthesis))?;
        let chunks = on_device
            .network
            .run_with_gain(Side::Synthesis, &latents, &gain)?
            .f_to_device(Device::Cpu)?
            .f_contiguous()?;
        let n_elems = out.len();
        Ok(chunks.f_copy_data(out, n_elems)?)
    }
}

impl Synthesizer for TorchSynthesizer {
    fn synthesize(
        &self,
        symbols: ArrayView2<'_, i32>,
        levels: &[QualityLevel],
    ) -> nwc_codec::Result<Array2<f32>> {
        self.config.check_symbols(symbols, levels)?;
        let symbols = symbols.as_standard_layout();
        let symbols = symbols.as_slice().unwrap_or_default();
        let (chunk_len, latent_dim) = (self.config.chunk_len, self.config.latent_dim);
        let mut chunks = Array2::zeros((levels.len(), chunk_len));
        let n_rows = self.batch_rows();
        let batches = chunks
            .as_slice_mut()
            .unwrap_or_default()
            .chunks_mut(n_rows * chunk_len)
            .zip(symbols.chunks(n_rows * latent_dim))
            .zip(levels.chunks(n_rows));
        for ((out, symbols), levels) in batches {
            self.run_batch(symbols, levels, out).map_err(for_codec)?;
        }
        Ok(chunks)
    }
}

/// Takes from a table `[n_quality_levels, n]` the row of each level; a single row where all levels are the same.
fn rows_of_levels(
    levels: &[QualityLevel],
    device: Device,
) -> Result<impl Fn(&Tensor) -> Result<Tensor>> {
    let mut idx: Vec<i64> = levels.iter().map(|level| i64::from(level.0)).collect();
    if idx.windows(2).all(|pair| pair[0] == pair[1]) {
        idx.truncate(1);
    }
    let idx = Tensor::f_from_slice(&idx)?.f_to_device(device)?;
    Ok(move |table: &Tensor| Ok(table.f_index_select(0, &idx)?))
}

/// The error as the codec crate names it.
fn for_codec(error: Error) -> nwc_codec::Error {
    match error {
        Error::Codec { source } => source,
        other => nwc_codec::Error::Synthesis(Box::new(other)),
    }
}

#[cfg(test)]
mod tests;
