//! Sections to a matrix with a trellis.

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::Array2;
use nwc_codec::trellis::{self, TensorScales, TrellisCodec};

use super::SCALES;
use crate::error::TensorError;
use crate::family::{MatrixDecoder, StoredSections};

/// A trellis with its tables.
#[derive(Debug)]
pub(crate) struct TrellisDecoder {
    codec: TrellisCodec,
}

impl TrellisDecoder {
    pub(crate) fn new(codec: TrellisCodec) -> Self {
        Self { codec }
    }
}

impl MatrixDecoder for TrellisDecoder {
    fn decode(
        &self,
        stored: &StoredSections<'_>,
        rows: usize,
        cols: usize,
    ) -> Result<Array2<f32>, TensorError> {
        let substreams = stored.substreams()?;
        trellis::check_substreams(substreams.len(), rows, cols)?;
        let scales = TensorScales::from_bytes(stored.get(SCALES)?, rows, cols)?;
        let mut decoded = Array2::zeros((rows, cols));
        trellis::decode(
            &self.codec,
            &scales,
            &substreams,
            decoded.view_mut(),
            Parallelism::Rayon,
        )?;
        Ok(decoded)
    }
}
