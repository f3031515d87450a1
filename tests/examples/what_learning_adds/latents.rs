//! The trellis on the latents of the pretrained learned codecs.
//!
//! A codec is made over so that its latents are twice as large: the union of both classes of the trellis is then
//! the integers, and its synthesis takes them as they are.

use std::path::Path;

use nwc_chunk::ndarray::Array2;
use nwc_chunk::{ChunkLayout, Parallelism, QualityLevel};
use nwc_codec::trellis::{Branches, TrellisCode, Viterbi};
use nwc_codec::{Codec, NeuralCodec};
use nwc_entropy::{CdfTable, TableSet};
use serde_json::{Value, json};

use crate::Result;
use crate::curve::Curve;
use crate::data::{FITTED_BLOCKS, MEASURED_BLOCKS};
use crate::scheme::{LAGRANGIAN, MODEL_WEIGHTS, Point};

/// Points beyond this magnitude are cut.
const MAX_POINT: i32 = 1500;
const N_POINTS: usize = 2 * MAX_POINT as usize + 1;
/// Counts that all points alike are worth in a table.
const PRIOR: f64 = 1e-3;
const N_ROUNDS: usize = 3;

/// In what order the code runs through the latents of a column, and where it starts anew.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// Every latent by itself: no code.
    None,
    /// Through the latents of one chunk.
    Chunk,
    /// Through the latents of one chunk after the other.
    Column,
    /// Through one channel of all chunks of a column.
    Channel,
}

/// Row-normalised chunks of some matrices, with the number of chunks in a column of each.
struct Chunks(Vec<(Array2<f32>, usize)>);

/// Bits saved by the trellis at level 0 of every pretrained codec.
pub(crate) fn measure(model: &Path) -> Result<Value> {
    let (fitted, measured) = read(model)?;
    let mut scalar = Vec::new();
    for lambda in nwc::PRETRAINED_LAMBDAS {
        let codec = doubled(&pretrained(lambda)?)?;
        scalar.push(coded(&codec, &fitted, &measured, Order::None, 0.0)?);
    }
    let curve = Curve::through(scalar.iter().rev().copied().collect());
    let mut rows = Vec::new();
    for (lambda, scalar) in nwc::PRETRAINED_LAMBDAS.into_iter().zip(scalar) {
        println!(
            " lambda {lambda}: scalar {:.4} bits, nMSE {:.6}",
            scalar.bits, scalar.error
        );
        if lambda > 1000.0 {
            continue;
        }
        let codec = doubled(&pretrained(lambda)?)?;
        for (name, order, lagrangian) in [
            ("scalar, rate-distortion optimised", Order::None, LAGRANGIAN),
            ("8 states through a chunk", Order::Chunk, LAGRANGIAN),
            ("8 states down a channel", Order::Channel, LAGRANGIAN),
            (
                "8 states through a column, Lagrangian 0",
                Order::Column,
                0.0,
            ),
            ("8 states through a column", Order::Column, LAGRANGIAN),
        ] {
            let point = coded(&codec, &fitted, &measured, order, lagrangian)?;
            let saved = curve.saved(point);
            println!(
                "  {name:40} {:.4} bits, {:.6}: saves {saved:+.4}",
                point.bits, point.error
            );
            rows.push(json!({
                "lambda": lambda, "what": name, "bits": point.bits, "nmse": point.error, "saved": saved,
                "scalar_bits": scalar.bits, "scalar_nmse": scalar.error,
            }));
        }
    }
    Ok(Value::Array(rows))
}

fn read(model: &Path) -> Result<(Chunks, Chunks)> {
    let (mut fitted, mut measured) = (Chunks(Vec::new()), Chunks(Vec::new()));
    nwc::for_each_linear(model, true, |name, weights| {
        let block = name.split('.').find_map(|part| part.parse::<usize>().ok());
        let set = match block {
            Some(b) if FITTED_BLOCKS.contains(&b) => &mut fitted,
            Some(b) if MEASURED_BLOCKS.contains(&b) => &mut measured,
            _ => return Ok(()),
        };
        let (rows, cols) = weights.dim();
        let gathered = ChunkLayout::new(rows, cols, 16)
            .and_then(|layout| Ok((layout.gather(weights.view())?, layout.n_chunks_per_col())));
        // All matrices of the model are whole chunks; what is not is left out.
        set.0.extend(gathered);
        Ok(())
    })?;
    Ok((fitted, measured))
}

fn pretrained(lambda: f32) -> Result<NeuralCodec> {
    match Codec::from_bytes(nwc::pretrained(lambda)?)? {
        Codec::Neural(codec) => Ok(*codec),
        _ => Err("a pretrained codec is not a neural one".into()),
    }
}

/// The same codec with latents of twice the size; its tables are not used.
fn doubled(codec: &NeuralCodec) -> Result<NeuralCodec> {
    let mut parameters = codec.parameters().clone();
    for (name, values) in &mut parameters {
        match name.as_str() {
            "encoder.output.weight" | "encoder.output.bias" | "median" => *values *= 2.0,
            "decoder.input.weight" => *values *= 0.5,
            _ => {}
        }
    }
    let tables = codec.tables().clone();
    Ok(NeuralCodec::new(
        codec.config().clone(),
        parameters,
        tables,
        String::new(),
    )?)
}

