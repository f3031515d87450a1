//! A learned transform over 16 rows of a column, trained with dither on scaled weights; then quantised for real.
//!
//! ```text
//! y = g·x + σ·A(x/σ, log σ)     x̂ = h·ŷ + σ·S(ŷ/σ, log σ)     A, S: one hidden layer of tanh
//! ```
//! x is in steps, σ is each weight's predicted deviation. It starts at the identity, where it is the trellis'
//! own quantiser without the trellis, and minimises squared error + λ·bits with ŷ = y + u, u uniform on one cell.
//! After training the latents are rounded, or run through the trellis of 8 states, with counted tables, in place of
//! the weights; what that saves against the identity, coded the same way, is what the transform is worth.

mod layers;

use nwc_codec::trellis::{Branches, TrellisCode, Viterbi};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use self::layers::{Adam, Density, Hidden};
use crate::Result;
use crate::curve::Curve;
use crate::data::{Matrix, Targets};
use crate::scheme::Point;

/// Weights in a vector.
const N: usize = 16;
const WIDTH: usize = 64;
const BATCH: usize = 256;
const N_STEPS: usize = 3000;
/// Steps are drawn within this many octaves of the targets' own: one network for neighbouring rates.
const OCTAVES: f32 = 0.5;
/// Cells of a scalar quantiser at the trellis' rate are two steps wide.
const CELL: f32 = 2.0;
/// Slope of squared error against bits of a fine scalar quantiser with that cell: 2 ln 2 · cell²/12.
const LAMBDA: f32 = 2.0 * std::f32::consts::LN_2 * CELL * CELL / 12.0;
/// Vectors that tables are counted on, and that rate and error are measured on.
const N_MEASURED: usize = 120_000;

/// Vectors of 16 values with their deviations, `[n][16]`.
struct Vectors {
    values: Vec<f32>,
    sigmas: Vec<f32>,
}

/// The two transforms and the density that prices latents in training.
struct Codec {
    analysis: Hidden,
    synthesis: Hidden,
    density: Density,
}

/// What the transform saves, without and with the trellis.
pub(crate) fn measure(targets: &Targets) -> Result<Value> {
    let fitted = Vectors::of(&targets.fitted, 1);
    let mut codec = Codec::new();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut losses = Vec::new();
    for step in 0..N_STEPS {
        let loss = codec.step(&fitted, step, &mut rng);
        if step % 250 == 0 || step + 1 == N_STEPS {
            losses.push(json!([step, loss]));
        }
    }
    let stride = |vectors: &Vectors| (vectors.len() / N_MEASURED).max(1);
    let fitted = fitted.every(stride(&fitted));
    let measured = Vectors::of(&targets.measured, 1);
    let measured = measured.every(stride(&measured));
    let identity = Codec::new();
    let mut rows = Vec::new();
    for n_states in [1, 8] {
        let points = |codec: &Codec, octaves: &[f32]| -> Result<Vec<Point>> {
            let at = |&octave: &f32| codec.coded(&fitted, &measured, n_states, octave);
            octaves.iter().map(at).collect()
        };
        let curve = Curve::through(points(&identity, &[-0.4, -0.2, 0.0, 0.2, 0.4])?);
        let point = points(&codec, &[0.0])?[0];
        let saved = curve.saved(point);
        let name = format!("network over 16 rows, {n_states} states");
        println!(
            "  {name}: {:.4} bits, error {:.5}, saves {saved:+.4}",
            point.bits, point.error
        );
        rows.push(json!({
            "what": name, "bits": point.bits, "error": point.error, "saved": saved,
            "identity_bits": curve.middle().bits, "identity_error": curve.middle().error,
        }));
    }
    Ok(json!({ "measured": rows, "loss": losses }))
}

impl Vectors {
    /// Every `stride`-th vector of all matrices.
    fn of(matrices: &[Matrix], stride: usize) -> Self {
        let mut all = Self {
            values: Vec::new(),
            sigmas: Vec::new(),
        };
        let mut n = 0;
        for matrix in matrices {
            for col in 0..matrix.cols {
                for first in (0..matrix.rows.saturating_sub(N - 1)).step_by(N) {
                    n += 1;
                    if n % stride != 0 {
                        continue;
                    }
                    all.values.extend(&matrix.column(col)[first..first + N]);
                    all.sigmas
                        .extend((first..first + N).map(|row| matrix.sigma(row, col)));
                }
            }
        }
        all
    }

