//! What a neural codec is: sizes, quality levels, normalisation; and the named presets.

use nwc_chunk::QualityLevel;
use serde::{Deserialize, Serialize};

use crate::trellis::N_STATES;
use crate::{Error, Result};

/// Shape and provenance of a neural codec; travels as JSON in the codec file.
///
/// Source of the `paper` values: `docs/METHOD.md` 1.2 to 1.4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecConfig {
    /// Weights in a chunk (paper `input_size`).
    pub chunk_len: usize,
    /// Latents that code one chunk (the paper's `M`).
    pub latent_dim: usize,
    /// Hidden width of both transforms.
    pub width: usize,
    /// Residual blocks in each transform.
    pub n_blocks: usize,
    /// Rate coefficient of each quality level, cheapest first (paper `coff`); its length is the number of levels.
    pub rate_coefficients: Vec<f32>,
    /// Whether analysis and synthesis multiply by the same quality embedding (the paper does).
    ///
    /// Where false the synthesis has an embedding of its own, so that it can undo the analysis' gain.
    pub shared_quality_embedding: bool,
    /// Weight of the distortion in the loss that the codec was trained for.
    pub lambda: f32,
    /// States of the trellis code that runs through the latents of a column: 4, 8, 16, 64 or 256.
    ///
    /// With 1, the default, every latent is rounded by itself and the file says nothing about states.
    /// Differs from the paper, which rounds: 8 states save 0.17 bit a weight (`docs/RESULTS.md`).
    #[serde(default = "one_state", skip_serializing_if = "is_one_state")]
    pub n_states: u16,
}

fn one_state() -> u16 {
    1
}

fn is_one_state(n_states: &u16) -> bool {
    *n_states == 1
}

/// Largest sizes that a codec file may ask for; checked before anything is allocated.
const MAX_CHUNK_LEN: usize = 4096;
const MAX_LATENT_DIM: usize = 4096;
const MAX_WIDTH: usize = 8192;
const MAX_BLOCKS: usize = 64;
const MAX_LEVELS: usize = 64;

/// The paper's rate coefficients for four levels (`docs/METHOD.md` 1.4).
const PAPER_RATE_COEFFICIENTS: [f32; 4] = [3.4, 1.2, 0.1, 0.05];

impl CodecConfig {
    /// The paper's codec: chunk 16, latent 16, width 512, 4 blocks, 4 levels, one shared embedding.
    pub fn paper(lambda: f32) -> Self {
        Self {
            chunk_len: 16,
            latent_dim: 16,
            width: 512,
            n_blocks: 4,
            rate_coefficients: PAPER_RATE_COEFFICIENTS.to_vec(),
            shared_quality_embedding: true,
            lambda,
            n_states: 1,
        }
    }

    /// Chunk 16, width 64, 2 blocks: as good as [`CodecConfig::paper`] up to 4.8 bits (`docs/METHOD.md` 1.9).
    pub fn small(lambda: f32) -> Self {
        Self {
            width: 64,
            n_blocks: 2,
            shared_quality_embedding: false,
            ..Self::paper(lambda)
        }
    }

    /// Chunk 4, width 16, 2 blocks: the least work a weight.
    pub fn tiny(lambda: f32) -> Self {
        Self {
            chunk_len: 4,
            latent_dim: 4,
            width: 16,
            ..Self::small(lambda)
        }
    }

    /// The preset of that name: `paper`, `small` or `tiny`.
    pub fn preset(name: &str, lambda: f32) -> Option<Self> {
        match name {
            "paper" => Some(Self::paper(lambda)),
            "small" => Some(Self::small(lambda)),
            "tiny" => Some(Self::tiny(lambda)),
            _ => None,
        }
    }

    /// Number of quality levels.
    pub fn n_quality_levels(&self) -> usize {
        self.rate_coefficients.len()
    }

    /// Probability tables of a quality level and latent channel: one, or one a parity of the trellis' state.
    pub(crate) fn n_parities(&self) -> usize {
        if self.n_states == 1 { 1 } else { 2 }
    }

    /// Number of probability tables; that of a level, channel and parity is at
    /// `(level * latent_dim + channel) * n_parities + parity`.
    pub fn n_tables(&self) -> usize {
        self.n_quality_levels() * self.latent_dim * self.n_parities()
    }

    /// The table that codes `symbol`, and what is coded under it: with a trellis the parity is in the table.
    pub(crate) fn coded_as(
        &self,
        level: QualityLevel,
        channel: usize,
        symbol: i32,
    ) -> (usize, i32) {
        let table = usize::from(level.0) * self.latent_dim + channel;
        match self.n_states {
            1 => (table, symbol),
            _ => (2 * table + (symbol & 1) as usize, symbol >> 1),
        }
    }

    /// Checks every field against what this version can run.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, its value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("chunk_len", self.chunk_len, 1, MAX_CHUNK_LEN),
            ("latent_dim", self.latent_dim, 1, MAX_LATENT_DIM),
            ("width", self.width, 1, MAX_WIDTH),
            ("n_blocks", self.n_blocks, 0, MAX_BLOCKS),
            ("n_quality_levels", self.n_quality_levels(), 1, MAX_LEVELS),
        ];
        for (field, found, min, max) in ranges {
            if !(min..=max).contains(&found) {
                return Err(Error::Config {
                    field,
                    found: found.to_string(),
                    allowed: format!("{min} to {max}"),
                });
            }
        }
        if !N_STATES.contains(&usize::from(self.n_states)) {
            return Err(Error::Config {
                field: "n_states",
                found: self.n_states.to_string(),
                allowed: format!("{N_STATES:?}"),
            });
        }
        let positive = |x: f32| x.is_finite() && x > 0.0;
        if !self.rate_coefficients.iter().copied().all(positive) {
            return Err(Error::Config {
                field: "rate_coefficients",
                found: format!("{:?}", self.rate_coefficients),
                allowed: "finite and positive".into(),
            });
        }
        if !positive(self.lambda) {
            return Err(Error::Config {
                field: "lambda",
                found: self.lambda.to_string(),
                allowed: "finite and positive".into(),
            });
        }
        Ok(())
    }
}
