//! A matrix to sections with a trellis: columns with error feedback.

use std::collections::BTreeMap;

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use nwc_codec::trellis::{self, TensorScales, TrellisCodec, TrellisQuantizer};
use nwc_compensate::{BlockQuantizer, LdlFactor, QuantizerError, ldlq, no_feedback};

use super::{FAMILY, SCALES};
use crate::error::TensorError;
use crate::family::CodedMatrix;
use crate::family::coded::{NewSection, distortion};
use crate::family::matrix::NMSE_NORMALIZED;
use crate::options::Cancel;

/// A trellis with how to apply it to one matrix.
#[derive(Debug)]
pub(super) struct TrellisCoder<'a> {
    pub(super) codec: &'a TrellisCodec,
    pub(super) codec_id: &'a str,
    /// Steps and predicted scales.
    pub(super) scales: &'a TensorScales,
    /// Feedback of the error through this factor, and how many columns are coded between two feedbacks.
    pub(super) feedback: Option<(&'a LdlFactor, usize)>,
    pub(super) cancel: Cancel<'a>,
}

impl TrellisCoder<'_> {
    /// Codes `weights` and gives the reconstruction that the decoder will make.
    pub(super) fn code(
        &self,
        weights: ArrayView2<'_, f32>,
    ) -> Result<(CodedMatrix, Array2<f32>), TensorError> {
        let (rows, cols) = weights.dim();
        let scales = self.scales;
        let mut quantizer = ColumnQuantizer {
            trellis: TrellisQuantizer::new(self.codec, scales, rows, cols)?,
            cancel: self.cancel,
        };
        let decoded = match self.feedback {
            Some((factor, block)) => {
                ldlq(weights, factor, block.clamp(1, cols.max(1)), &mut quantizer)?
            }
            None => no_feedback(weights, 1, &mut quantizer)?,
        };
        let symbols = quantizer.trellis.finish()?;
        let substreams = trellis::encode(self.codec, scales, &symbols, Parallelism::Rayon)?;
        let (nmse, nmse_normalized) = distortion(weights, decoded.view());
        let coded = CodedMatrix {
            family: FAMILY,
            codec: self.codec_id.into(),
            sections: vec![
                NewSection::payload(&substreams),
                NewSection::bytes(SCALES, scales.to_bytes()?),
            ],
            parameters: BTreeMap::from([(NMSE_NORMALIZED.to_owned(), nmse_normalized)]),
            bits_estimated: trellis::ideal_bits(self.codec, scales, &symbols)?,
            nmse,
        };
        Ok((coded, decoded))
    }
}

struct ColumnQuantizer<'a> {
    trellis: TrellisQuantizer<'a>,
    cancel: Cancel<'a>,
}

impl BlockQuantizer for ColumnQuantizer<'_> {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        self.cancel.check()?;
        let mut decoded = vec![0.0; target.nrows()];
        for (offset, &col) in cols.iter().enumerate() {
            let column = target.index_axis(Axis(1), offset).to_vec();
            self.trellis.quantize_column(col, &column, &mut decoded)?;
            reconstruction
                .index_axis_mut(Axis(1), offset)
                .iter_mut()
                .zip(&decoded)
                .for_each(|(out, &value)| *out = value);
        }
        Ok(())
    }
}
