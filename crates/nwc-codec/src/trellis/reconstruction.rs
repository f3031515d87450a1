//! Reconstruction points: how far towards zero of its integer a symbol is put back.

use super::points::PointClass;
use super::{Error, Result};

/// Magnitudes with an offset of their own; the last one's serves all larger.
pub(super) const N_RANKS: usize = 4;
/// Offsets are stored in this fraction of a step.
const UNITS_PER_STEP: f64 = 128.0;

/// Learned reconstruction offsets: one for each bucket, parity class and small magnitude.
///
/// A density that falls away from zero has its mass in a cell nearer to zero than the cell's point;
/// the offset moves the reconstruction to the cell's centroid. Zero is always put back as zero.
/// On N(0, 1) with 8 states and the Lagrangian 0.2 that is worth 0.07 bit a weight at 1 bit, 0.006 at
/// 2, and nothing from 3 bits on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconstruction {
    /// `[bucket][parity][rank]`, towards zero, in 1/128 step.
    offsets: Vec<i8>,
}

impl Reconstruction {
    /// No offsets: every symbol is put back at its integer.
    pub fn integers(n_buckets: usize) -> Self {
        Self {
            offsets: vec![0; n_buckets * 2 * N_RANKS],
        }
    }

    /// Offsets `[bucket][parity][rank]` in 1/128 step towards zero, as a codec file stores them.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where there are not eight a bucket.
    pub(super) fn from_offsets(offsets: Vec<i8>, n_buckets: usize) -> Result<Self> {
        let expected = n_buckets * 2 * N_RANKS;
        if offsets.len() != expected {
            return Err(Error::ShapeMismatch {
                what: "number of reconstruction offsets",
                found: offsets.len(),
                expected,
            });
        }
        Ok(Self { offsets })
    }

    /// The offsets, `[bucket][parity][rank]`, in 1/128 step towards zero.
    pub fn offsets(&self) -> &[i8] {
        &self.offsets
    }

    /// Number of buckets.
    pub(super) fn n_buckets(&self) -> usize {
        self.offsets.len() / (2 * N_RANKS)
    }

    /// Reconstruction of `symbol` under table `table`, in steps.
    pub(super) fn value(&self, table: usize, class: PointClass, symbol: i32) -> f32 {
        let point = class.point(symbol);
        if point == 0.0 {
            return 0.0;
        }
        let rank = class.magnitude_rank(symbol).min(N_RANKS - 1);
        let offset = f32::from(self.offsets[table * N_RANKS + rank]) / UNITS_PER_STEP as f32;
        point - point.signum() * offset
    }
}

/// Sums from which offsets are learned.
#[derive(Debug, Clone)]
pub(super) struct OffsetSums {
    /// `[table][rank]`: sum of (|point| − value towards the same side), and count.
    sums: Vec<(f64, u64)>,
}

impl OffsetSums {
    pub(super) fn new(n_tables: usize) -> Self {
        Self {
            sums: vec![(0.0, 0); n_tables * N_RANKS],
        }
    }

    /// Counts that `value` (in steps) was coded as `symbol`.
    pub(super) fn add(&mut self, table: usize, class: PointClass, symbol: i32, value: f32) {
        let point = class.point(symbol);
        let rank = class.magnitude_rank(symbol).min(N_RANKS - 1);
        let (sum, count) = &mut self.sums[table * N_RANKS + rank];
        *sum += f64::from(point.signum() * (point - value));
        *count += 1;
    }

    /// The mean offsets; where little was seen they are drawn to zero.
    pub(super) fn offsets(&self) -> Reconstruction {
        /// Values that count as much as the assumption that there is no offset: a mean over fewer
        /// than this (the error has a deviation of about 0.5 step) is mostly noise.
        const PRIOR: f64 = 256.0;
        let offset = |&(sum, count): &(f64, u64)| {
            let mean = sum / (count as f64 + PRIOR);
            // `as` saturates at the ends of i8, one step.
            (mean * UNITS_PER_STEP).round() as i8
        };
        Reconstruction {
            offsets: self.sums.iter().map(offset).collect(),
        }
    }
}
