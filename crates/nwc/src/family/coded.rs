//! A matrix as it will be stored.

use std::collections::BTreeMap;

use half::f16;
use nwc_chunk::ndarray::{ArrayView2, Axis};
use nwc_format::{DType, ROLE_PAYLOAD, encode_payload};

use super::matrix::{GAINS, NMSE_NORMALIZED, TRANSPOSED};

/// One section of a coded matrix, not yet in a file.
#[derive(Debug, Clone)]
pub(crate) struct NewSection {
    pub(crate) role: &'static str,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl NewSection {
    pub(super) fn bytes(role: &'static str, bytes: Vec<u8>) -> Self {
        Self {
            role,
            dtype: DType::U8,
            shape: vec![bytes.len()],
            bytes,
        }
    }

    pub(super) fn halves(role: &'static str, values: &[f16]) -> Self {
        Self {
            role,
            dtype: DType::F16,
            shape: vec![values.len()],
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    pub(super) fn payload(substreams: &[Vec<u8>]) -> Self {
        Self::bytes(ROLE_PAYLOAD, encode_payload(substreams))
    }
}

/// A matrix as it will be stored, with what was measured while it was coded.
#[derive(Debug, Clone)]
pub struct CodedMatrix {
    pub(crate) family: &'static str,
    pub(crate) codec: String,
    pub(crate) sections: Vec<NewSection>,
    pub(crate) parameters: BTreeMap<String, f64>,
    pub(crate) bits_estimated: f64,
    pub(crate) nmse: f64,
}

impl CodedMatrix {
    /// Notes that the matrix was transposed before it was coded.
    pub(crate) fn mark_transposed(&mut self) {
        self.parameters.insert(TRANSPOSED.into(), 1.0);
    }

    /// Multiplies the rows by `gains`, stored as f16; where all round to 1 nothing is stored.
    ///
    /// They take the place of gains set before, but for rows that were made zeros and stay so.
    pub(crate) fn set_gains(&mut self, gains: &[f32]) {
        let mut gains: Vec<f16> = gains.iter().map(|&g| f16::from_f32(g)).collect();
        for section in self.sections.extract_if(.., |s| s.role == GAINS) {
            let (before, _) = section.bytes.as_chunks();
            for (gain, &before) in gains.iter_mut().zip(before) {
                if f16::from_le_bytes(before) == f16::ZERO {
                    *gain = f16::ZERO;
                }
            }
        }
        if gains.iter().any(|&g| g != f16::ONE) {
            self.sections.push(NewSection::halves(GAINS, &gains));
        }
    }

    /// Makes the rows `worse` of `rows` zeros: gains of 0.
    pub(super) fn clear_rows(&mut self, rows: usize, worse: &[usize]) {
        let mut gains = vec![1.0; rows];
        for &row in worse {
            gains[row] = 0.0;
        }
        self.set_gains(&gains);
    }

    /// Notes how far `decoded`, which is what will be restored, is from `weights`.
    pub(super) fn measure(&mut self, weights: ArrayView2<'_, f32>, decoded: ArrayView2<'_, f32>) {
        let (nmse, nmse_normalized) = distortion(weights, decoded);
        self.nmse = nmse;
        self.parameters
            .insert(NMSE_NORMALIZED.to_owned(), nmse_normalized);
    }

    /// Bytes of all sections.
    pub fn n_bytes(&self) -> usize {
        self.sections.iter().map(|s| s.bytes.len()).sum()
    }

    /// ‖W−Ŵ‖²/‖W‖².
    pub fn nmse(&self) -> f64 {
        self.nmse
    }
}

/// How far `decoded` is from `weights`: ‖W−Ŵ‖²/‖W‖², and the same with every row of unit norm.
pub(crate) fn distortion(weights: ArrayView2<'_, f32>, decoded: ArrayView2<'_, f32>) -> (f64, f64) {
    let mut error = 0.0;
    let mut energy = 0.0;
    let mut normalized = 0.0;
    let mut n_rows = 0usize;
    for (w, d) in weights.axis_iter(Axis(0)).zip(decoded.axis_iter(Axis(0))) {
        let (mut row_error, mut row_energy) = (0.0f64, 0.0f64);
        for (&w, &d) in w.iter().zip(d) {
            let error = w - d;
            row_error += match error.is_finite() {
                true => f64::from(error).powi(2),
                false => (f64::from(w) - f64::from(d)).powi(2),
            };
            row_energy += f64::from(w).powi(2);
        }
        error += row_error;
        energy += row_energy;
        if row_energy > 0.0 {
            normalized += row_error / row_energy;
            n_rows += 1;
        }
    }
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    (ratio(error, energy), ratio(normalized, n_rows as f64))
}
