//! The matrices of one compression as a family sees them: shapes, weights, and what guides their coding.

use std::path::Path;
use std::sync::Arc;

use nwc_chunk::ZeroMask;
use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_format::DType;

use super::harm::worse_than_zeros;
use super::zeros::{ZeroLanes, lanes_section, mask_section};
use super::{CodedMatrix, MatrixCoder, RowExponents};
use crate::error::TensorError;
use crate::options::Cancel;
use crate::role::Role;
use crate::survey::{Guidance, Guide, Keep, Planned};
use crate::{Error, Result};

/// A matrix that is coded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) role: Role,
    /// Output features, rows of the matrix as it is coded.
    pub(crate) rows: usize,
    /// Input features.
    pub(crate) cols: usize,
    /// Whether the tensor is stored `[in, out]`.
    pub(crate) is_transposed: bool,
    planned: &'a Planned<'a>,
}

/// All matrices of one compression, in file order, with their statistics.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    layers: Vec<Layer<'a>>,
    guide: &'a Guide,
    cancel: Cancel<'a>,
}

impl<'a> Layer<'a> {
    /// The layer of a tensor that is planned to be coded as a `rows` × `cols` matrix.
    pub(crate) fn new(
        planned: &'a Planned<'a>,
        role: Role,
        (rows, cols): (usize, usize),
        guide: &Guide,
    ) -> Self {
        let is_transposed = guide.is_transposed(&planned.tensor.name);
        let (rows, cols) = match is_transposed {
            true => (cols, rows),
            false => (rows, cols),
        };
        Self {
            role,
            rows,
            cols,
            is_transposed,
            planned,
        }
    }

    /// Name of its weight tensor.
    pub(crate) fn name(&self) -> &'a str {
        &self.planned.tensor.name
    }

    /// Its weights in the checkpoint, `[out, in]`.
    pub(crate) fn weights(&self) -> Result<Array2<f32>> {
        self.matrix_of(self.planned.weights()?)
    }

    /// Which of its weights are zero in the checkpoint, where so many are that they are coded as a mask.
    pub(crate) fn zeros(&self) -> Result<Option<Arc<ZeroMask>>> {
        match self.planned.values.is_sparse {
            true => Ok(Some(Arc::new(ZeroMask::of(self.weights()?.view())))),
            false => Ok(None),
        }
    }

    /// Its weights in the checkpoint as they are coded, `[out, in]`, with what their rows were divided by.
    pub(crate) fn scaled_weights(&self) -> Result<(Array2<f32>, RowExponents)> {
        let weights = self.weights()?;
        let exponents = RowExponents::of(weights.view());
        Ok(match exponents.is_empty() {
            true => (weights, exponents),
            false => (exponents.divide(weights.view()).into_owned(), exponents),
        })
    }

    /// `values` in the order of the stored tensor as a matrix, `[out, in]`.
    pub(crate) fn matrix_of(&self, values: Vec<f32>) -> Result<Array2<f32>> {
        let stored = match self.is_transposed {
            true => (self.cols, self.rows),
            false => (self.rows, self.cols),
        };
        let found = values.len();
        let matrix = Array2::from_shape_vec(stored, values).map_err(|_| {
            self.wrong(TensorError::Record {
                what: "number of values",
                found: found.to_string(),
                expected: format!("{} × {}", stored.0, stored.1),
            })
        })?;
        Ok(match self.is_transposed {
            true => matrix.t().as_standard_layout().into_owned(),
            false => matrix,
        })
    }

    /// Dtype of the stored tensor.
    pub(crate) fn dtype(&self) -> DType {
        self.planned.tensor.dtype
    }

    /// Weights of the matrix.
    pub(crate) fn n_weights(&self) -> usize {
        self.rows * self.cols
    }

    /// The error with the layer's file and name.
    pub(crate) fn wrong(&self, source: impl Into<TensorError>) -> Error {
        Error::tensor(self.path(), self.name(), source)
    }

    fn path(&self) -> &Path {
        self.planned.shard.path()
    }
}

impl<'a> Layers<'a> {
    /// The layers of a plan.
    pub(crate) fn new(layers: Vec<Layer<'a>>, guide: &'a Guide, cancel: Cancel<'a>) -> Self {
        Self {
            layers,
            guide,
            cancel,
        }
    }

    /// Where coding asks whether it is still wanted.
    pub(crate) fn cancel(&self) -> Cancel<'a> {
        self.cancel
    }

    /// All layers, in file order.
    pub(crate) fn all(&self) -> &[Layer<'a>] {
        &self.layers
    }

    /// What is known of a layer; [`Keep::Yes`] where it will be asked for again.
    pub(crate) fn guidance(&self, layer: &Layer<'_>, keep: Keep) -> Result<Arc<Guidance>> {
        let shape = (layer.rows, layer.cols);
        self.guide
            .layer(layer.name(), shape, keep, |e| layer.wrong(e))
    }

    /// The layer of the tensor `name`, where it is coded.
    pub(crate) fn find(&self, name: &str) -> Option<&Layer<'a>> {
        self.layers.iter().find(|layer| layer.name() == name)
    }

    /// Codes `weights`, `[out, in]`, in place of the checkpoint's own for `layer`; gives what the decoder will make of it,
    /// too.
    pub(crate) fn code(
        &self,
        coder: &dyn MatrixCoder,
        layer: &Layer<'_>,
        weights: ArrayView2<'_, f32>,
    ) -> Result<(CodedMatrix, Array2<f32>)> {
        let exponents = RowExponents::of(weights);
        // Those of the checkpoint: weights that were tuned must not fill what was pruned.
        let zeros = layer.zeros()?;
        let scaled = exponents.divide(weights);
        let (mut coded, mut decoded) = coder.code(layer, scaled.view(), zeros.as_ref())?;
        exponents.multiply(decoded.view_mut());
        coded.sections.extend(exponents.section());
        let mut is_changed = !exponents.is_empty();
        if let Some(zeros) = &zeros {
            let section = mask_section(zeros).map_err(|e| layer.wrong(e))?;
            coded.sections.push(section);
        } else {
            let lanes = ZeroLanes::of(weights);
            if !lanes.hold_in(decoded.view()) {
                let cols = decoded.ncols();
                lanes.clear(decoded.view_mut(), 0..cols);
                coded.sections.push(lanes_section(&lanes));
                is_changed = true;
            }
        }
        let guidance = || self.guidance(layer, Keep::No);
        let worse = worse_than_zeros(weights, decoded.view(), layer.dtype(), guidance)?;
        if !worse.is_empty() {
            coded.clear_rows(weights.nrows(), &worse);
            for &row in &worse {
                decoded.row_mut(row).fill(0.0);
            }
            is_changed = true;
        }
        if is_changed {
            coded.measure(weights, decoded.view());
        }
        if layer.is_transposed {
            coded.mark_transposed();
        }
        Ok((coded, decoded))
    }

    /// What guides the coding.
    pub(crate) fn guide(&self) -> &'a Guide {
        self.guide
    }
}
