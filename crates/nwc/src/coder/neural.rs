//! The learned codec over a matrix: row scales, chunks down the columns, levels, error feedback.

use std::collections::BTreeMap;

use half::f16;
use nwc_chunk::ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, s};
use nwc_chunk::{
    ChunkLayout, Parallelism, QualityLevel, denormalize_rows_in_place, normalize_rows, row_scales,
};
use nwc_codec::{NeuralCodec, Synthesizer};
use nwc_compensate::{BlockQuantizer, LdlFactor, QuantizerError, ldlq, no_feedback};

use super::{CodedMatrix, NewSection, StoredSections, distortion};
use crate::error::TensorError;
use crate::options::Normalization;

/// Role of the row scales, f16.
const SCALES: &str = "scales";
/// Role of the columns' quality levels, packed little end first; absent where all are the same.
const LEVELS: &str = "levels";
/// Parameter: the level of all columns, where there is only one.
const UNIFORM_LEVEL: &str = "level";
/// Weights coded at once where there is no feedback.
const BLOCK_WEIGHTS: usize = 1 << 20;

/// A neural codec with how to apply it to one matrix.
#[derive(Debug)]
pub(crate) struct NeuralCoder<'a> {
    pub(crate) codec: &'a NeuralCodec,
    pub(crate) codec_id: &'a str,
    pub(crate) normalization: Normalization,
    /// A level per column.
    pub(crate) levels: Vec<QualityLevel>,
    /// Feedback of the error through this factor, so many columns at a time.
    pub(crate) feedback: Option<(&'a LdlFactor, usize)>,
}

impl NeuralCoder<'_> {
    /// Codes `weights` and gives the reconstruction that the decoder will make.
    pub(crate) fn code(
        &self,
        weights: ArrayView2<'_, f32>,
    ) -> Result<(CodedMatrix, Array2<f32>), TensorError> {
        let (rows, cols) = weights.dim();
        let layout = ChunkLayout::new(rows, cols, self.codec.config().chunk_len)?;
        let scales = match self.normalization {
            Normalization::Rows => row_scales(weights),
            Normalization::Tensor => Array1::from_elem(rows, tensor_scale(weights)),
        };
        let normalized = normalize_rows(weights, scales.view())?;
        let mut quantizer = NeuralQuantizer {
            codec: self.codec,
            levels: &self.levels,
            layout,
            symbols: Array2::zeros((layout.n_chunks(), self.codec.config().latent_dim)),
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
        let chunk_levels = layout.chunk_levels(&self.levels)?;
        let symbols = quantizer.symbols;
        let substreams = self.codec.encode_columns(
            symbols.view(),
            &chunk_levels,
            layout.n_chunks_per_col(),
            Parallelism::Rayon,
        )?;
        let (nmse, nmse_normalized) = distortion(weights, decoded.view());
        let mut parameters = BTreeMap::from([("nmse_normalized".to_owned(), nmse_normalized)]);
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
            family: "neural",
            codec: self.codec_id.into(),
            sections,
            parameters,
            bits_estimated: self.codec.ideal_bits(symbols.view(), &chunk_levels)?,
            nmse,
        };
        Ok((coded, decoded))
    }
}

/// The inverse of [`NeuralCoder::code`], the chunks put together by `synthesizer`.
pub(crate) fn decode(
    codec: &NeuralCodec,
    synthesizer: &dyn Synthesizer,
    stored: &StoredSections<'_>,
    rows: usize,
    cols: usize,
) -> Result<Array2<f32>, TensorError> {
    let layout = ChunkLayout::new(rows, cols, codec.config().chunk_len)?;
    let substreams = stored.substreams()?;
    let per_col = layout.n_chunks_per_col();
    codec.check_substreams(substreams.len(), layout.n_chunks(), per_col)?;
    if layout.n_chunks() == 0 {
        return Ok(Array2::zeros((rows, cols)));
    }
    let levels = stored_levels(codec, stored, cols)?;
    let chunk_levels = layout.chunk_levels(&levels)?;
    let scales = Array1::from(stored.halves(SCALES, rows)?);
    let symbols = codec.decode_columns(&substreams, &chunk_levels, per_col, Parallelism::Rayon)?;
    let chunks = synthesizer.synthesize(symbols.view(), &chunk_levels)?;
    let mut decoded = Array2::zeros((rows, cols));
    layout.scatter(chunks.view(), decoded.view_mut())?;
    denormalize_rows_in_place(decoded.view_mut(), scales.view())?;
    Ok(decoded)
}