    fn len(&self) -> usize {
        self.values.len() / N
    }

    fn every(&self, stride: usize) -> Self {
        let pick = |all: &[f32]| {
            all.chunks_exact(N)
                .step_by(stride)
                .flatten()
                .copied()
                .collect()
        };
        Self {
            values: pick(&self.values),
            sigmas: pick(&self.sigmas),
        }
    }
}

impl Codec {
    fn new() -> Self {
        Self {
            analysis: Hidden::new(N, WIDTH, 1),
            synthesis: Hidden::new(N, WIDTH, 2),
            density: Density::new(N),
        }
    }

    /// One step of Adam on a batch; the loss a weight.
    fn step(&mut self, data: &Vectors, step: usize, rng: &mut ChaCha8Rng) -> f64 {
        let mut x = Vec::with_capacity(BATCH * N);
        let mut sigma = Vec::with_capacity(BATCH * N);
        let scale = rng.random_range(-OCTAVES..OCTAVES).exp2();
        for _ in 0..BATCH {
            let at = rng.random_range(0..data.len()) * N;
            x.extend(data.values[at..at + N].iter().map(|v| v * scale));
            sigma.extend(data.sigmas[at..at + N].iter().map(|v| v * scale));
        }
        let mut y = self.analysis.forward(&x, &sigma);
        y.iter_mut()
            .for_each(|y| *y += CELL * (rng.random::<f32>() - 0.5));
        let decoded = self.synthesis.forward(&y, &sigma);
        let n = x.len() as f32;
        let errors: Vec<f32> = decoded.iter().zip(&x).map(|(a, b)| a - b).collect();
        let squares: f32 = errors.iter().map(|e| e * e).sum();
        // Gradients of the mean over weights.
        let by_decoded: Vec<f32> = errors.iter().map(|e| 2.0 * e / n).collect();
        let mut by_y = self.synthesis.backward(&by_decoded);
        let bits = self
            .density
            .backward(&y, &sigma, CELL, LAMBDA / n, &mut by_y);
        self.analysis.backward(&by_y);
        let adam = Adam::at(step, N_STEPS);
        self.analysis.update(&adam);
        self.synthesis.update(&adam);
        self.density.update(&adam);
        f64::from(squares / n) + f64::from(LAMBDA) * bits / f64::from(n)
    }

    /// Rate and error with real quantisation, at steps `2^octaves` times the targets'; tables by predicted scale and
    /// parity, counted on `fitted`, and synthesis scaled by one factor a scale to where the decoded values are.
    fn coded(
        &self,
        fitted: &Vectors,
        measured: &Vectors,
        n_states: usize,
        octaves: f32,
    ) -> Result<Point> {
        let mut tables = Tables::new(n_states);
        let code = TrellisCode::new(n_states)?;
        for _ in 0..2 {
            let (points, buckets, _) = self.quantised(fitted, &code, &tables, octaves);
            tables.count(&points, &buckets);
        }
        // Shrinkage by scale: what learned reconstruction points do for the identity at low rates.
        let (points, buckets, _) = self.quantised(fitted, &code, &tables, octaves);
        tables.shrink(
            &self.decoded(fitted, &points, octaves),
            &fitted.values,
            &buckets,
            octaves,
        );
        let (points, buckets, bits) = self.quantised(measured, &code, &tables, octaves);
        let decoded = self.decoded(measured, &points, octaves);
        let scale = octaves.exp2();
        let n = measured.values.len() as f64;
        let squares: f64 = decoded
            .iter()
            .zip(&measured.values)
            .zip(&buckets)
            .map(|((&d, &x), &b)| f64::from(scale * d * tables.shrinkage[b] - x).powi(2))
            .sum();
        Ok(Point {
            bits: bits / n,
            error: squares / n,
        })
    }

    fn decoded(&self, data: &Vectors, points: &[i32], octaves: f32) -> Vec<f32> {
        let scale = (-octaves).exp2();
        let sigmas: Vec<f32> = data.sigmas.iter().map(|s| s * scale).collect();
        let latents: Vec<f32> = points.iter().map(|&p| p as f32).collect();
        self.synthesis.clone().forward(&latents, &sigmas)
    }