/// Rate and normalised error on `measured`, with tables counted on `fitted`.
fn coded(
    codec: &NeuralCodec,
    fitted: &Chunks,
    measured: &Chunks,
    order: Order,
    lagrangian: f32,
) -> Result<Point> {
    let n_states = if order == Order::None { 1 } else { 8 };
    let mut coder = Coder {
        codec,
        code: TrellisCode::new(n_states)?,
        order,
        lagrangian: 0.0,
        prices: vec![0.0; 16 * N_POINTS],
    };
    for _ in 0..N_ROUNDS {
        let mut counts = vec![0.0_f64; 16 * N_POINTS];
        for (chunks, per_col) in &fitted.0 {
            let points = coder.quantise(chunks, *per_col)?;
            for row in points.rows() {
                for (channel, &point) in row.iter().enumerate() {
                    counts[at(channel, point)] += 1.0;
                }
            }
        }
        coder.lagrangian = lagrangian;
        coder.set_prices(&counts);
    }
    let (mut bits, mut squares, mut n) = (0.0, 0.0, 0);
    for (chunks, per_col) in &measured.0 {
        let points = coder.quantise(chunks, *per_col)?;
        for row in points.rows() {
            let prices = row.iter().enumerate().map(|(c, &p)| coder.prices[at(c, p)]);
            bits += prices.map(f64::from).sum::<f64>();
        }
        let levels = vec![QualityLevel(0); chunks.nrows()];
        let decoded = codec.synthesize(points.view(), &levels, Parallelism::Rayon)?;
        let pairs = chunks.iter().zip(&decoded);
        squares += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        n += chunks.len();
    }
    Ok(Point {
        bits: bits / n as f64 + 8.0 * coder.table_bytes()? as f64 / MODEL_WEIGHTS,
        error: squares / n as f64,
    })
}

fn at(channel: usize, point: i32) -> usize {
    channel * N_POINTS + (point + MAX_POINT) as usize
}

struct Coder<'a> {
    codec: &'a NeuralCodec,
    code: TrellisCode,
    order: Order,
    lagrangian: f32,
    /// `[channel][point + MAX_POINT]`, bits; even and odd points are apart, each sums to one.
    prices: Vec<f32>,
}

impl Coder<'_> {
    fn set_prices(&mut self, counts: &[f64]) {
        let channels = self
            .prices
            .chunks_exact_mut(N_POINTS)
            .zip(counts.chunks_exact(N_POINTS));
        for (prices, counts) in channels {
            for parity in 0..2 {
                let of_parity = counts.iter().skip(parity).step_by(2);
                let total: f64 = of_parity.clone().map(|n| n + PRIOR).sum();
                for (price, n) in prices.iter_mut().skip(parity).step_by(2).zip(of_parity) {
                    *price = -((n + PRIOR) / total).log2() as f32;
                }
            }
        }
    }

    /// Size of the tables in a codec file.
    fn table_bytes(&self) -> Result<usize> {
        let mut tables = Vec::new();
        for prices in self.prices.chunks_exact(N_POINTS) {
            for parity in 0..if self.code.n_states() == 1 { 1 } else { 2 } {
                let likely: Vec<f64> = prices
                    .iter()
                    .skip(parity)
                    .step_by(2)
                    .map(|&bits| f64::from(-bits).exp2())
                    .filter(|&p| p > 3e-5)
                    .collect();
                tables.push(CdfTable::from_pmf(&likely, 0, 14)?);
            }
        }
        Ok(TableSet::new(tables)?.to_bytes().len())
    }

    /// The points of all latents, `[n_chunks, 16]`.
    fn quantise(&self, chunks: &Array2<f32>, per_col: usize) -> Result<Array2<i32>> {
        let levels = vec![QualityLevel(0); chunks.nrows()];
        let latents = self.codec.analyze(chunks.view(), &levels)?;
        let median = &self.codec.parameters()["median"];
        let branches: Vec<Branches> = latents
            .indexed_iter()
            .map(|((_, channel), &latent)| self.branches(latent - median[[0, channel]], channel))
            .collect();
        let mut points = Array2::zeros(latents.dim());
        let mut viterbi = Viterbi::new(self.code.clone());
        let n = branches.len();
        let sequence_len = match self.order {
            Order::None | Order::Chunk => 16,
            Order::Column | Order::Channel => 16 * per_col,
        };
        for first in (0..n).step_by(sequence_len) {
            match self.order {
                Order::Channel => {
                    for channel in 0..16 {
                        let places: Vec<usize> = (first + channel..first + sequence_len)
                            .step_by(16)
                            .collect();
                        self.search(&mut viterbi, &branches, &places, &mut points);
                    }
                }
                _ => {
                    let places: Vec<usize> = (first..first + sequence_len).collect();
                    self.search(&mut viterbi, &branches, &places, &mut points);
                }
            }
        }
        Ok(points)
    }

    fn search(
        &self,
        viterbi: &mut Viterbi,
        branches: &[Branches],
        places: &[usize],
        points: &mut Array2<i32>,
    ) {
        let branches: Vec<Branches> = places.iter().map(|&place| branches[place]).collect();
        let mut symbols = vec![0; places.len()];
        viterbi.search(&branches, &mut symbols);
        let mut state = 0;
        for (&place, symbol) in places.iter().zip(symbols) {
            points[[place / 16, place % 16]] = 2 * symbol + i32::from(self.code.parity(state));
            state = self.code.next(state, symbol);
        }
    }

    fn branches(&self, latent: f32, channel: usize) -> Branches {
        let limit = MAX_POINT as f32 - 8.0;
        let latent = latent.clamp(-limit, limit);
        let mut branches = Branches::default();
        let n_parities = if self.code.n_states() == 1 { 1 } else { 2 };
        for parity in 0..n_parities {
            let first = ((latent - parity as f32) / 2.0).floor() as i32 - 1;
            for bit in 0..2 {
                let symbols = [first + bit, first + bit + 2];
                let costs = symbols.map(|symbol| {
                    let point = 2 * symbol + parity;
                    let error = latent - point as f32;
                    error * error + self.lagrangian * self.prices[at(channel, point)]
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
