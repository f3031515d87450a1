//! A matrix to sections with a learned codec: row scales, chunks down the columns, levels, error feedback.

use std::collections::BTreeMap;
use std::sync::Arc;

use half::f16;
use nwc_chunk::ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, s};
use nwc_chunk::{
    Parallelism, QualityLevel, ZeroMask, denormalize_rows_in_place, kept_row_scales,
    normalize_rows, row_scales,
};
use nwc_codec::NeuralCodec;
use nwc_compensate::{BlockQuantizer, LdlFactor, QuantizerError, ldlq, no_feedback};

use super::chunks::Chunks;
use super::levels::{level_bits, pack_levels};
use super::{FAMILY, LEVELS, SCALES, UNIFORM_LEVEL};
use crate::error::TensorError;
use crate::family::CodedMatrix;
use crate::family::coded::{NewSection, distortion};
use crate::family::matrix::NMSE_NORMALIZED;
use crate::options::{Cancel, Normalization};

/// Weights coded at once where there is no feedback.
const BLOCK_WEIGHTS: usize = 1 << 20;

/// A neural codec with how to apply it to one matrix.
#[derive(Debug)]
pub(super) struct NeuralCoder<'a> {
    pub(super) codec: &'a NeuralCodec,
    pub(super) codec_id: &'a str,
    pub(super) normalization: Normalization,
    /// A level per column.
    pub(super) levels: Vec<QualityLevel>,
    /// Weights that are zero and not coded.
    pub(super) zeros: Option<&'a Arc<ZeroMask>>,
    /// Feedback of the error through this factor, so many columns at a time.
    pub(super) feedback: Option<(&'a LdlFactor, usize)>,
    pub(super) cancel: Cancel<'a>,
}

impl NeuralCoder<'_> {
    /// Codes `weights` and gives the reconstruction that the decoder will make.
    pub(super) fn code(
        &self,
        weights: ArrayView2<'_, f32>,
    ) -> Result<(CodedMatrix, Array2<f32>), TensorError> {
        let (rows, cols) = weights.dim();
        let chunks = Chunks::new(self.codec, rows, cols, self.zeros)?;
        let row_scales = match self.zeros {
            Some(_) => kept_row_scales,
            None => row_scales,
        };
        let scales = match self.normalization {
            Normalization::Rows => row_scales(weights),
            Normalization::Tensor => {
                let flat: Array1<f32> = weights.iter().copied().collect();
                let scales = row_scales(flat.view().insert_axis(Axis(0)));
                Array1::from_elem(rows, scales.first().copied().unwrap_or(f16::ONE))
            }
        };
        let normalized = normalize_rows(weights, scales.view())?;
        let mut quantizer = NeuralQuantizer {
            codec: self.codec,
            levels: &self.levels,
            cancel: self.cancel,
            symbols: Array2::zeros((chunks.n_chunks(), self.codec.config().latent_dim)),
            chunks,
        };
        let mut decoded = match self.feedback {
            Some((factor, block)) => ldlq(
                normalized.view(),
                factor,
                block.clamp(1, cols.max(1)),
                &mut quantizer,
            )?,
            None => {
                let block = (BLOCK_WEIGHTS / rows.max(1)).clamp(1, cols.max(1));
                no_feedback(normalized.view(), block, &mut quantizer)?
            }
        };
        denormalize_rows_in_place(decoded.view_mut(), scales.view())?;
        let (chunks, symbols) = (quantizer.chunks, quantizer.symbols);
        let all: Vec<usize> = (0..cols).collect();
        let chunk_levels = chunks.levels(&self.levels, &all)?;
        let substreams = self.codec.encode_columns(
            symbols.view(),
            &chunk_levels,
            chunks.per_column(),
            Parallelism::Rayon,
        )?;
        let (nmse, nmse_normalized) = distortion(weights, decoded.view());
        let mut parameters = BTreeMap::from([(NMSE_NORMALIZED.to_owned(), nmse_normalized)]);
        let mut sections = vec![
            NewSection::payload(&substreams),
            NewSection::halves(SCALES, &scales.to_vec()),
        ];
        match self.levels.split_first() {
            Some((first, rest)) if rest.iter().any(|level| level != first) => {
                let bits = level_bits(self.codec.config().n_quality_levels());
                sections.push(NewSection::bytes(LEVELS, pack_levels(&self.levels, bits)));
            }
            Some((first, _)) => {
                parameters.insert(UNIFORM_LEVEL.into(), f64::from(first.0));
            }
            None => {}
        }
        let coded = CodedMatrix {
            family: FAMILY,
            codec: self.codec_id.into(),
            sections,
            parameters,
            bits_estimated: self.codec.ideal_bits(symbols.view(), &chunk_levels)?,
            nmse,
        };
        Ok((coded, decoded))
    }
}

struct NeuralQuantizer<'a> {
    codec: &'a NeuralCodec,
    levels: &'a [QualityLevel],
    chunks: Chunks,
    cancel: Cancel<'a>,
    /// Of the whole matrix, `[n_chunks, latent_dim]`, column by column.
    symbols: Array2<i32>,
}

impl BlockQuantizer for NeuralQuantizer<'_> {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        mut reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        self.cancel.check()?;
        let chunks = self.chunks.gather(target, cols)?;
        let levels = self.chunks.levels(self.levels, cols)?;
        let per_col = self.chunks.per_column();
        let quantized =
            self.codec
                .quantize_columns(chunks.view(), &levels, per_col, Parallelism::Rayon)?;
        let mut first = 0;
        for &col in cols {
            let of_column = self.chunks.of_column(col);
            let end = first + of_column.len();
            let symbols = quantized.symbols.slice(s![first..end, ..]);
            self.symbols.slice_mut(s![of_column, ..]).assign(&symbols);
            first = end;
        }
        reconstruction.fill(0.0);
        self.chunks
            .scatter(quantized.reconstruction.view(), cols, reconstruction)?;
        Ok(())
    }
}
