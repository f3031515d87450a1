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
    let chunks = sample(codec, layers, SAMPLE_WEIGHTS)?;
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

/// About `n_weights` weights as chunks, from the tops of evenly spaced columns of all linears, in units of their rows'
/// scales.
fn sample(codec: &NeuralCodec, layers: &Layers<'_>, n_weights: usize) -> Result<Array2<f32>> {
    let chunk_len = codec.config().chunk_len;
    let height = CHUNKS_PER_COLUMN * chunk_len;
    let n_coded: usize = layers.all().iter().map(|l| l.n_weights()).sum();
    let share = (n_weights as f64 / n_coded.max(1) as f64).min(1.0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::pretrained;
    use crate::family::testing::{Matrix, random, with_layers};

    #[test]
    fn some_columns_stand_for_all() {
        // Columns grow by two octaves, so that the first few tell little of the others.
        let mut weights = random(160, 256, 1);
        for (j, mut col) in weights.columns_mut().into_iter().enumerate() {
            col *= (j as f32 / 128.0).exp2();
        }
        let matrices = [
            Matrix::plain("model.layers.0.mlp.up_proj.weight", weights),
            Matrix::plain("model.embed_tokens.weight", random(160, 32, 2)),
        ];
        let files = pretrained::for_lambda(300.0, false).unwrap();
        let Codec::Neural(codec) = &files[0].codec else {
            panic!("a pretrained codec is a neural one");
        };
        let variance = |share: usize| {
            with_layers(&matrices, None, |layers| {
                let n_coded = 160 * (256 + 32);
                let chunks = sample(codec, layers, n_coded / share).unwrap();
                // One column holds 128 of its 160 rows, and tables are not the embedding's.
                let n_chunks = (8 * 160 * 256_usize.div_ceil(share)).div_ceil(128);
                assert_eq!(chunks.nrows(), n_chunks.min(8 * 256).next_multiple_of(8));
                chunks.mapv(|w| w * w).mean().unwrap()
            })
        };
        let (some, all) = (variance(16), variance(1));
        assert!((some / all - 1.0).abs() < 0.1, "{some} against {all}");
        assert!((all - 1.0).abs() < 0.1, "rows are normalised: {all}");
    }
}
