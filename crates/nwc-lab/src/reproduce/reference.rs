//! Scalar quantisers over the same weights: what our codec is compared with.

use std::path::Path;

use anyhow::Result;
use nwc_chunk::ndarray::{Array2, Axis, Slice};
use nwc_chunk::row_scales;
use rayon::prelude::*;
use serde::Serialize;

use crate::quantisers::ecsq::{EcsqSums, Point, Row, ratio};
use crate::quantisers::{for_each_linear, grid};

/// Above this many weights only every n-th row is measured.
const MAX_WEIGHTS: u64 = 256 << 20;
/// ECSQ's steps, in standard deviations of a row, fall from this one...
const LARGEST_STEP: f32 = 2.0;
/// ...by a quarter octave each, which is a quarter of a bit; from 1.2 to about 7.8 bits.
const N_STEPS: i32 = 28;
/// Bits of a code for round to nearest.
const CODE_BITS: std::ops::RangeInclusive<u32> = 2..=8;

/// Reference curves of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Reference {
    /// Linear weights of the model.
    pub(crate) n_linear: u64,
    /// Every so many rows were measured.
    pub(crate) row_stride: usize,
    /// What an f16 scale for each row costs, in bits a weight; part of our payload, not of ECSQ's entropy.
    pub(crate) row_scale_bits: f64,
    /// Entropy of all symbols of the model under one table, finest last.
    pub(crate) ecsq: Vec<Point>,
    /// Round to nearest on grids of groups of columns, codes, scales and zero points as stored.
    pub(crate) round_to_nearest: Vec<Point>,
}

impl Reference {
    /// ECSQ's entropy at `nmse`, bits a weight; `None` outside the measured steps.
    pub(crate) fn ecsq_bits(&self, nmse: f64) -> Option<f64> {
        bits_at(&self.ecsq, nmse)
    }
}

/// Measures both over the linear weights of the checkpoint `model`, which has at most `n_weights` of them.
///
/// # Errors
/// Where the checkpoint cannot be read.
pub(super) fn measure(model: &Path, n_weights: u64) -> Result<Reference> {
    let stride = n_weights.div_ceil(MAX_WEIGHTS).max(1) as usize;
    let mut ecsq: Vec<EcsqSums> = (0..N_STEPS)
        .map(|i| EcsqSums::new(LARGEST_STEP * (-0.25 * i as f32).exp2()))
        .collect();
    let mut rounded: Vec<Rounded> = CODE_BITS.map(Rounded::new).collect();
    let (mut n_linear, mut n_rows) = (0, 0);
    for_each_linear(model, |_, weights| {
        let size = weights.len();
        n_linear += size as u64;
        n_rows += weights.nrows() as u64;
        let mut sample = weights;
        sample.slice_axis_inplace(Axis(0), Slice::new(0, None, stride as isize));
        rounded
            .par_iter_mut()
            .try_for_each(|quantizer| quantizer.add(&sample, size))?;
        let scales = row_scales(sample.view());
        for (mut row, scale) in sample.rows_mut().into_iter().zip(scales) {
            row /= scale.to_f32();
        }
        ecsq.par_iter_mut()
            .for_each(|quantizer| each_row(&sample, size, |_, row| quantizer.add(row)));
        Ok(())
    })?;
    Ok(Reference {
        n_linear,
        row_stride: stride,
        row_scale_bits: 16.0 * n_rows as f64 / (n_linear as f64).max(1.0),
        ecsq: ecsq.iter().map(EcsqSums::point).collect(),
        round_to_nearest: rounded.iter().map(Rounded::point).collect(),
    })
}

/// Round to nearest with so many bits, summed over all matrices.
#[derive(Debug)]
struct Rounded {
    code_bits: u32,
    stored_bits: f64,
    n_weights: f64,
    weighted_errors: f64,
    weighted_energy: f64,
}

impl Rounded {
    fn new(code_bits: u32) -> Self {
        Self {
            code_bits,
            stored_bits: 0.0,
            n_weights: 0.0,
            weighted_errors: 0.0,
            weighted_energy: 0.0,
        }
    }

