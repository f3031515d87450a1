//! One matrix through a codec: what `nwc-codec` and `nwc-compensate` know nothing of each other about.

mod loaded;
mod neural;
mod trellis;

use std::collections::BTreeMap;

use half::f16;
use nwc_chunk::ndarray::{Array2, ArrayView2, Axis};
use nwc_codec::Synthesizer;
use nwc_format::{DType, Payload, encode_payload};

use crate::error::TensorError;

pub(crate) use loaded::LoadedCodec;
pub(crate) use neural::NeuralCoder;
pub(crate) use trellis::{TrellisCoder, tensor_scales};

/// Role of the section that holds the entropy-coded symbols.
pub(crate) const PAYLOAD: &str = "payload";

/// Role of row factors tuned after coding, f16; absent where nothing was tuned.
pub(crate) const GAINS: &str = "gains";

/// Parameter: 1 where the matrix was transposed before it was coded.
pub(crate) const TRANSPOSED: &str = "transposed";

/// One section of a coded matrix, not yet in a file.
#[derive(Debug, Clone)]
pub(crate) struct NewSection {
    pub(crate) role: &'static str,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl NewSection {
    fn bytes(role: &'static str, bytes: Vec<u8>) -> Self {
        Self {
            role,
            dtype: DType::U8,
            shape: vec![bytes.len()],
            bytes,
        }
    }

    fn halves(role: &'static str, values: &[f16]) -> Self {
        Self {
            role,
            dtype: DType::F16,
            shape: vec![values.len()],
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    fn payload(substreams: &[Vec<u8>]) -> Self {
        Self::bytes(PAYLOAD, encode_payload(substreams))
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
    pub(crate) fn set_gains(&mut self, gains: &[f32]) {
        self.sections.retain(|s| s.role != GAINS);
        let gains: Vec<f16> = gains.iter().map(|&g| f16::from_f32(g)).collect();
        if gains.iter().any(|&g| g != f16::ONE) {
            self.sections.push(NewSection::halves(GAINS, &gains));
        }
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

/// Sections of a stored matrix by role, digests checked.
pub(crate) struct StoredSections<'a> {
    pub(crate) by_role: BTreeMap<&'a str, &'a [u8]>,
    pub(crate) parameters: &'a BTreeMap<String, f64>,
}

impl<'a> StoredSections<'a> {
    fn get(&self, role: &'static str) -> Result<&'a [u8], TensorError> {
        self.by_role
            .get(role)
            .copied()
            .ok_or_else(|| TensorError::Record {
                what: "section",
                found: "missing".into(),
                expected: role.into(),
            })
    }

    /// The f16 section `role`, one value for each of `rows` rows.
    fn halves(&self, role: &'static str, rows: usize) -> Result<Vec<f16>, TensorError> {
        let bytes = self.get(role)?;
        if rows.checked_mul(2) != Some(bytes.len()) {
            return Err(TensorError::Record {
                what: role,
                found: format!("{} bytes", bytes.len()),
                expected: format!("2 for each of {rows} rows"),
            });
        }
        let halves = bytes.as_chunks().0;
        Ok(halves.iter().map(|&b| f16::from_le_bytes(b)).collect())
    }

    fn substreams(&self) -> Result<Vec<&'a [u8]>, TensorError> {
        Ok(Payload::parse(self.get(PAYLOAD)?)?)
    }
}

/// Decodes a `rows` × `cols` matrix.
pub(crate) fn decode(
    codec: &LoadedCodec,
    stored: &StoredSections<'_>,
    rows: usize,
    cols: usize,
) -> Result<Array2<f32>, TensorError> {
    if stored.parameters.contains_key(TRANSPOSED) {
        let decoded = decode_turned(codec, stored, cols, rows)?;
        return Ok(decoded.t().as_standard_layout().into_owned());
    }
    decode_turned(codec, stored, rows, cols)
}

fn decode_turned(
    codec: &LoadedCodec,
    stored: &StoredSections<'_>,
    rows: usize,
    cols: usize,
) -> Result<Array2<f32>, TensorError> {
    let mut decoded = match codec {
        LoadedCodec::Neural { codec, synthesizer } => {
            let here: &dyn Synthesizer = &**codec;
            let synthesizer = synthesizer.as_deref().unwrap_or(here);
            neural::decode(codec, synthesizer, stored, rows, cols)?
        }
        LoadedCodec::Trellis(codec) => trellis::decode(codec, stored, rows, cols)?,
    };
    if stored.by_role.contains_key(GAINS) {
        let gains = stored.halves(GAINS, rows)?;
        for (mut row, gain) in decoded.axis_iter_mut(Axis(0)).zip(gains) {
            row *= gain.to_f32();
        }
    }
    Ok(decoded)
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
            row_error += f64::from(w - d).powi(2);
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
