//! What LibTorch makes of a random codec, for the test that plain Rust makes the same of it.

use nwc_chunk::QualityLevel;
use nwc_chunk::ndarray::Array2;
use nwc_codec::{CodecConfig, NeuralCodec, freeze_from_pmf, random_parameters};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use crate::network::{MEDIAN, Network, Side, to_vec};
use crate::{Error, Result, gaussian_matrix};

/// A codec, chunks, and LibTorch's latents and reconstructions of them.
#[derive(Debug, Clone)]
pub struct ParityCase {
    /// A codec with random parameters; its tables know the symbol 0 only.
    pub codec: NeuralCodec,
    /// `[n_chunks, chunk_len]`.
    pub chunks: Array2<f32>,
    /// A level for each chunk, in ascending order.
    pub levels: Vec<QualityLevel>,
    /// Analysis of the chunks, not rounded, `[n_chunks, latent_dim]`.
    pub latents: Array2<f32>,
    /// The latents rounded around the medians, `[n_chunks, latent_dim]`.
    pub symbols: Array2<i32>,
    /// Synthesis of the symbols and medians, `[n_chunks, chunk_len]`.
    pub reconstruction: Array2<f32>,
}

/// Runs a random codec of `config` in LibTorch, on the processor, on `n_per_level` random chunks at each level.
///
/// # Errors
/// [`Error::Codec`] where `config` is refused; [`Error::Torch`].
pub fn parity_case(config: &CodecConfig, n_per_level: usize, seed: u64) -> Result<ParityCase> {
    let _guard = tch::no_grad_guard();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = random_parameters(config, seed)?;
    for (name, values) in &mut parameters {
        // PyTorch starts these at 1 and 0, which would hide a mistake.
        if name.contains(".norm.") || name == MEDIAN {
            values.mapv_inplace(|value| value + rng.random_range(-0.5..0.5));
        }
    }
    let network = Network::new(config, &parameters, Device::Cpu)?;
    let n_levels = config.n_quality_levels();
    let n_chunks = n_levels * n_per_level;
    let chunks = gaussian_matrix(n_chunks, config.chunk_len, seed);
    let sizes = |n: usize| [n_levels as i64, n_per_level as i64, n as i64];
    let input: Vec<f32> = chunks.iter().copied().collect();
    let input = Tensor::f_from_slice(&input)?.f_reshape(sizes(config.chunk_len))?;
    let medians: Vec<f32> = parameters
        .get(MEDIAN)
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let medians = Tensor::f_from_slice(&medians)?.f_reshape([n_levels as i64, 1, -1])?;
    let latents = network.run(Side::Analysis, &input)?;
    let symbols = latents.f_sub(&medians)?.f_round()?;
    let reconstruction = network.run(Side::Synthesis, &symbols.f_add(&medians)?)?;

    let tables = freeze_from_pmf(config, |_, _, _| (0, vec![1.0]))?;
    let array = |tensor: &Tensor, n_cols: usize| -> Result<Array2<f32>> {
        Array2::from_shape_vec((n_chunks, n_cols), to_vec(tensor)?)
            .map_err(|_| Error::config("n_per_level", n_per_level, "as many as fit into memory"))
    };
    Ok(ParityCase {
        latents: array(&latents, config.latent_dim)?,
        symbols: array(&symbols, config.latent_dim)?.mapv(|symbol| symbol as i32),
        reconstruction: array(&reconstruction, config.chunk_len)?,
        levels: (0..n_chunks)
            .map(|idx| QualityLevel((idx / n_per_level.max(1)) as u8))
            .collect(),
        chunks,
        codec: NeuralCodec::new(config.clone(), parameters, tables, String::new())?,
    })
}
