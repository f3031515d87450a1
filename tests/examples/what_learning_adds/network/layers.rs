//! The parts of the small network with their gradients, and Adam.

use ndarray::{Array1, Array2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Components of the density of one channel.
const N_COMPONENTS: usize = 3;
/// Learning rate at the start; it falls to zero along half a cosine wave.
const LEARNING_RATE: f32 = 2e-3;

/// Factors of one step of Adam.
pub(super) struct Adam {
    rate: f32,
    correction: [f32; 2],
}

impl Adam {
    const DECAY: [f32; 2] = [0.9, 0.99];

    /// Step `step` of `n_steps`, from 0.
    pub(super) fn at(step: usize, n_steps: usize) -> Self {
        let done = step as f32 / n_steps as f32;
        Self {
            rate: LEARNING_RATE * 0.5 * (1.0 + (std::f32::consts::PI * done).cos()),
            correction: Self::DECAY.map(|decay| 1.0 - decay.powi(step as i32 + 1)),
        }
    }
}

/// A parameter with its gradient and moments.
#[derive(Clone)]
struct Parameter {
    value: Array2<f32>,
    gradient: Array2<f32>,
    moments: [Array2<f32>; 2],
}

impl Parameter {
    fn new(value: Array2<f32>) -> Self {
        let zeros = Array2::zeros(value.dim());
        Self {
            gradient: zeros.clone(),
            moments: [zeros.clone(), zeros],
            value,
        }
    }

    fn update(&mut self, adam: &Adam) {
        let [first, second] = &mut self.moments;
        let moments = first.iter_mut().zip(second.iter_mut());
        let values = self.value.iter_mut().zip(&self.gradient);
        for ((value, &gradient), (first, second)) in values.zip(moments) {
            *first = Adam::DECAY[0] * *first + (1.0 - Adam::DECAY[0]) * gradient;
            *second = Adam::DECAY[1] * *second + (1.0 - Adam::DECAY[1]) * gradient * gradient;
            let deviation = (*second / adam.correction[1]).sqrt() + 1e-8;
            *value -= adam.rate * (*first / adam.correction[0]) / deviation;
        }
    }
}

/// `out = gain·x + σ·(W₂ tanh(W₁ [x/σ, log₂σ] + b₁) + b₂)`, the identity at the start.
#[derive(Clone)]
pub(super) struct Hidden {
    /// `[2n, width]`, `[1, width]`, `[width, n]`, `[1, n]`, `[1, n]`.
    first: Parameter,
    first_bias: Parameter,
    second: Parameter,
    second_bias: Parameter,
    gain: Parameter,
    // What the last forward pass saw.
    x: Array2<f32>,
    sigma: Array2<f32>,
    input: Array2<f32>,
    hidden: Array2<f32>,
}

impl Hidden {
    pub(super) fn new(n: usize, width: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bound = 1.0 / (2.0 * n as f32).sqrt();
        let first =
            Array2::from_shape_simple_fn((2 * n, width), || rng.random_range(-bound..bound));
        let empty = Array2::zeros((0, 0));
        Self {
            first: Parameter::new(first),
            first_bias: Parameter::new(Array2::zeros((1, width))),
            second: Parameter::new(Array2::zeros((width, n))),
            second_bias: Parameter::new(Array2::zeros((1, n))),
            gain: Parameter::new(Array2::ones((1, n))),
            x: empty.clone(),
            sigma: empty.clone(),
            input: empty.clone(),
            hidden: empty,
        }
    }

    /// `x` and `sigma` are `[batch][n]`, as is the result.
    pub(super) fn forward(&mut self, x: &[f32], sigma: &[f32]) -> Vec<f32> {
        let n = self.gain.value.ncols();
        let shaped =
            |values: &[f32]| Array2::from_shape_fn((x.len() / n, n), |(i, j)| values[i * n + j]);
        self.x = shaped(x);
        self.sigma = shaped(sigma);
        let mut input = Array2::zeros((self.x.nrows(), 2 * n));
        for ((i, j), &sigma) in self.sigma.indexed_iter() {
            input[[i, j]] = self.x[[i, j]] / sigma;
            input[[i, n + j]] = 0.25 * sigma.log2();
        }
        self.input = input;
        self.hidden = (self.input.dot(&self.first.value) + &self.first_bias.value).mapv(f32::tanh);
        let residual = self.hidden.dot(&self.second.value) + &self.second_bias.value;
        let out = &self.x * &self.gain.value + &self.sigma * &residual;
        out.iter().copied().collect()
    }

    /// Sets the gradients of the last forward pass and returns that of its `x`.
    pub(super) fn backward(&mut self, by_out: &[f32]) -> Vec<f32> {
        let (batch, n) = self.x.dim();
        let by_out = Array2::from_shape_fn((batch, n), |(i, j)| by_out[i * n + j]);
        let sum = |a: &Array2<f32>| -> Array2<f32> {
            let sums: Array1<f32> = a.sum_axis(Axis(0));
            sums.insert_axis(Axis(0))
        };
        self.gain.gradient = sum(&(&by_out * &self.x));
        let by_residual = &by_out * &self.sigma;
        self.second.gradient = self.hidden.t().dot(&by_residual);
        self.second_bias.gradient = sum(&by_residual);
        let by_hidden =
            by_residual.dot(&self.second.value.t()) * &self.hidden.mapv(|h| 1.0 - h * h);
        self.first.gradient = self.input.t().dot(&by_hidden);
        self.first_bias.gradient = sum(&by_hidden);
        let by_input = by_hidden.dot(&self.first.value.t());
        let by_x = Array2::from_shape_fn((batch, n), |(i, j)| {
            by_out[[i, j]] * self.gain.value[[0, j]] + by_input[[i, j]] / self.sigma[[i, j]]
        });
        by_x.iter().copied().collect()
    }

    pub(super) fn update(&mut self, adam: &Adam) {
        for parameter in [
            &mut self.first,
            &mut self.first_bias,
            &mut self.second,
            &mut self.second_bias,
            &mut self.gain,
        ] {
            parameter.update(adam);
        }
    }
}

/// A mixture of logistic densities a channel, in units of the predicted deviation.
pub(super) struct Density {
    /// `[n, N_COMPONENTS]`: logarithms of scales and of weights (up to a constant).
    scales: Parameter,
    weights: Parameter,
}

impl Density {
    pub(super) fn new(n: usize) -> Self {
        // A logistic density of scale 0.55 has a deviation of one.
        let start = |(_, k): (usize, usize)| 0.55_f32.ln() + 0.5 * (k as f32 - 1.0);
        Self {
            scales: Parameter::new(Array2::from_shape_fn((n, N_COMPONENTS), start)),
            weights: Parameter::new(Array2::zeros((n, N_COMPONENTS))),
        }
    }

    /// Bits of `y` `[batch][n]` in cells of width `cell`; sets the gradients of `factor` times them and adds that by
    /// `y` to `by_y`.
    pub(super) fn backward(
        &mut self,
        y: &[f32],
        sigma: &[f32],
        cell: f32,
        factor: f32,
        by_y: &mut [f32],
    ) -> f64 {
        let n = self.scales.value.nrows();
        self.scales.gradient.fill(0.0);
        self.weights.gradient.fill(0.0);
        let mut bits = 0.0;
        for (idx, (&y, &sigma)) in y.iter().zip(sigma).enumerate() {
            let channel = idx % n;
            let total: f32 = self
                .weights
                .value
                .row(channel)
                .iter()
                .map(|w| w.exp())
                .sum();
            let mut mass = 1e-9;
            let mut parts = [[0.0_f32; 4]; N_COMPONENTS];
            for (k, part) in parts.iter_mut().enumerate() {
                let weight = self.weights.value[[channel, k]].exp() / total;
                let scale = sigma * self.scales.value[[channel, k]].exp();
                let ends = [(y + 0.5 * cell) / scale, (y - 0.5 * cell) / scale];
                let [upper, lower] = ends.map(logistic);
                let slopes = [upper * (1.0 - upper), lower * (1.0 - lower)];
                // The difference from the side on which it keeps its digits.
                let inside = if y > 0.0 {
                    logistic(-ends[1]) - logistic(-ends[0])
                } else {
                    upper - lower
                };
                let by_scale = slopes[1] * ends[1] - slopes[0] * ends[0];
                *part = [weight, inside, (slopes[0] - slopes[1]) / scale, by_scale];
                mass += weight * inside;
            }
            bits -= f64::from(mass.log2());
            let by_mass = -factor / (mass * std::f32::consts::LN_2);
            for (k, [weight, inside, by_value, by_scale]) in parts.into_iter().enumerate() {
                by_y[idx] += by_mass * weight * by_value;
                self.scales.gradient[[channel, k]] += by_mass * weight * by_scale;
                self.weights.gradient[[channel, k]] += by_mass * weight * (inside - mass);
            }
        }
        bits
    }

    pub(super) fn update(&mut self, adam: &Adam) {
        self.scales.update(adam);
        self.weights.update(adam);
    }
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
