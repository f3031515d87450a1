//! What a trellis codec is told: states, Lagrangian, the buckets of predicted scale.

use serde::{Deserialize, Serialize};

use super::code::N_STATES;
use super::{Error, Result};

/// Quarter-octave exponents: four buckets double the scale.
pub(super) const BUCKETS_PER_OCTAVE: i32 = 4;

/// Most buckets of a codec; two tables each, so a table index stays far below `u16`.
const MAX_BUCKETS: u16 = 160;
/// Bucket indices lie in `±MAX_BUCKET`: predicted scales of 2^-30 to 2^30 steps.
const MAX_BUCKET: i16 = 120;
/// Above this the search would trade away nearly all of the distortion.
const MAX_LAGRANGIAN: f32 = 4.0;

/// Options of a [`super::TrellisCodec`]; travels as JSON in the codec file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrellisConfig {
    /// States of the trellis code: 4, 8, 16, 64 or 256; 1 is the entropy-coded scalar quantiser.
    pub n_states: u16,
    /// Squared error, in squared steps, that one bit is worth to the search.
    ///
    /// Zero finds the nearest path whatever it costs; 0.2 is what was found best (`docs/METHOD.md`).
    pub lagrangian: f32,
    /// Lowest bucket: predicted scale `2^(min_bucket / 4)` in steps; what lies below uses it too.
    pub min_bucket: i16,
    /// Number of buckets; what lies above the last uses the last.
    pub n_buckets: u16,
}

impl TrellisConfig {
    /// Chosen among 0 to 0.45 by KL divergence on SmolLM2 (`docs/METHOD.md` 2.3).
    ///
    /// By squared error 0.35 is best at every rate, by 0.006 bit at 2 bits and nothing at 4
    /// (`bench-runs/gaussian-gap.json`).
    const DEFAULT_LAGRANGIAN: f32 = 0.2;

    /// All scales from 1/16 to 1024 steps: 0.02 to 11 bits.
    pub fn wide(n_states: u16) -> Self {
        Self {
            n_states,
            lagrangian: Self::DEFAULT_LAGRANGIAN,
            min_bucket: -16,
            n_buckets: 57,
        }
    }

    /// Checks every field against what this version can run.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, field, found: String, allowed: String| {
            if ok {
                Ok(())
            } else {
                Err(Error::Config {
                    field,
                    found,
                    allowed,
                })
            }
        };
        check(
            N_STATES.contains(&usize::from(self.n_states)),
            "n_states",
            self.n_states.to_string(),
            format!("{N_STATES:?}"),
        )?;
        check(
            (0.0..=MAX_LAGRANGIAN).contains(&self.lagrangian),
            "lagrangian",
            self.lagrangian.to_string(),
            format!("0 to {MAX_LAGRANGIAN}"),
        )?;
        check(
            (1..=MAX_BUCKETS).contains(&self.n_buckets),
            "n_buckets",
            self.n_buckets.to_string(),
            format!("1 to {MAX_BUCKETS}"),
        )?;
        let highest = i32::from(self.min_bucket) + i32::from(self.n_buckets) - 1;
        check(
            self.min_bucket >= -MAX_BUCKET && highest <= i32::from(MAX_BUCKET),
            "min_bucket",
            format!("{} (highest {highest})", self.min_bucket),
            format!("-{MAX_BUCKET} to {MAX_BUCKET}"),
        )
    }

    /// Number of entropy tables: one a bucket and parity class.
    pub fn n_tables(&self) -> usize {
        2 * usize::from(self.n_buckets)
    }

    /// First table of the bucket that `exponent`, a predicted scale in quarter-octaves of the step,
    /// falls into; the odd class' table is the next.
    pub(super) fn first_table(&self, exponent: i32) -> usize {
        let last = i32::from(self.n_buckets) - 1;
        2 * (exponent - i32::from(self.min_bucket)).clamp(0, last) as usize
    }

    /// Predicted scale in steps at the centre of bucket `bucket_idx`.
    pub(super) fn bucket_scale(&self, bucket_idx: usize) -> f64 {
        let exponent = f64::from(self.min_bucket) + bucket_idx as f64;
        (exponent / f64::from(BUCKETS_PER_OCTAVE)).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected_field: &str, change: impl Fn(&mut TrellisConfig)) {
        let mut config = TrellisConfig::wide(8);
        config.validate().unwrap();
        change(&mut config);
        match config.validate() {
            Err(Error::Config { field, .. }) => assert_eq!(field, expected_field),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_field_is_checked() {
        check("n_states", |c| c.n_states = 7);
        check("lagrangian", |c| c.lagrangian = f32::NAN);
        check("lagrangian", |c| c.lagrangian = -0.1);
        check("n_buckets", |c| c.n_buckets = 0);
        check("n_buckets", |c| c.n_buckets = 161);
        check("min_bucket", |c| c.min_bucket = 100);
        check("min_bucket", |c| c.min_bucket = -121);
    }

    #[test]
    fn scales_outside_the_buckets_use_the_nearest() {
        let config = TrellisConfig::wide(4);
        assert_eq!(config.first_table(-1000), 0);
        assert_eq!(config.first_table(-16), 0);
        assert_eq!(config.first_table(0), 32);
        assert_eq!(config.first_table(1000), config.n_tables() - 2);
    }
}
