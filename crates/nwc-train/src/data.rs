//! The weights to train on: runs of consecutive outputs, shuffled once, the last of them held out.

use nwc_chunk::ndarray::Array2;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result};

/// Weights in a run (`docs/METHOD.md` 1.5): one quality level is drawn for a run.
pub const RUN_LEN: usize = 1024;

/// Which of the weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplingOptions {
    /// Most runs of [`RUN_LEN`] weights held in memory; of more, a uniform sample is kept.
    pub max_runs: usize,
    /// Seed of the sample and of the order.
    pub seed: u64,
}

impl Default for SamplingOptions {
    /// At most 2^17 runs (2^27 weights, 512 MiB); seed 100, the paper's.
    fn default() -> Self {
        Self {
            max_runs: 1 << 17,
            seed: 100,
        }
    }
}

/// Weights in random order, in runs of [`RUN_LEN`].
///
/// A run holds consecutive outputs of a column, and goes on in the next column where one ends (`docs/METHOD.md` 1.5).
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingData {
    /// Invariant: a whole number of runs, all finite, not all equal.
    values: Vec<f32>,
    mean: f64,
    variance: f64,
}

impl TrainingData {
    /// Takes `matrices`, each `[out, in]` and already divided by its row scales (or raw, see
    /// [`TrainingData::standardized`]); what is left of a matrix after the last whole run is dropped.
    ///
    /// # Errors
    /// As [`TrainingData::from_matrices_with`].
    pub fn from_matrices(matrices: impl IntoIterator<Item = Array2<f32>>) -> Result<Self> {
        Self::from_matrices_with(matrices, SamplingOptions::default())
    }

    /// As [`TrainingData::from_matrices`], with a bound on memory and a seed.
    ///
    /// One matrix is taken from the iterator at a time. Of more runs than `options.max_runs` each is kept with
    /// the same probability (reservoir sampling).
    ///
    /// # Errors
    /// [`Error::TooFewRuns`] below two runs; [`Error::Data`] where a weight is not finite or all are equal.
    pub fn from_matrices_with(
        matrices: impl IntoIterator<Item = Array2<f32>>,
        options: SamplingOptions,
    ) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let mut values: Vec<f32> = Vec::new();
        let mut n_seen = 0usize;
        for (matrix_idx, matrix) in matrices.into_iter().enumerate() {
            if let Some(((row, col), found)) = matrix.indexed_iter().find(|(_, x)| !x.is_finite()) {
                return Err(Error::Data {
                    what: format!("matrix {matrix_idx} holds {found} in row {row}, column {col}"),
                });
            }
            // Transposed and read row by row: all outputs of input 0, then of input 1.
            let outputs: Vec<f32> = matrix.t().iter().copied().collect();
            for run in outputs.chunks_exact(RUN_LEN) {
                let slot = if n_seen < options.max_runs {
                    values.extend_from_slice(run);
                    None
                } else {
                    Some(rng.random_range(0..=n_seen)).filter(|&slot| slot < options.max_runs)
                };
                if let Some(slot) = slot {
                    values[slot * RUN_LEN..][..RUN_LEN].copy_from_slice(run);
                }
                n_seen += 1;
            }
        }
        shuffle_runs(&mut values, &mut rng);
        Self::from_runs(values)
    }

    /// Takes whole runs as they are, in the order given.
    fn from_runs(values: Vec<f32>) -> Result<Self> {
        let n_runs = values.len() / RUN_LEN;
        if n_runs < MIN_RUNS {
            return Err(Error::TooFewRuns {
                found: n_runs,
                run_len: RUN_LEN,
                needed: MIN_RUNS,
            });
        }
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = values
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / n;
        if variance.is_nan() || variance <= 0.0 {
            return Err(Error::Data {
                what: format!("holds {} weights that are all {mean}", values.len()),
            });
        }
        Ok(Self {
            values,
            mean,
            variance,
        })
    }

    /// The same weights less their mean, over their standard deviation: both over all of them.
    ///
    /// This is how the paper trains on raw weights (`docs/METHOD.md` 1.2 and 1.5); the two numbers are not part of the
    /// codec, because weights are divided by their row scales where it is used (`docs/METHOD.md` 1.7).
    ///
    /// # Errors
    /// [`Error::Data`] where the result is not finite.
    pub fn standardized(mut self) -> Result<Self> {
        let scale = self.variance.sqrt();
        for value in &mut self.values {
            *value = ((f64::from(*value) - self.mean) / scale) as f32;
        }
        Self::from_runs(self.values)
    }

    /// Runs of [`RUN_LEN`] weights.
    pub fn n_runs(&self) -> usize {
        self.values.len() / RUN_LEN
    }

    /// Mean of all weights.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Variance of all weights about their mean: the loss's σ² (`docs/METHOD.md` 1.4).
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// Runs to train on, and runs held out: the last `n_validation_runs`, at most a tenth, at least one.
    pub(crate) fn split(&self, n_validation_runs: usize) -> (&[f32], &[f32]) {
        let n_held_out = n_validation_runs.min(self.n_runs() / 10).max(1);
        self.values.split_at((self.n_runs() - n_held_out) * RUN_LEN)
    }

    /// A number that other data will hardly have (FNV-1a over the bits), for checkpoints.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.values
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, value| {
                (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3)
            })
    }
}

