//! How a codec is trained: steps, learning rates, seed, device; and a preset for each codec preset.

use nwc_codec::CodecConfig;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Everything that, with the data, decides the trained codec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The codec to train; its `lambda` and `rate_coefficients` are those of the loss.
    pub codec: CodecConfig,
    /// Where the parameters start.
    pub start: Start,
    /// Steps with additive uniform noise; all parameters learn, after the first [`TrainConfig::n_density_steps`].
    pub n_noise_steps: usize,
    /// The first of the noise steps, in which only the densities learn. The paper has none.
    ///
    /// A density that does not fit yet would pull transforms that start well to other rates.
    pub n_density_steps: usize,
    /// Steps after them with hard rounding; the analysis is fixed, synthesis and densities learn.
    ///
    /// They teach the synthesis the centroids of what is really decoded. The paper has none.
    pub n_rounding_steps: usize,
    /// Runs of consecutive outputs in one step; a multiple of the number of quality levels.
    pub runs_per_step: usize,
    /// Adam's learning rate for the two transforms.
    pub learning_rate: f64,
    /// Adam's learning rate for the densities.
    pub density_learning_rate: f64,
    /// How both rates change from step to step, anew in each of the two phases.
    pub schedule: Schedule,
    /// Gradients above this Euclidean norm are scaled down to it (paper: 1).
    pub max_gradient_norm: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Runs held out for the measurement at the end.
    pub n_validation_runs: usize,
    /// Most runs from which the frozen tables' histograms are counted, at each quality level.
    pub n_table_runs: usize,
    /// A point of the learning curve is kept every so many steps.
    pub curve_every: usize,
    /// Where LibTorch runs.
    pub device: DeviceChoice,
    /// Threads of LibTorch on the processor, for the whole process; 0 leaves its own choice.
    ///
    /// One is best for the small codecs: their steps are thousands of short loops, after each of which threads
    /// wait for each other. Also, sums depend on it, so that a fixed number gives one result on all machines.
    pub n_threads: usize,
}

/// Where a network's parameters start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At entropy-coded scalar quantisation with the best step of each level on the data: training only improves on it.
    ///
    /// Needs a codec with a quality embedding of its own in the synthesis.
    ScalarQuantizer,
    /// As PyTorch initialises its layers, which is where the paper starts.
    Random,
}

/// How a learning rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Not at all (the paper).
    Constant,
    /// Falls to zero along half a cosine wave.
    Cosine,
}

/// Where LibTorch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// On the processor.
    Cpu,
    /// On the first CUDA device; an error where there is none.
    Cuda,
    /// On the first CUDA device if LibTorch has one, else on the processor.
    Auto,
}

impl TrainConfig {
    /// The paper's (`docs/METHOD.md` 1.5): 200,000 steps of 2,048 runs, Adam 1e-4, no schedule, seed 100.
    pub fn paper(lambda: f32) -> Self {
        Self {
            codec: CodecConfig::paper(lambda),
            start: Start::Random,
            n_noise_steps: 200_000,
            n_density_steps: 0,
            n_rounding_steps: 0,
            runs_per_step: 2048,
            learning_rate: 1e-4,
            density_learning_rate: 1e-4,
            schedule: Schedule::Constant,
            max_gradient_norm: 1.0,
            seed: 100,
            n_validation_runs: 1000,
            n_table_runs: 16_384,
            curve_every: 500,
            device: DeviceChoice::Auto,
            n_threads: 0,
        }
    }

    /// For [`CodecConfig::small`]: minutes on two cores, because it starts at scalar quantisation.
    pub fn small(lambda: f32) -> Self {
        Self {
            codec: CodecConfig::small(lambda),
            start: Start::ScalarQuantizer,
            n_noise_steps: 500,
            n_density_steps: 150,
            n_rounding_steps: 100,
            runs_per_step: 64,
            learning_rate: small_learning_rate(lambda),
            density_learning_rate: 1e-2,
            schedule: Schedule::Cosine,
            n_table_runs: 8192,
            curve_every: 10,
            n_threads: 1,
            n_validation_runs: 4000,
            ..Self::paper(lambda)
        }
    }

