//! Rotations and masks, which depend only on the positions and are shared by all blocks.

use tch::{Kind, Tensor};

use crate::config::ModelConfig;
use crate::error::Result;
use crate::tensors::from_slice;

/// Positions `start..start + n_tokens` of a sequence, prepared once for all blocks.
#[derive(Debug)]
pub struct Sequence {
    pub(crate) start: usize,
    pub(crate) n_tokens: usize,
    causal: bool,
    /// Cosine and sine, `[n_tokens, head_dim]`, both halves alike.
    rotations: Option<(Tensor, Tensor)>,
    device: tch::Device,
}

impl Sequence {
    pub(crate) fn new(
        config: &ModelConfig,
        start: usize,
        n_tokens: usize,
        device: tch::Device,
    ) -> Result<Self> {
        let rotations = match &config.rotary {
            None => None,
            Some(rotary) => {
                let frequencies = rotary.frequencies(config.head_dim);
                // Angles in f64: at position 100,000 an angle in f32 is off by 0.004.
                let table = |f: fn(f64) -> f64| {
                    let values: Vec<f32> = (start..start + n_tokens)
                        .flat_map(|position| {
                            frequencies
                                .iter()
                                .chain(&frequencies)
                                .map(move |frequency| f(position as f64 * frequency) as f32)
                        })
                        .collect();
                    from_slice(&values, &[n_tokens, config.head_dim], device)
                };
                Some((table(f64::cos)?, table(f64::sin)?))
            }
        };
        Ok(Self {
            start,
            n_tokens,
            causal: config.is_causal(),
            rotations,
            device,
        })
    }

    /// Rotates heads `[.., n_tokens, head_dim]`; the two halves of a head form the pairs (Hugging Face's layout).
    pub(crate) fn rotate(&self, heads: Tensor) -> Result<Tensor> {
        let Some((cos, sin)) = &self.rotations else {
            return Ok(heads);
        };
        let halves = heads.f_chunk(2, -1)?;
        let [first, second] = halves.as_slice() else {
            return Ok(heads);
        };
        let turned = Tensor::f_cat(&[second.f_neg()?, first.shallow_clone()], -1)?;
        Ok(heads.f_mul(cos)?.f_add(&turned.f_mul(sin)?)?)
    }

    /// Attention over `keys` and `values` `[B, heads, start + n_tokens, head_dim]`, limited to the last `window` positions.
    pub(crate) fn attend(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        window: Option<usize>,
    ) -> Result<Tensor> {
        let n_keys = self.start + self.n_tokens;
        let windowed = window.filter(|&window| window < n_keys);
        let plain_causal = self.causal && windowed.is_none() && self.start == 0;
        let sees_all = !self.causal || (windowed.is_none() && self.n_tokens == 1);
        let mask = if plain_causal || sees_all {
            None
        } else {
            Some(self.mask(windowed)?)
        };
        let attended = Tensor::f_scaled_dot_product_attention(
            query,
            keys,
            values,
            mask.as_ref(),
            0.0,
            plain_causal,
            None,
            false,
        )?;
        Ok(attended)
    }

    /// True if query `i` attends to key `j`: j ≤ i and, in a window of w, j > i − w.
    fn mask(&self, window: Option<usize>) -> Result<Tensor> {
        let n_keys = (self.start + self.n_tokens) as i64;
        let options = (Kind::Bool, self.device);
        let seen =
            Tensor::f_ones([self.n_tokens as i64, n_keys], options)?.f_tril(self.start as i64)?;
        match window {
            None => Ok(seen),
            Some(window) => {
                let too_old = self.start as i64 - window as i64;
                Ok(seen.f_logical_and(&seen.f_ones_like()?.f_tril(too_old)?.f_logical_not()?)?)
            }
        }
    }
}