/// The scale of a matrix taken as one row.
fn tensor_scale(weights: ArrayView2<'_, f32>) -> f16 {
    let flat: Array1<f32> = weights.iter().copied().collect();
    let scales = row_scales(flat.view().insert_axis(Axis(0)));
    scales.first().copied().unwrap_or(f16::ONE)
}

struct NeuralQuantizer<'a> {
    codec: &'a NeuralCodec,
    levels: &'a [QualityLevel],
    layout: ChunkLayout,
    /// Of the whole matrix, `[n_chunks, latent_dim]`, column by column.
    symbols: Array2<i32>,
}

impl BlockQuantizer for NeuralQuantizer<'_> {
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError> {
        let block = self.layout.with_cols(cols.len())?;
        let chunks = block.gather(target)?;
        let levels: Vec<QualityLevel> = cols.iter().map(|&col| self.levels[col]).collect();
        let levels = block.chunk_levels(&levels)?;
        let per_col = self.layout.n_chunks_per_col();
        let quantized =
            self.codec
                .quantize_columns(chunks.view(), &levels, per_col, Parallelism::Rayon)?;
        for (k, &col) in cols.iter().enumerate() {
            self.symbols
                .slice_mut(s![col * per_col..(col + 1) * per_col, ..])
                .assign(
                    &quantized
                        .symbols
                        .slice(s![k * per_col..(k + 1) * per_col, ..]),
                );
        }
        block.scatter(quantized.reconstruction.view(), reconstruction)?;
        Ok(())
    }
}

fn stored_levels(
    codec: &NeuralCodec,
    stored: &StoredSections<'_>,
    cols: usize,
) -> Result<Vec<QualityLevel>, TensorError> {
    let n_levels = codec.config().n_quality_levels();
    let levels = match stored.parameters.get(UNIFORM_LEVEL) {
        Some(&level) => vec![QualityLevel(level as u8); cols],
        None if cols == 0 => Vec::new(),
        None => {
            let bits = level_bits(n_levels);
            let bytes = stored.get(LEVELS)?;
            let n_bytes = (cols * bits as usize).div_ceil(8);
            if bytes.len() != n_bytes {
                return Err(TensorError::Record {
                    what: "length of the quality levels",
                    found: format!("{} bytes", bytes.len()),
                    expected: format!("{n_bytes} for {cols} columns"),
                });
            }
            unpack_levels(bytes, bits, cols)
        }
    };
    match levels.iter().find(|level| usize::from(level.0) >= n_levels) {
        Some(level) => Err(TensorError::Record {
            what: "quality level",
            found: level.0.to_string(),
            expected: format!("0 to {}", n_levels - 1),
        }),
        None => Ok(levels),
    }
}

/// Bits that tell `n_levels` levels apart.
fn level_bits(n_levels: usize) -> u32 {
    n_levels.max(2).next_power_of_two().trailing_zeros()
}

fn pack_levels(levels: &[QualityLevel], bits: u32) -> Vec<u8> {
    let mut bytes = vec![0u8; (levels.len() * bits as usize).div_ceil(8)];
    for (i, level) in levels.iter().enumerate() {
        for bit in 0..bits as usize {
            let at = i * bits as usize + bit;
            bytes[at / 8] |= (level.0 >> bit & 1) << (at % 8);
        }
    }
    bytes
}

fn unpack_levels(bytes: &[u8], bits: u32, n: usize) -> Vec<QualityLevel> {
    let bit_at = |at: usize| bytes.get(at / 8).map_or(0, |b| b >> (at % 8) & 1);
    (0..n)
        .map(|i| {
            let first = i * bits as usize;
            QualityLevel(
                (0..bits as usize)
                    .map(|bit| bit_at(first + bit) << bit)
                    .sum(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn levels_round_trip(n_levels in 1usize..=64, raw in prop::collection::vec(0u8..64, 0..50)) {
            let levels: Vec<_> = raw.iter().map(|&l| QualityLevel(l % n_levels as u8)).collect();
            let bits = level_bits(n_levels);
            let packed = pack_levels(&levels, bits);
            prop_assert_eq!(unpack_levels(&packed, bits, levels.len()), levels);
        }
    }
}
