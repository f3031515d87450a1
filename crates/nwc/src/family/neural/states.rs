//! A learned codec made over for a trellis on its latents, with tables for the checkpoint at hand.

use nwc_chunk::ndarray::{Array2, Axis, s};
use nwc_chunk::{ChunkLayout, Parallelism, normalize_rows, row_scales};
use nwc_codec::{Codec, NeuralCodec};

use crate::family::{CodecFile, Layers};
use crate::{Error, Result};

/// Weights that tables are counted on.
const SAMPLE_WEIGHTS: usize = 1 << 21;
/// Chunks of a column that go into the sample; shorter columns stay out of it.
const CHUNKS_PER_COLUMN: usize = 8;

/// `file` with `n_states` states over its latents; the same where it has those.
///
/// # Errors
/// [`Error::Codec`] where there is no such code; [`Error::Argument`] where no matrix is tall enough to count on.
pub(super) fn with_states(
    file: CodecFile,
    n_states: u16,
    layers: &Layers<'_>,
) -> Result<CodecFile> {
    let codec = match &file.codec {
        Codec::Neural(codec) if codec.config().n_states != n_states => codec,
        _ => return Ok(file),
    };
    let wrong = |source| Error::Codec {
        name: file.id.clone(),
        source,
    };
    let chunks = sample(codec, layers)?;
    let made = codec
        .with_states(
            n_states,
            chunks.view(),
            CHUNKS_PER_COLUMN,
            Parallelism::Rayon,
        )
        .map_err(wrong)?;
    let bytes = Codec::Neural(Box::new(made)).to_bytes().map_err(wrong)?;
    CodecFile::parse(&format!("{} with {n_states} states", file.id), bytes)
}

/// Chunks from the tops of evenly spaced columns of all coded matrices, in units of their rows' scales.
fn sample(codec: &NeuralCodec, layers: &Layers<'_>) -> Result<Array2<f32>> {
    let chunk_len = codec.config().chunk_len;
    let height = CHUNKS_PER_COLUMN * chunk_len;
    let n_coded: usize = layers.all().iter().map(|l| l.n_weights()).sum();
    let share = (SAMPLE_WEIGHTS as f64 / n_coded.max(1) as f64).min(1.0);
    let mut chunks = Array2::zeros((0, chunk_len));
    for layer in layers.all() {
        let (rows, cols) = (layer.rows, layer.cols);
        if !layer.role.is_linear() || rows < height {
            continue;
        }
        let (weights, _) = layer.scaled_weights()?;
        let n_sampled = (rows as f64 * cols as f64 * share / height as f64).ceil() as usize;
        let n_sampled = n_sampled.clamp(1, cols.max(1));
        let columns: Vec<usize> = (0..n_sampled)
            .map(|k| (2 * k + 1) * cols / (2 * n_sampled))
            .collect();
        let top = weights.slice(s![..height, ..]);
        let scales = row_scales(top);
        let some = top.select(Axis(1), &columns);
        let gather = || {
            let normalized = normalize_rows(some.view(), scales.view())?;
            ChunkLayout::new(height, columns.len(), chunk_len)?.gather(normalized.view())
        };
        let gathered = gather().map_err(|e| layer.wrong(e))?;
        chunks
            .append(Axis(0), gathered.view())
            .expect("both have a chunk's columns");
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