/// One to train on and one to hold out.
const MIN_RUNS: usize = 2;

fn shuffle_runs(values: &mut [f32], rng: &mut ChaCha8Rng) {
    let mut order: Vec<usize> = (0..values.len() / RUN_LEN).collect();
    order.shuffle(rng);
    // Along the permutation's cycles, so that the weights are not held twice.
    let mut done = vec![false; order.len()];
    let mut first = vec![0.0; RUN_LEN];
    for start in 0..order.len() {
        if done[start] {
            continue;
        }
        first.copy_from_slice(&values[start * RUN_LEN..][..RUN_LEN]);
        let mut to = start;
        loop {
            done[to] = true;
            let from = order[to];
            if from == start {
                values[to * RUN_LEN..][..RUN_LEN].copy_from_slice(&first);
                break;
            }
            values.copy_within(from * RUN_LEN..(from + 1) * RUN_LEN, to * RUN_LEN);
            to = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rows: usize, cols: usize, first: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, cols), |(row, col)| (first + col * rows + row) as f32)
    }

    #[test]
    fn runs_go_down_columns_and_keep_every_weight_once() {
        let data =
            TrainingData::from_matrices([counted(576, 32, 0), counted(1024, 3, 100_000)]).unwrap();
        assert_eq!(data.n_runs(), 18 + 3);
        let mut starts = Vec::new();
        for run in data.values.chunks_exact(RUN_LEN) {
            assert!(run.windows(2).all(|pair| pair[1] == pair[0] + 1.0));
            starts.push(run[0] as usize);
        }
        assert!(
            starts.windows(2).any(|pair| pair[1] < pair[0]),
            "not shuffled"
        );
        starts.sort_unstable();
        let expected: Vec<usize> = (0..18)
            .map(|run| run * 1024)
            .chain((0..3).map(|run| 100_000 + run * 1024))
            .collect();
        assert_eq!(starts, expected);
    }

    #[test]
    fn a_bound_keeps_a_sample_that_the_seed_decides() {
        let sample = |seed| {
            let options = SamplingOptions { max_runs: 5, seed };
            TrainingData::from_matrices_with([counted(1024, 40, 0)], options).unwrap()
        };
        assert_eq!(sample(1).n_runs(), 5);
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
        assert_ne!(sample(1).fingerprint(), sample(2).fingerprint());
    }

    #[test]
    fn standardized_has_mean_zero_and_variance_one() {
        let data = TrainingData::from_matrices([counted(1024, 4, 7)])
            .unwrap()
            .standardized()
            .unwrap();
        assert!(data.mean().abs() < 1e-6 && (data.variance() - 1.0).abs() < 1e-6);
    }

    #[track_caller]
    fn check_refused(matrix: Array2<f32>, expected: &str) {
        let error = TrainingData::from_matrices([matrix]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn bad_data_is_refused() {
        check_refused(
            counted(1023, 2, 0),
            "training data holds 1 runs of 1024 weights, needed: at least 2",
        );
        check_refused(
            Array2::from_elem((1024, 2), 0.5),
            "training data holds 2048 weights that are all 0.5, allowed: finite weights that differ",
        );
        let mut matrix = counted(1024, 2, 0);
        matrix[[3, 1]] = f32::INFINITY;
        check_refused(
            matrix,
            "training data matrix 0 holds inf in row 3, column 1, allowed: finite weights that differ",
        );
    }
}
