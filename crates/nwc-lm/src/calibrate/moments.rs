//! Second moments of the gradients at a block's linears: which errors of different outputs add up.

use std::collections::BTreeMap;

use ndarray::Array2;
use tch::{Kind, Tensor};

use super::StatisticsSink;
use crate::error::{Error, Result};
use crate::model::{Block, LinearInfo};
use crate::tensors::{all_finite, to_matrix};

/// Outputs in a diagonal block of the moments: taller matrices would cost the square of their height in memory.
const BLOCK_ROWS: usize = 2048;

/// Σ g gᵀ of one block's linears by weight name, in diagonal blocks.
#[derive(Default)]
pub(super) struct Moments {
    /// Empty where moments are not wanted.
    sums: BTreeMap<String, Vec<Tensor>>,
}

impl Moments {
    /// Sums for the linears of `block` that `sink` wants moments of and does not have.
    pub(super) fn of(block: &Block, sink: &dyn StatisticsSink) -> Self {
        let mut sums = BTreeMap::new();
        for linear in block.linears() {
            let name = &linear.info().weight_name;
            if sink.wants_output_moments() && !sink.has_output_moments(name) {
                sums.insert(name.clone(), Vec::new());
            }
        }
        Self { sums }
    }

    /// Adds the tokens of `gradient`, `[.., out]`.
    pub(super) fn add(&mut self, linear: &LinearInfo, gradient: &Tensor) -> Result<()> {
        let Some(sums) = self.sums.get_mut(&linear.weight_name) else {
            return Ok(());
        };
        let tokens = gradient.f_reshape([-1, linear.n_out as i64])?;
        for (idx, start) in (0..linear.n_out).step_by(BLOCK_ROWS).enumerate() {
            let width = BLOCK_ROWS.min(linear.n_out - start) as i64;
            let part = tokens.f_narrow(1, start as i64, width)?;
            // Products of a batch in f32, their sum over batches in f64.
            let product = part
                .f_transpose(0, 1)?
                .f_mm(&part)?
                .f_to_kind(Kind::Double)?;
            match sums.get_mut(idx) {
                Some(sum) => drop(sum.f_add_(&product)?),
                None => sums.push(product),
            }
        }
        Ok(())
    }

    /// Gives `sink` the means over `n_tokens`; a linear that no token reached gets none.
    pub(super) fn finish(
        self,
        block: &str,
        n_tokens: f64,
        sink: &mut dyn StatisticsSink,
    ) -> Result<()> {
        for (name, sums) in self.sums {
            if sums.is_empty() {
                continue;
            }
            let mut blocks: Vec<Array2<f32>> = Vec::with_capacity(sums.len());
            for sum in sums {
                let mean = sum.f_div_scalar(n_tokens)?;
                if !all_finite(&mean)? {
                    return Err(Error::NonFinite {
                        block: block.to_owned(),
                    });
                }
                blocks.push(to_matrix(&mean)?);
            }
            sink.output_moments(&name, blocks)?;
        }
        Ok(())
    }
}
