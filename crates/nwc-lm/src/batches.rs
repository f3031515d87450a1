//! Runs many windows through a model, block by block, so that each block's weights are read once.

use std::ops::Range;

use tch::Tensor;

use crate::error::Result;
use crate::model::{LanguageModel, NoTap, Sequence};
use crate::tensors::without_grad;

/// Tokens that run through a block at once: enough to fill two cores or a GPU, few enough to stay in caches.
const TOKENS_PER_BATCH: usize = 2048;

/// Windows of equal length that run together.
#[derive(Debug)]
pub struct Batch {
    /// Indices of the windows.
    pub windows: Range<usize>,
    /// Rotations and masks of the windows' positions.
    pub sequence: Sequence,
    /// Hidden states `[n_windows, window, hidden]`.
    pub hidden: Tensor,
}

/// Embeds all windows, neighbours of equal length together.
///
/// # Errors
/// As [`LanguageModel::embed`]; errors of reading the embedding.
pub fn embed_batches(model: &LanguageModel<'_>, windows: &[&[u32]]) -> Result<Vec<Batch>> {
    // Kept for the loop, so that a model that keeps nothing reads it once.
    let embedding = model.embedding()?;
    let mut batches = Vec::new();
    let mut start = 0;
    while let Some(first) = windows.get(start) {
        let most = (TOKENS_PER_BATCH / first.len().max(1)).max(1);
        let alike = windows[start..]
            .iter()
            .take(most)
            .take_while(|next| next.len() == first.len());
        let end = start + alike.count();
        let sequence = model.sequence(0, first.len())?;
        let hidden = model.embed_with(&embedding, &windows[start..end], &sequence)?;
        batches.push(Batch {
            windows: start..end,
            sequence,
            hidden,
        });
        start = end;
    }
    Ok(batches)
}

/// The hidden states that leave the last block, one `[window, hidden]` for each window.
///
/// # Errors
/// Errors of reading the weights or running the blocks.
pub fn final_hidden_states(model: &LanguageModel<'_>, windows: &[&[u32]]) -> Result<Vec<Tensor>> {
    let mut batches = embed_batches(model, windows)?;
    for block_idx in 0..model.n_blocks() {
        let block = model.block(block_idx)?;
        for batch in &mut batches {
            batch.hidden =
                without_grad(|| block.forward(&batch.hidden, &batch.sequence, &mut NoTap, None))?;
        }
    }
    let mut states = Vec::with_capacity(windows.len());
    for batch in &batches {
        for offset in 0..batch.windows.len() {
            states.push(batch.hidden.f_select(0, offset as i64)?);
        }
    }
    Ok(states)
}
