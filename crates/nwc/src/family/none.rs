//! No family: nothing is coded with loss.

use std::sync::Arc;

use nwc_chunk::ZeroMask;
use nwc_chunk::ndarray::{Array2, ArrayView2};

use super::{CodecFile, CodedMatrix, Layer, MatrixCoder, Room};
use crate::report::Totals;
use crate::{Error, Result};

/// Nothing has sections.
pub(super) const ROOM: Room = Room {
    family: "none",
    parameters: &[],
    sections: |_, _| Vec::new(),
    n_codecs: 0,
};

/// Codes nothing.
#[derive(Debug)]
pub(super) struct Nothing;

impl MatrixCoder for Nothing {
    fn codecs(&self) -> &[CodecFile] {
        &[]
    }

    fn code(
        &self,
        layer: &Layer<'_>,
        _weights: ArrayView2<'_, f32>,
        _zeros: Option<&Arc<ZeroMask>>,
    ) -> Result<(CodedMatrix, Array2<f32>)> {
        Err(Error::NoSuchTensor {
            path: "the plan".into(),
            tensor: layer.name().into(),
        })
    }

    fn missed_by(&self, _totals: &Totals) -> Option<f64> {
        None
    }
}
