//! Coding linears one by one for somebody who tunes the rest of the model in between.

use std::collections::BTreeMap;

use nwc_chunk::ndarray::{Array2, Axis};
use nwc_chunk::row_scales;

use crate::coder::CodedMatrix;
use crate::coders::Coders;
use crate::plan::{Plan, Treatment};
use crate::{Error, Result};

/// Codes the linears of one checkpoint, with the codec and statistics of one compression.
#[derive(Debug)]
pub struct LinearCoder<'a> {
    pub(crate) coders: &'a Coders<'a>,
    pub(crate) plan: &'a Plan<'a>,
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
    /// New values of tensors that are stored as they are, by name.
    pub values: BTreeMap<String, Vec<f32>>,
}

impl LinearCoder<'_> {
    /// Names of the tensors that compression codes, embeddings among them.
    pub fn coded_names(&self) -> impl Iterator<Item = &str> {
        self.plan
            .coded()
            .map(|(planned, ..)| planned.tensor.name.as_str())
    }

    /// Whether the weight tensor `name` is stored `[in, out]`; what is handed over here is `[out, in]` always.
    pub fn is_transposed(&self, name: &str) -> bool {
        self.coders.is_transposed(name)
    }

    /// Codes the tensor `name` with the checkpoint's own weights; `None` where compression would not code it.
    ///
    /// # Errors
    /// As [`LinearCoder::code`].
    pub fn code_original(&self, name: &str) -> Result<Option<CodedLinear>> {
        let Some((planned, _, rows, cols)) = self
            .plan
            .coded()
            .find(|(planned, ..)| planned.tensor.name == name)
        else {
            return Ok(None);
        };
        let (weights, _) = planned.linear((rows, cols), self.is_transposed(name))?;
        self.code(name, &weights)
    }

    /// Codes the linear whose weight tensor is `name`, with `weights` `[out, in]` in place of the checkpoint's;
    /// `None` where compression would not code it.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::Tensor`].
    pub fn code(&self, name: &str, weights: &Array2<f32>) -> Result<Option<CodedLinear>> {
        let planned = self
            .plan
            .shards
            .iter()
            .flatten()
            .find(|p| p.tensor.name == name)
            .ok_or_else(|| Error::NoSuchTensor {
                path: "the checkpoint".into(),
                tensor: name.into(),
            })?;
        let Treatment::Code { role, rows, cols } = planned.treatment else {
            return Ok(None);
        };
        let (rows, cols) = match self.coders.is_transposed(name) {
            true => (cols, rows),
            false => (rows, cols),
        };
        if weights.dim() != (rows, cols) {
            return Err(Error::Argument {
                argument: "shape of the weights",
                found: format!("{:?}", weights.dim()),
                allowed: format!("({rows}, {cols}), the shape of {name}"),
            });
        }
        let (coded, mut normalized) = self.coders.code_linear(planned, role, weights.view())?;
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
