//! Coding linears one by one for somebody who tunes the rest of the model in between.

use std::collections::BTreeMap;

use nwc_chunk::ndarray::{Array2, Axis};
use nwc_chunk::row_scales;

use crate::family::{CodedMatrix, Layer, Layers, MatrixCoder};
use crate::survey::Plan;
use crate::{Error, Result};

/// Codes the linears of one checkpoint, with the codec and statistics of one compression.
#[derive(Debug)]
pub struct LinearCoder<'a> {
    coder: &'a dyn MatrixCoder,
    layers: &'a Layers<'a>,
    plan: &'a Plan<'a>,
}

/// A linear as the decoder will see it: each row of `normalized` times its row scale.
#[derive(Debug, Clone)]
pub struct CodedLinear {
    /// What will be stored.
    pub coded: CodedMatrix,
    /// `[out, in]`; fixed by the symbols.
    pub normalized: Array2<f32>,
    /// `[out]`; may be tuned, see [`CodedLinear::tuned`].
    pub row_scales: Vec<f32>,
}

/// What a tuned model is stored as.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Coded linears by tensor name.
    pub coded: BTreeMap<String, CodedMatrix>,
    /// New values of tensors that are stored as they are or still to be coded, by name, in the order of the stored tensor.
    pub values: BTreeMap<String, Vec<f32>>,
}

impl<'a> LinearCoder<'a> {
    pub(super) fn new(
        coder: &'a dyn MatrixCoder,
        layers: &'a Layers<'a>,
        plan: &'a Plan<'a>,
    ) -> Self {
        Self {
            coder,
            layers,
            plan,
        }
    }

    /// Names of the tensors that compression codes, embeddings among them.
    pub fn coded_names(&self) -> impl Iterator<Item = &str> {
        self.layers.all().iter().map(Layer::name)
    }

    /// Whether the weight tensor `name` is stored `[in, out]`; what is handed over here is `[out, in]` always.
    pub fn is_transposed(&self, name: &str) -> bool {
        self.layers.guide().is_transposed(name)
    }

    /// Codes the tensor `name` with the checkpoint's own weights; `None` where compression would not code it.
    ///
    /// # Errors
    /// As [`LinearCoder::code`].
    pub fn code_original(&self, name: &str) -> Result<Option<CodedLinear>> {
        match self.layers.find(name) {
            Some(layer) => self.code(name, &layer.weights()?),
            None => Ok(None),
        }
    }

    /// Codes the linear whose weight tensor is `name`, with `weights` `[out, in]` in place of the checkpoint's;
    /// `None` where compression would not code it.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::Argument`], [`Error::Tensor`].
    pub fn code(&self, name: &str, weights: &Array2<f32>) -> Result<Option<CodedLinear>> {
        let Some(layer) = self.layers.find(name) else {
            let is_there = self.plan.tensors().any(|p| p.tensor.name == name);
            return match is_there {
                true => Ok(None),
                false => Err(Error::NoSuchTensor {
                    path: "the checkpoint".into(),
                    tensor: name.into(),
                }),
            };
        };
        if weights.dim() != (layer.rows, layer.cols) {
            return Err(Error::Argument {
                argument: "shape of the weights",
                found: format!("{:?}", weights.dim()),
                allowed: format!("({}, {}), the shape of {name}", layer.rows, layer.cols),
            });
        }
        let (coded, mut normalized) = self.layers.code(self.coder, layer, weights.view())?;
        // One unit for all families: rows of unit deviation, and what they are to be multiplied by.
        let row_scales: Vec<f32> = row_scales(weights.view())
            .iter()
            .map(|s| s.to_f32())
            .collect();
        for (mut row, scale) in normalized.axis_iter_mut(Axis(0)).zip(&row_scales) {
            row /= *scale;
        }
        Ok(Some(CodedLinear {
            coded,
            normalized,
            row_scales,
        }))
    }
}

impl CodedLinear {
    /// What the decoder will give, `[out, in]`.
    pub fn decoded(&self) -> Array2<f32> {
        let mut decoded = self.normalized.clone();
        for (mut row, scale) in decoded.axis_iter_mut(Axis(0)).zip(&self.row_scales) {
            row *= *scale;
        }
        decoded
    }

    /// What to store once `row_scales` have been tuned.
    pub fn tuned(mut self, row_scales: &[f32]) -> CodedMatrix {
        let gains: Vec<f32> = row_scales
            .iter()
            .zip(&self.row_scales)
            .map(|(tuned, original)| tuned / original)
            .collect();
        self.coded.set_gains(&gains);
        self.coded
    }
}
