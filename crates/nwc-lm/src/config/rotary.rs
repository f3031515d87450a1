//! Rotary positions: the base, and the ways of stretching it.

use super::fields::Fields;
use crate::error::{Error, Result};

/// How the rotation frequencies are stretched for longer contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies are divided, high ones kept, with a ramp in between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length before the stretch.
        original_max_positions: f64,
    },
}

/// Rotary position encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryConfig {
    /// The base of the frequencies, `rope_theta`.
    pub base: f64,
    /// The stretch.
    pub scaling: RopeScaling,
}

impl RotaryConfig {
    /// Reads `rope_theta` and `rope_scaling`, or both from `rope_parameters` (newer files).
    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        let nested = fields.object("rope_parameters");
        let base = match &nested {
            Some(nested) if nested.get("rope_theta").is_some() => {
                nested.number("rope_theta", 10_000.0)?
            }
            _ => fields.number("rope_theta", 10_000.0)?,
        };
        let scaling = match nested.or_else(|| fields.object("rope_scaling")) {
            Some(scaling) => Self::scaling(&scaling)?,
            None => RopeScaling::None,
        };
        if base > 0.0 && base.is_finite() {
            Ok(Self { base, scaling })
        } else {
            Err(refused("rope_theta", base.to_string(), "a positive number"))
        }
    }

    fn scaling(fields: &Fields<'_>) -> Result<RopeScaling> {
        let kind = fields.get("rope_type").or_else(|| fields.get("type"));
        let positive = |field: &str| match fields.number(field, 0.0)? {
            value if value > 0.0 && value.is_finite() => Ok(value),
            value => Err(refused(field, value.to_string(), "a positive number")),
        };
        match kind.map(|kind| kind.as_str()) {
            None | Some(Some("default")) => Ok(RopeScaling::None),
            Some(Some("linear")) => Ok(RopeScaling::Linear {
                factor: positive("factor")?,
            }),
            Some(Some("llama3")) => {
                let low_freq_factor = positive("low_freq_factor")?;
                let high_freq_factor = positive("high_freq_factor")?;
                if high_freq_factor <= low_freq_factor {
                    let found = high_freq_factor.to_string();
                    return Err(refused(
                        "high_freq_factor",
                        found,
                        "more than low_freq_factor",
                    ));
                }
                Ok(RopeScaling::Llama3 {
                    factor: positive("factor")?,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_positions: positive("original_max_position_embeddings")?,
                })
            }
            Some(other) => Err(refused(
                "rope_scaling.rope_type",
                other.unwrap_or("not a string").to_owned(),
                "default, linear, llama3",
            )),
        }
    }

    /// The rotation per position of each pair of a head's channels: `head_dim / 2` angles, in radians.
    ///
    /// Source: RoFormer (arXiv 2104.09864) eq. 15; the Llama 3 ramp as in Meta's published model code.
    #[must_use]
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let unscaled = (0..head_dim / 2)
            .map(|pair_idx| self.base.powf(-2.0 * pair_idx as f64 / head_dim as f64));
        match self.scaling {
            RopeScaling::None => unscaled.collect(),
            RopeScaling::Linear { factor } => unscaled.map(|freq| freq / factor).collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_positions,
            } => unscaled
                .map(|freq| {
                    let n_turns = original_max_positions * freq / std::f64::consts::TAU;
                    let kept = ((n_turns - low_freq_factor) / (high_freq_factor - low_freq_factor))
                        .clamp(0.0, 1.0);
                    freq * (kept + (1.0 - kept) / factor)
                })
                .collect(),
        }
    }
}

fn refused(field: &str, found: String, allowed: &str) -> Error {
    Error::ConfigField {
        field: field.to_owned(),
        found,
        allowed: allowed.to_owned(),
    }
}