    fn add(&mut self, sample: &Array2<f32>, size: usize) -> Result<()> {
        let coded = grid::round_to_nearest(sample.view(), self.code_bits)?;
        self.stored_bits += coded.bits;
        self.n_weights += sample.len() as f64;
        each_row(sample, size, |idx, row| {
            let pairs = row.values.iter().zip(coded.reconstruction.row(idx));
            let errors = pairs.map(|(&w, &d)| f64::from(w - d).powi(2));
            self.weighted_errors += row.weight * errors.sum::<f64>();
            let energy = row.values.iter().map(|&w| f64::from(w).powi(2));
            self.weighted_energy += row.weight * energy.sum::<f64>();
        });
        Ok(())
    }

    fn point(&self) -> Point {
        Point {
            setting: f64::from(self.code_bits),
            bits: ratio(self.stored_bits, self.n_weights),
            nmse: ratio(self.weighted_errors, self.weighted_energy),
        }
    }
}

/// Calls `each` with index and values of every row of `sample`, weighted so that the weighted squared errors of a matrix of `size`
/// weights come to `size` times the mean over its rows of ‖w−ŵ‖²/‖w‖². Rows of zeros count nowhere.
fn each_row(sample: &Array2<f32>, size: usize, mut each: impl FnMut(usize, Row<'_>)) {
    let rows = || sample.rows().into_iter();
    let n_counted = rows().filter(|row| row.iter().any(|&w| w != 0.0)).count();
    for (idx, row) in rows().enumerate() {
        let owned;
        let values = match row.as_slice() {
            Some(values) => values,
            None => {
                owned = row.to_vec();
                &owned
            }
        };
        let energy: f64 = values.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        let weight = if energy > 0.0 {
            size as f64 / n_counted as f64 / energy
        } else {
            0.0
        };
        each(idx, Row { values, weight });
    }
}

/// Bits of `curve` at `nmse`, on straight lines of bits over log nMSE between its points.
pub(super) fn bits_at(curve: &[Point], nmse: f64) -> Option<f64> {
    curve.windows(2).find_map(|pair| {
        let (coarse, fine) = (pair[0], pair[1]);
        let is_between = coarse.nmse >= nmse && nmse >= fine.nmse && coarse.nmse > fine.nmse;
        let share = (coarse.nmse / nmse).ln() / (coarse.nmse / fine.nmse).ln();
        (is_between && nmse > 0.0).then_some(coarse.bits + share * (fine.bits - coarse.bits))
    })
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::array;

    use super::*;
    use crate::sample;

    #[test]
    fn rounding_costs_what_is_stored_and_falls_by_6_decibels_a_bit() {
        let weights = sample::gaussian(32, 512, 3);
        let points = [4, 5].map(|bits| {
            let mut rounded = Rounded::new(bits);
            rounded.add(&weights, weights.len()).unwrap();
            rounded.point()
        });
        // A scale and a zero point for every 128 weights.
        assert!((points[0].bits - (4.0 + 20.0 / 128.0)).abs() < 1e-9);
        let fall = points[0].nmse / points[1].nmse;
        assert!((3.5..5.0).contains(&fall), "{points:?}");
    }

    fn on_bound(bits: f64) -> Point {
        Point {
            setting: 0.0,
            bits,
            nmse: (-2.0 * bits).exp2(),
        }
    }

    #[test]
    fn bits_are_found_between_points() {
        let curve = [on_bound(2.0), on_bound(3.0), on_bound(4.5)];
        let check = |bits: f64, found: bool| match bits_at(&curve, on_bound(bits).nmse) {
            Some(between) => assert!(found && (between - bits).abs() < 1e-9, "{between} {bits}"),
            None => assert!(!found, "{bits}"),
        };
        for bits in [2.0, 2.7, 3.0, 4.0, 4.5] {
            check(bits, true);
        }
        check(1.9, false);
        check(4.6, false);
        assert_eq!(bits_at(&curve, 0.0), None);
        assert_eq!(bits_at(&[], 0.1), None);
    }

    #[test]
    fn rows_weigh_as_in_a_mean_over_rows() {
        let mut sum = 0.0;
        each_row(&array![[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], 6, |_, row| {
            let error: f64 = row.values.iter().map(|&w| f64::from(w).powi(2)).sum();
            sum += row.weight * error;
        });
        assert!((sum - 6.0).abs() < 1e-12, "{sum}");
    }
}