    /// For [`CodecConfig::tiny`], as [`TrainConfig::small`].
    pub fn tiny(lambda: f32) -> Self {
        Self {
            codec: CodecConfig::tiny(lambda),
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

    /// The same training in `n_steps` steps: every phase keeps its share.
    pub fn with_steps(mut self, n_steps: usize) -> Self {
        let whole = self.n_steps().max(1) as u128;
        // A share of n_steps is no larger than it.
        let share = |part: usize| (part as u128 * n_steps as u128 / whole) as usize;
        self.n_rounding_steps = share(self.n_rounding_steps);
        self.n_density_steps = share(self.n_density_steps);
        self.n_noise_steps = n_steps - self.n_rounding_steps;
        self
    }

    /// Steps of both phases.
    pub fn n_steps(&self) -> usize {
        self.n_noise_steps.saturating_add(self.n_rounding_steps)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, its value and the allowed range; [`Error::Codec`] where the codec's
    /// configuration is refused.
    pub fn validate(&self) -> Result<()> {
        self.codec.validate()?;
        let n_levels = self.codec.n_quality_levels();
        if self.runs_per_step == 0 || !self.runs_per_step.is_multiple_of(n_levels) {
            let allowed = format!("positive multiples of the {n_levels} quality levels");
            return Err(Error::config("runs_per_step", self.runs_per_step, allowed));
        }
        for (field, found) in [
            ("runs_per_step", self.runs_per_step),
            ("n_table_runs", self.n_table_runs),
            ("n_validation_runs", self.n_validation_runs),
            ("curve_every", self.curve_every),
        ] {
            if !(1..=MAX_RUNS).contains(&found) {
                return Err(Error::config(field, found, format!("1 to {MAX_RUNS}")));
            }
        }
        for (field, found) in [
            ("learning_rate", self.learning_rate),
            ("density_learning_rate", self.density_learning_rate),
            ("max_gradient_norm", self.max_gradient_norm),
        ] {
            if !(found.is_finite() && found > 0.0) {
                return Err(Error::config(field, found, "finite and positive"));
            }
        }
        if self.n_density_steps > self.n_noise_steps {
            let allowed = format!("at most the {} noise steps", self.n_noise_steps);
            return Err(Error::config(
                "n_density_steps",
                self.n_density_steps,
                allowed,
            ));
        }
        if self.n_threads > MAX_THREADS {
            return Err(Error::config(
                "n_threads",
                self.n_threads,
                format!("0 to {MAX_THREADS}"),
            ));
        }
        Ok(())
    }

    /// Factor of the learning rates at `step`, 0 to 1.
    pub(crate) fn rate_factor(&self, step: usize) -> f64 {
        let (start, len) = if step < self.n_noise_steps {
            (0, self.n_noise_steps)
        } else {
            (self.n_noise_steps, self.n_rounding_steps)
        };
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => {
                let done = (step - start) as f64 / len.max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

/// Most runs in a step, in the tables' histograms and held out: 2^20, a gigaweight in runs of 1024.
const MAX_RUNS: usize = 1 << 20;
/// More threads than any machine has.
const MAX_THREADS: usize = 1024;

/// The finer the codec, the less the two transforms may disagree while they move.
///
/// The tolerable mismatch goes with the square root of the distortion, so with 1/sqrt(lambda); but with
/// 5e-5 at lambda 10000 the transforms ended no better than they started, so it falls as 1/lambda.
fn small_learning_rate(lambda: f32) -> f64 {
    1e-3 * (30.0 / f64::from(lambda)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut TrainConfig), expected: &str) {
        let mut config = TrainConfig::small(100.0);
        change(&mut config);
        assert_eq!(config.validate().unwrap_err().to_string(), expected);
    }

    #[test]
    fn presets_are_valid_and_named() {
        for name in ["paper", "small", "tiny"] {
            let config = TrainConfig::preset(name, 100.0).unwrap();
            config.validate().unwrap();
            for n_steps in [1, 2, 7, 100_000] {
                let shortened = config.clone().with_steps(n_steps);
                shortened.validate().unwrap();
                assert_eq!(shortened.n_steps(), n_steps);
            }
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TrainConfig>(&json).unwrap(), config);
        }
        assert!(TrainConfig::preset("huge", 100.0).is_none());
    }

    #[test]
    fn wrong_fields_are_named() {
        check(
            |c| c.runs_per_step = 7,
            "training field runs_per_step is 7, allowed: positive multiples of the 4 quality levels",
        );
        check(
            |c| c.learning_rate = f64::NAN,
            "training field learning_rate is NaN, allowed: finite and positive",
        );
        check(
            |c| c.n_density_steps = 501,
            "training field n_density_steps is 501, allowed: at most the 500 noise steps",
        );
        check(
            |c| c.curve_every = 0,
            "training field curve_every is 0, allowed: 1 to 1048576",
        );
        check(
            |c| c.codec.width = 0,
            "codec: codec field width is 0, allowed: 1 to 8192",
        );
    }

    #[test]
    fn the_cosine_starts_anew_for_the_rounding_phase() {
        let config = TrainConfig {
            n_noise_steps: 10,
            n_rounding_steps: 4,
            ..TrainConfig::small(100.0)
        };
        assert_eq!(config.rate_factor(0), 1.0);
        assert_eq!(config.rate_factor(10), 1.0);
        assert!((config.rate_factor(5) - 0.5).abs() < 1e-12);
        assert!(config.rate_factor(9) < 0.03);
    }
}
