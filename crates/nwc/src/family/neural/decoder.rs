//! Sections to a matrix with a learned codec.

use std::ops::Range;
use std::sync::Arc;

#[cfg(feature = "encode")]
use nwc_chunk::ndarray::s;
use nwc_chunk::ndarray::{Array1, Array2};
use nwc_chunk::{Parallelism, denormalize_rows_in_place};
use nwc_codec::{NeuralCodec, SynthesisBackend, Synthesizer};

use super::SCALES;
use super::chunks::Chunks;
use super::levels::stored_levels;
use crate::error::TensorError;
use crate::family::zeros::stored_mask;
use crate::family::{MatrixDecoder, Panels, StoredSections};

/// A learned codec, with its synthesis where it will run.
#[derive(Debug)]
pub(crate) struct NeuralDecoder {
    codec: NeuralCodec,
    /// `None` for the codec's own.
    synthesizer: Option<Box<dyn Synthesizer>>,
}

impl NeuralDecoder {
    /// Brings the synthesis of `codec` to `backend`.
    pub(crate) fn new(
        codec: NeuralCodec,
        backend: Option<&dyn SynthesisBackend>,
    ) -> nwc_codec::Result<Self> {
        let synthesizer = backend.map(|backend| backend.load(&codec)).transpose()?;
        Ok(Self { codec, synthesizer })
    }

    /// The chunks of a stored matrix; as many as its substreams hold.
    fn chunks(
        &self,
        stored: &StoredSections<'_>,
        rows: usize,
        cols: usize,
    ) -> Result<Chunks, TensorError> {
        let zeros = stored_mask(stored, rows, cols)?;
        let chunks = Chunks::new(&self.codec, rows, cols, zeros.as_ref())?;
        let n_substreams = stored.substreams()?.len();
        self.codec
            .check_substreams(n_substreams, chunks.n_chunks(), chunks.per_column())?;
        Ok(chunks)
    }
}

impl MatrixDecoder for NeuralDecoder {
    fn decode(
        &self,
        stored: &StoredSections<'_>,
        rows: usize,
        cols: usize,
    ) -> Result<Array2<f32>, TensorError> {
        let config = self.codec.config();
        // Rows are borne out by their scales, columns by the number of substreams: nothing large is taken before.
        let scales = Array1::from(stored.halves(SCALES, rows)?);
        let substreams = stored.substreams()?;
        let chunks = self.chunks(stored, rows, cols)?;
        if chunks.n_chunks() == 0 {
            return Ok(Array2::zeros((rows, cols)));
        }
        let levels = stored_levels(stored, config.n_quality_levels(), cols)?;
        let all: Vec<usize> = (0..cols).collect();
        let chunk_levels = chunks.levels(&levels, &all)?;
        let per_col = chunks.per_column();
        let symbols =
            self.codec
                .decode_columns(&substreams, &chunk_levels, per_col, Parallelism::Rayon)?;
        let here: &dyn Synthesizer = &self.codec;
        let synthesizer = self.synthesizer.as_deref().unwrap_or(here);
        let synthesized = synthesizer.synthesize(symbols.view(), &chunk_levels)?;
        let mut decoded = Array2::zeros((rows, cols));
        chunks.scatter(synthesized.view(), &all, decoded.view_mut())?;
        denormalize_rows_in_place(decoded.view_mut(), scales.view())?;
        Ok(decoded)
    }

    fn open<'a>(
        self: Arc<Self>,
        stored: StoredSections<'a>,
        rows: usize,
        cols: usize,
    ) -> Result<Box<dyn Panels + 'a>, TensorError> {
        stored.halves(SCALES, rows)?;
        self.chunks(&stored, rows, cols)?;
        Ok(Box::new(WholeMatrix {
            decoder: self,
            stored,
            rows,
            columns: 0..cols,
        }))
    }
}

/// A matrix that is one panel: substreams of a codec of one state end inside columns.
#[derive(Debug)]
struct WholeMatrix<'a> {
    decoder: Arc<NeuralDecoder>,
    stored: StoredSections<'a>,
    rows: usize,
    columns: Range<usize>,
}

impl Panels for WholeMatrix<'_> {
    fn columns(&self) -> &[Range<usize>] {
        std::slice::from_ref(&self.columns)
    }

    fn decode(&self, _panel: usize) -> Result<Array2<f32>, TensorError> {
        self.decoder
            .decode(&self.stored, self.rows, self.columns.len())
    }

    /// Entropy decoding of the first substream, synthesis of its first chunks: synthesis takes most of the time.
    #[cfg(feature = "encode")]
    fn sample(&self) -> Result<Array2<f32>, TensorError> {
        const MAX_CHUNKS: usize = 1024;
        let codec = &self.decoder.codec;
        let chunks = self
            .decoder
            .chunks(&self.stored, self.rows, self.columns.len())?;
        if chunks.n_chunks() == 0 {
            return Ok(Array2::default((0, 0)));
        }
        let n_levels = codec.config().n_quality_levels();
        let levels = stored_levels(&self.stored, n_levels, self.columns.len())?;
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let levels = chunks.levels(&levels, &all)?;
        let substreams = self.stored.substreams()?;
        let per_col = chunks.per_column();
        let symbols = codec.decode_first_substream(&substreams, &levels, per_col)?;
        let n_chunks = symbols.nrows().min(MAX_CHUNKS);
        let symbols = symbols.slice(s![..n_chunks, ..]);
        Ok(Synthesizer::synthesize(
            codec,
            symbols,
            &levels[..n_chunks],
        )?)
    }
}
