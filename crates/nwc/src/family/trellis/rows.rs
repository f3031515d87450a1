//! Bits of a matrix as it will be stored, from some of its rows coded for real.
//!
//! Error feedback runs along a row and needs nothing of other rows, so a few rows tell what feedback adds to the rate,
//! which columns coded alone do not.

use std::sync::Arc;

use nwc_chunk::ZeroMask;
use nwc_chunk::ndarray::Axis;
use nwc_codec::trellis::{TensorScales, TrellisCodec, n_substreams};

use super::coder::TrellisCoder;
use super::sample::{Sample, evenly_spaced};
use crate::Result;
use crate::family::Layers;

/// Fewer rows than this say little: the trellis runs down the columns and starts anew in each.
const MIN_ROWS: usize = 32;

/// Stored bits of the whole matrix of `sample`, from `share` of its rows.
pub(super) fn stored_bits(
    sample: &Sample<'_>,
    layers: &Layers<'_>,
    codec: &TrellisCodec,
    delta: f64,
    share: f64,
) -> Result<f64> {
    let layer = &sample.layer;
    let n_rows = (layer.rows as f64 * share).ceil() as usize;
    let n_rows = n_rows.max(MIN_ROWS).min(layer.rows);
    let row_idx = evenly_spaced(n_rows, layer.rows);
    let whole = sample.whole_scales(delta);
    let sampled = |rows: &[i8]| row_idx.iter().map(|&i| rows[i]).collect();
    let weights = layer.scaled_weights()?.0.select(Axis(0), &row_idx);
    let zeros = (sample.mask_bytes > 0).then(|| Arc::new(ZeroMask::of(weights.view())));
    let density = match &zeros {
        Some(zeros) => zeros.n_kept() as f64 / weights.len().max(1) as f64,
        None => 1.0,
    };
    let scales = TensorScales {
        row_step: sampled(&whole.row_step),
        row_rms: sampled(&whole.row_rms),
        zeros,
        ..whole.clone()
    };
    let guidance = layers.guidance(layer, sample.keep)?;
    let coder = TrellisCoder {
        codec,
        codec_id: "",
        scales: &scales,
        feedback: guidance.feedback(),
        cancel: layers.cancel(),
    };
    let (coded, _) = coder.code(weights.view()).map_err(|e| layer.wrong(e))?;
    let n_streams = |rows: usize| n_substreams(rows, layer.cols) as f64;
    // What a substream costs beside its symbols: the states of its lanes.
    let n_bytes = |scales: &TensorScales| scales.to_bytes().map(|bytes| bytes.len());
    let side = n_bytes(&scales).map_err(|e| layer.wrong(e))?;
    let payload_bits = 8.0 * (coded.n_bytes() - side) as f64;
    let extra = (payload_bits - coded.bits_estimated) / n_streams(n_rows).max(1.0);
    let expected = expected_bits(&whole) * sample.density
        / (expected_bits(&scales) * density).max(f64::MIN_POSITIVE);
    let side = n_bytes(&whole).map_err(|e| layer.wrong(e))? + sample.mask_bytes;
    Ok(coded.bits_estimated * expected + extra * n_streams(layer.rows) + 8.0 * side as f64)
}

/// Bits that Gaussian weights of the predicted scales would take, up to a factor.
fn expected_bits(scales: &TensorScales) -> f64 {
    let mut n_cols = [0_u32; 256];
    for &col in &scales.col_rms {
        n_cols[usize::from(col.cast_unsigned())] += 1;
    }
    let of_row = |row: &i8| -> f64 {
        let cols = n_cols.iter().enumerate().filter(|(_, n)| **n > 0);
        cols.map(|(col, &n)| f64::from(n) * bits_at(i32::from(*row) + i32::from(col as u8 as i8)))
            .sum()
    };
    let mut by_row = [None; 256];
    let mut sum = 0.0;
    for row in &scales.row_rms {
        sum += *by_row[usize::from(row.cast_unsigned())].get_or_insert_with(|| of_row(row));
    }
    sum
}

/// Bits of a Gaussian weight whose deviation is `2^(exponent / 4)` steps.
///
/// Its rate is log2(σ/step) + ½ log2(2πe) where that is high; a trellis codes every second integer, one bit less.
fn bits_at(exponent: i32) -> f64 {
    0.5 * (1.0 + 4.29 * (f64::from(exponent) / 2.0).exp2()).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_bits_add_up_over_rows_and_columns() {
        let scales = TensorScales {
            tensor_step: 1.0,
            row_step: vec![0; 3],
            col_step: vec![0; 2],
            row_rms: vec![-3, 8, 8],
            col_rms: vec![0, -5],
            zeros: None,
        };
        let by_hand: f64 = [-3, 8, 8]
            .iter()
            .flat_map(|r| [bits_at(*r), bits_at(r - 5)])
            .sum();
        assert!((expected_bits(&scales) - by_hand).abs() < 1e-9);
        // An octave is a bit where the rate is high.
        assert!((bits_at(24) - bits_at(20) - 1.0).abs() < 1e-3);
    }
}
