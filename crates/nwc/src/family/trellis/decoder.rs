//! Sections to a matrix with a trellis.

use std::ops::Range;
use std::sync::Arc;

use nwc_chunk::Parallelism;
use nwc_chunk::ndarray::Array2;
use nwc_codec::trellis::{self, StoredPanels, TensorScales, TrellisCodec};

use super::SCALES;
use crate::error::TensorError;
use crate::family::zeros::stored_mask;
use crate::family::{MatrixDecoder, Panels, StoredSections};

/// A trellis with its tables.
#[derive(Debug)]
pub(crate) struct TrellisDecoder {
    codec: TrellisCodec,
}

impl TrellisDecoder {
    pub(crate) fn new(codec: TrellisCodec) -> Self {
        Self { codec }
    }

    /// What the decoder must know beside the symbols.
    fn scales(
        &self,
        stored: &StoredSections<'_>,
        rows: usize,
        cols: usize,
    ) -> Result<TensorScales, TensorError> {
        let scales = TensorScales::from_bytes(stored.get(SCALES)?, rows, cols)?;
        Ok(scales.with_zeros(stored_mask(stored, rows, cols)?))
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
        let scales = self.scales(stored, rows, cols)?;
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

    fn open<'a>(
        self: Arc<Self>,
        stored: StoredSections<'a>,
        rows: usize,
        cols: usize,
    ) -> Result<Box<dyn Panels + 'a>, TensorError> {
        let substreams = stored.substreams()?;
        trellis::check_substreams(substreams.len(), rows, cols)?;
        let scales = self.scales(&stored, rows, cols)?;
        Ok(Box::new(TrellisPanels {
            stored: StoredPanels::new(&scales, &substreams, rows, cols)?,
            decoder: self,
            scales,
            rows,
        }))
    }
}

/// A matrix whose panels are its substreams.
#[derive(Debug)]
struct TrellisPanels<'a> {
    decoder: Arc<TrellisDecoder>,
    scales: TensorScales,
    stored: StoredPanels<'a>,
    rows: usize,
}

impl Panels for TrellisPanels<'_> {
    fn columns(&self) -> &[Range<usize>] {
        self.stored.columns()
    }

    fn decode(&self, panel: usize) -> Result<Array2<f32>, TensorError> {
        let width = self.columns().get(panel).map_or(0, Range::len);
        let mut decoded = Array2::zeros((self.rows, width));
        let codec = &self.decoder.codec;
        self.stored
            .decode(codec, &self.scales, panel, decoded.view_mut())?;
        Ok(decoded)
    }
}
