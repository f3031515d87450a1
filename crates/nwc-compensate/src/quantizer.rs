//! The seam of the project: what error feedback asks of a codec.

use nwc_chunk::ndarray::{ArrayView2, ArrayViewMut2};

/// An error of a quantiser, opaque to the feedback loop that hands it on.
pub type QuantizerError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Codes a matrix column block by column block.
///
/// The learned codec, the trellis, the entropy-coded scalar and every baseline implement it,
/// so a comparison between them differs in one line.
/// An implementation owns whatever it needs per column or row (quality levels, steps) for the
/// whole matrix and looks it up by `cols`; it keeps the symbols that it produces.
pub trait BlockQuantizer {
    /// Quantises `target`, the compensated and normalised columns `cols` of a matrix, and writes
    /// what the decoder will see to `reconstruction`.
    ///
    /// Both are `[out_features, cols.len()]`; column `k` of them is column `cols[k]` of the matrix. Each column of
    /// a matrix is passed exactly once, in blocks and in an order that feedback chooses.
    ///
    /// # Errors
    /// Whatever the implementation meets; nothing it has kept is then valid.
    fn quantize(
        &mut self,
        target: ArrayView2<'_, f32>,
        cols: &[usize],
        reconstruction: ArrayViewMut2<'_, f32>,
    ) -> Result<(), QuantizerError>;
}