    /// Points of the latents, the bucket of each, and bits.
    fn quantised(
        &self,
        data: &Vectors,
        code: &TrellisCode,
        tables: &Tables,
        octaves: f32,
    ) -> (Vec<i32>, Vec<usize>, f64) {
        let scale = (-octaves).exp2();
        let values: Vec<f32> = data.values.iter().map(|v| v * scale).collect();
        let sigmas: Vec<f32> = data.sigmas.iter().map(|s| s * scale).collect();
        let latents = self.analysis.clone().forward(&values, &sigmas);
        let buckets: Vec<usize> = sigmas.iter().map(|&s| Tables::bucket(s)).collect();
        let branches: Vec<Branches> = latents
            .iter()
            .zip(&buckets)
            .map(|(&y, &bucket)| tables.branches(y, bucket))
            .collect();
        let mut points = vec![0; latents.len()];
        Viterbi::new(code.clone()).search(&branches, &mut points);
        let (mut state, mut bits) = (0, 0.0);
        for (point, &bucket) in points.iter_mut().zip(&buckets) {
            let symbol = *point;
            *point = 2 * symbol + i32::from(code.parity(state));
            bits += f64::from(tables.price(bucket, *point));
            state = code.next(state, symbol);
        }
        (points, buckets, bits)
    }
}

/// Prices of points by predicted scale; even and odd points sum to one each.
struct Tables {
    n_states: usize,
    prices: Vec<f32>,
    shrinkage: Vec<f32>,
}

const MAX_POINT: i32 = 1024;
const N_POINTS: usize = 2 * MAX_POINT as usize + 2;
const N_BUCKETS: usize = 64;

impl Tables {
    fn new(n_states: usize) -> Self {
        Self {
            n_states,
            prices: vec![0.0; N_BUCKETS * N_POINTS],
            shrinkage: vec![1.0; N_BUCKETS],
        }
    }

    fn bucket(sigma: f32) -> usize {
        ((4.0 * sigma.log2()).round() as i32 + 20).clamp(0, N_BUCKETS as i32 - 1) as usize
    }

    fn price(&self, bucket: usize, point: i32) -> f32 {
        let point = point.clamp(-MAX_POINT, MAX_POINT);
        self.prices[bucket * N_POINTS + (point + MAX_POINT) as usize]
    }

    fn count(&mut self, points: &[i32], buckets: &[usize]) {
        let mut counts = vec![0.02_f64; N_BUCKETS * N_POINTS];
        for (&point, &bucket) in points.iter().zip(buckets) {
            for point in [point, -point] {
                let point = point.clamp(-MAX_POINT, MAX_POINT);
                counts[bucket * N_POINTS + (point + MAX_POINT) as usize] += 1.0;
            }
        }
        let tables = self
            .prices
            .chunks_exact_mut(N_POINTS)
            .zip(counts.chunks_exact(N_POINTS));
        for (prices, counts) in tables {
            for parity in 0..2 {
                let total: f64 = counts.iter().skip(parity).step_by(2).sum();
                let pairs = prices.iter_mut().zip(counts).skip(parity).step_by(2);
                pairs.for_each(|(price, n)| *price = -(n / total).log2() as f32);
            }
        }
    }

    fn shrink(&mut self, decoded: &[f32], values: &[f32], buckets: &[usize], octaves: f32) {
        let mut sums = vec![(1e-6_f64, 1e-6_f64); N_BUCKETS];
        let scale = f64::from(octaves.exp2());
        for ((&d, &x), &bucket) in decoded.iter().zip(values).zip(buckets) {
            let d = f64::from(d) * scale;
            sums[bucket].0 += d * f64::from(x);
            sums[bucket].1 += d * d;
        }
        let factors = sums.iter().map(|(cross, square)| (cross / square) as f32);
        self.shrinkage = factors.collect();
    }

    fn branches(&self, latent: f32, bucket: usize) -> Branches {
        let latent = latent.clamp(-1000.0, 1000.0);
        let mut branches = Branches::default();
        for parity in 0..if self.n_states == 1 { 1 } else { 2 } {
            let first = ((latent - parity as f32) / 2.0).floor() as i32 - 1;
            for bit in 0..2 {
                let symbols = [first + bit, first + bit + 2];
                let costs = symbols.map(|symbol| {
                    let point = 2 * symbol + parity;
                    let error = latent - point as f32;
                    error * error + crate::scheme::LAGRANGIAN * self.price(bucket, point)
                });
                let upper = usize::from(costs[1] < costs[0]);
                let branch = 2 * parity as usize + (symbols[0] & 1) as usize;
                branches.cost[branch] = costs[upper];
                branches.symbol[branch] = symbols[upper];
            }
        }
        branches
    }
}
