//! The trellis over a matrix: steps, predicted scales, columns with error feedback.

use std::collections::BTreeMap;

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use nwc_codec::trellis::{
    self, ScalePrediction, StepFactors, TensorScales, TrellisCodec, TrellisQuantizer,
};
use nwc_compensate::{BlockQuantizer, LdlFactor, QuantizerError, ldlq, no_feedback};

use super::{CodedMatrix, NewSection, StoredSections, distortion};
use crate::error::TensorError;

/// Role of the steps and predicted scales.
const SCALES: &str = "scales";

/// A trellis with how to apply it to one matrix.
#[derive(Debug)]
pub(crate) struct TrellisCoder<'a> {
    pub(crate) codec: &'a TrellisCodec,
    pub(crate) codec_id: &'a str,
    /// Steps and predicted scales, [`tensor_scales`].
    pub(crate) scales: &'a TensorScales,
    /// Feedback of the error through this factor, so many columns at a time.
    pub(crate) feedback: Option<(&'a LdlFactor, usize)>,
}

impl TrellisCoder<'_> {
    /// Codes `weights` and gives the reconstruction that the decoder will make.
    pub(crate) fn code(
        &self,
        weights: ArrayView2<'_, f32>,
    ) -> Result<(CodedMatrix, Array2<f32>), TensorError> {
        let (rows, cols) = weights.dim();
        let scales = self.scales;
        let quantizer =
            TrellisQuantizer::new(self.codec, scales, rows, cols).map_err(codec_error)?;
        let mut quantizer = ColumnQuantizer(quantizer);
        let decoded = match self.feedback {
            Some((factor, block)) => {
                ldlq(weights, factor, block.clamp(1, cols.max(1)), &mut quantizer)?
            }
            None => no_feedback(weights, 1, &mut quantizer)?,
        };
        let symbols = quantizer.0.finish().map_err(codec_error)?;
        let substreams = trellis::encode(self.codec, scales, &symbols, Parallelism::Rayon)
            .map_err(codec_error)?;
        let (nmse, nmse_normalized) = distortion(weights, decoded.view());
        let coded = CodedMatrix {
            family: "trellis",
            codec: self.codec_id.into(),
            sections: vec![
                NewSection::payload(&substreams),
                NewSection::bytes(SCALES, scales.to_bytes().map_err(codec_error)?),
            ],
            parameters: BTreeMap::from([("nmse_normalized".to_owned(), nmse_normalized)]),
            bits_estimated: trellis::ideal_bits(self.codec, scales, &symbols)
                .map_err(codec_error)?,
            nmse,
        };
        Ok((coded, decoded))
    }
}

/// The inverse of [`TrellisCoder::code`].
pub(crate) fn decode(
    codec: &TrellisCodec,
    stored: &StoredSections<'_>,
    rows: usize,
    cols: usize,
) -> Result<Array2<f32>, TensorError> {
    let substreams = stored.substreams()?;
    trellis::check_substreams(substreams.len(), rows, cols).map_err(codec_error)?;
    let scales = TensorScales::from_bytes(stored.get(SCALES)?, rows, cols).map_err(codec_error)?;
    let mut decoded = Array2::zeros((rows, cols));
    trellis::decode(
        codec,
        &scales,
        &substreams,
        decoded.view_mut(),
        Parallelism::Rayon,
    )
    .map_err(codec_error)?;
    Ok(decoded)
}

/// Steps and predicted scales of `weights` for one `delta`.
pub(crate) fn tensor_scales(
    weights: ArrayView2<'_, f32>,
    factors: &StepFactors,
    delta: f64,
) -> Result<TensorScales, TensorError> {
    let delta = delta as f32;
    let prediction = ScalePrediction::fit(weights, factors, delta).map_err(codec_error)?;
    Ok(TensorScales::new(factors, &prediction, delta))
}

fn codec_error(error: trellis::Error) -> TensorError {
    TensorError::Codec(error.into())
}

struct ColumnQuantizer<'a>(TrellisQuantizer<'a>);

impl BlockQuantizer for ColumnQuantizer<'_> {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        let mut decoded = vec![0.0; target.nrows()];
        for (offset, &col) in cols.iter().enumerate() {
            let column = target.index_axis(Axis(1), offset).to_vec();
            self.0.quantize_column(col, &column, &mut decoded)?;
            reconstruction
                .index_axis_mut(Axis(1), offset)
                .iter_mut()
                .zip(&decoded)
                .for_each(|(out, &value)| *out = value);
        }
        Ok(())
    }
}
