//! The curve that everything is held against: what the product needs for an equal error.

use crate::Result;
use crate::data::Matrix;
use crate::scheme::{Point, Scheme, Variant};

/// Steps of the curve, quarter-octaves from the step of the targets.
const QUARTERS: [i32; 5] = [-2, -1, 0, 1, 2];

/// Rates and errors of one variant at neighbouring steps.
pub(crate) struct Curve {
    points: Vec<Point>,
}

impl Curve {
    /// The product's trellis, fitted at each step to `fitted` and measured on `measured`.
    pub(crate) fn product(fitted: &[Matrix], measured: &[Matrix]) -> Result<Self> {
        let points = QUARTERS.iter().map(|&quarters| {
            let scheme = Scheme::fit(Variant::PRODUCT, fitted, quarters)?;
            Ok(scheme.measure(measured, quarters))
        });
        Ok(Self {
            points: points.collect::<Result<_>>()?,
        })
    }

    /// A curve through `points`, in order of falling rate.
    pub(crate) fn through(points: Vec<Point>) -> Self {
        Self { points }
    }

    /// The point at the step of the targets.
    pub(crate) fn middle(&self) -> Point {
        self.points[self.points.len() / 2]
    }

    /// Bits that this curve needs for `error`: linear between points against the error's logarithm, and beyond.
    pub(crate) fn bits_at(&self, error: f64) -> f64 {
        let x = |point: &Point| point.error.log2();
        let last = self.points.len() - 2;
        let at = self.points[1..]
            .iter()
            .position(|point| error <= point.error)
            .unwrap_or(last)
            .min(last);
        let (a, b) = (&self.points[at], &self.points[at + 1]);
        a.bits + (b.bits - a.bits) * (error.log2() - x(a)) / (x(b) - x(a))
    }

    /// Bits that `point` saves against this curve at its own error; below zero where it costs.
    pub(crate) fn saved(&self, point: Point) -> f64 {
        self.bits_at(point.error) - point.bits
    }
}
