//! A learned codec made over for a trellis on its latents, with tables for the checkpoint at hand.

use nwc_chunk::ndarray::{Array2, Axis, s};
use nwc_chunk::{ChunkLayout, Parallelism, normalize_rows, row_scales};
use nwc_codec::{Codec, NeuralCodec};

use crate::coders::LoadedCodec;
use crate::error::TensorError;
use crate::plan::{Plan, Role};
use crate::{Error, Result};

/// Weights that tables are counted on.
const SAMPLE_WEIGHTS: usize = 1 << 21;
/// Chunks of a column that go into the sample; shorter columns stay out of it.
const CHUNKS_PER_COLUMN: usize = 8;

/// `loaded` with `n_states` states over its latents; the same where it has those.
///
/// # Errors
/// [`Error::Codec`] where there is no such code; [`Error::Argument`] where no matrix is tall enough to count on.
pub(crate) fn with_states(
    loaded: LoadedCodec,
    n_states: u16,
    plan: &Plan<'_>,
) -> Result<LoadedCodec> {
    let codec = match &loaded.codec {
        Codec::Neural(codec) if codec.config().n_states != n_states => codec,
        _ => return Ok(loaded),
    };
    let wrong = |source| Error::Codec {
        name: loaded.id.clone(),
        source,
    };
    let chunks = sample(codec, plan)?;
    let made = codec
        .with_states(
            n_states,
            chunks.view(),
            CHUNKS_PER_COLUMN,
            Parallelism::Rayon,
        )
        .map_err(wrong)?;
    let bytes = Codec::Neural(Box::new(made)).to_bytes().map_err(wrong)?;
    LoadedCodec::new(&format!("{} with {n_states} states", loaded.id), bytes)
}

/// Chunks from the tops of evenly spaced columns of all coded matrices, in units of their rows' scales.
fn sample(codec: &NeuralCodec, plan: &Plan<'_>) -> Result<Array2<f32>> {
    let chunk_len = codec.config().chunk_len;
    let height = CHUNKS_PER_COLUMN * chunk_len;
    let n_coded: usize = plan.coded().map(|(_, _, rows, cols)| rows * cols).sum();
    let share = (SAMPLE_WEIGHTS as f64 / n_coded.max(1) as f64).min(1.0);
    let mut chunks = Array2::zeros((0, chunk_len));
    for (planned, role, rows, cols) in plan.coded() {
        if role != Role::Linear || rows < height {
            continue;
        }
        let wrong = |e: TensorError| Error::tensor(planned.shard.path(), &planned.tensor.name, e);
        let weights = planned.matrix(rows, cols)?;
        let n_sampled = (rows as f64 * cols as f64 * share / height as f64).ceil() as usize;
        let n_sampled = n_sampled.clamp(1, cols.max(1));
        let columns: Vec<usize> = (0..n_sampled)
            .map(|k| (2 * k + 1) * cols / (2 * n_sampled))
            .collect();
        let top = weights.slice(s![..height, ..]);
        let scales = row_scales(top);
        let some = top.select(Axis(1), &columns);
        let normalized = normalize_rows(some.view(), scales.view()).map_err(|e| wrong(e.into()))?;
        let layout =
            ChunkLayout::new(height, columns.len(), chunk_len).map_err(|e| wrong(e.into()))?;
        let gathered = layout
            .gather(normalized.view())
            .map_err(|e| wrong(e.into()))?;
        // Both have `chunk_len` columns.
        let _ = chunks.append(Axis(0), gathered.view());
    }
    if chunks.is_empty() {
        return Err(Error::Argument {
            argument: "states over latents",
            found: "a checkpoint of short columns only".into(),
            allowed: format!("one that has a linear of {height} rows or more"),
        });
    }
    Ok(chunks)
}
