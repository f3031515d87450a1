//! Sums of x xᵀ over the inputs of a block's linears.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::{Statistic, StatisticKind, StatisticsSink, put};
use crate::error::{Error, Result};
use crate::model::{LinearInfo, Tap};
use crate::tensors::{all_finite, to_matrix};

/// One input's running sum.
#[derive(Debug)]
struct Sum {
    info: LinearInfo,
    /// The weight names of the linears that read this input.
    linears: Vec<String>,
    /// Σ x xᵀ (at the end, its mean) in f64 on the model's device, only the block columns from the diagonal down;
    /// `None` until the first token.
    sum: Option<Tensor>,
    n_tokens: u64,
}

/// Collects the Hessians of one block.
pub(super) struct HessianTap {
    /// By input key.
    sums: BTreeMap<String, Sum>,
    /// Keys in the order of execution.
    order: Vec<String>,
}

impl HessianTap {
    /// Sums for all inputs of `linears` that `sink` does not have yet.
    pub(super) fn new(linears: &[&LinearInfo], sink: &dyn StatisticsSink) -> Self {
        let mut tap = Self {
            sums: BTreeMap::new(),
            order: Vec::new(),
        };
        for info in linears {
            if sink.has(StatisticKind::Hessian, &info.input_key) {
                continue;
            }
            let sum = tap.sums.entry(info.input_key.clone()).or_insert_with(|| {
                tap.order.push(info.input_key.clone());
                Sum {
                    info: (*info).clone(),
                    linears: Vec::new(),
                    sum: None,
                    n_tokens: 0,
                }
            });
            sum.linears.push(info.weight_name.clone());
        }
        tap
    }

    /// Stores the means in `sink` and adds the inputs of experts without tokens to `unseen`.
    pub(super) fn finish(
        mut self,
        block: &str,
        sink: &mut dyn StatisticsSink,
        unseen: &mut Vec<String>,
    ) -> Result<()> {
        for sum in self.sums.values_mut() {
            let n_tokens = sum.n_tokens as f64;
            if let Some(total) = &mut sum.sum {
                drop(total.f_div_scalar_(n_tokens)?);
            }
        }
        for input_key in &self.order {
            let Some(sum) = self.sums.get(input_key) else {
                continue;
            };
            let mean = match &sum.sum {
                Some(mean) => mean.f_to_kind(Kind::Float)?,
                None => {
                    let n_experts = self.siblings(sum).count();
                    tracing::warn!(input_key, n_experts, "no token reached this expert");
                    unseen.push(input_key.clone());
                    self.sibling_mean(sum)?.f_to_kind(Kind::Float)?
                }
            };
            let mean = mirrored(&mean)?;
            if !all_finite(&mean)? {
                return Err(Error::NonFinite {
                    block: block.to_owned(),
                });
            }
            let hessian = Statistic::Hessian {
                linears: sum.linears.clone(),
                n_tokens: sum.n_tokens,
                values: to_matrix(&mean)?,
            };
            put(sink, input_key, hessian)?;
        }
        Ok(())
    }

    /// The same input of those of the block's other experts that saw tokens.
    fn siblings<'a>(&'a self, of: &'a Sum) -> impl Iterator<Item = &'a Sum> {
        let role = expert_role(&of.info);
        self.sums.values().filter(move |other| {
            other.sum.is_some() && role.is_some() && expert_role(&other.info) == role
        })
    }

    /// The mean of the siblings' means, lower triangle; the identity if there are none.
    fn sibling_mean(&self, of: &Sum) -> Result<Tensor> {
        let means: Vec<&Tensor> = self
            .siblings(of)
            .filter_map(|sibling| sibling.sum.as_ref())
            .collect();
        let Some((first, rest)) = means.split_first() else {
            return Ok(Tensor::f_eye(
                of.info.n_in as i64,
                (Kind::Double, tch::Device::Cpu),
            )?);
        };
        let mut mean = first.shallow_clone();
        for sibling in rest {
            mean = mean.f_add(sibling)?;
        }
        Ok(mean.f_div_scalar(means.len() as f64)?)
    }
}

/// The part of an expert's weight name that all experts of the block share; `None` outside experts.
pub(super) fn expert_role(info: &LinearInfo) -> Option<&str> {
    let idx = info.expert_idx?;
    info.weight_name
        .rsplit_once(&format!(".{idx}."))
        .map(|(_, role)| role)
}

/// Adds xᵀ x of `tokens` `[n, in]` to the block columns of `total` from the diagonal down: 7/12 of the whole product.
fn add_lower(total: &Tensor, tokens: &Tensor) -> Result<()> {
    let n_in = tokens.size2()?.1;
    let width = (n_in / 6).max(64);
    for start in (0..n_in).step_by(width as usize) {
        let width = width.min(n_in - start);
        let below = tokens.f_narrow(1, start, n_in - start)?.f_transpose(0, 1)?;
        let product = below.f_mm(&tokens.f_narrow(1, start, width)?)?;
        let mut part = total
            .f_narrow(0, start, n_in - start)?
            .f_narrow(1, start, width)?;
        drop(part.f_add_(&product)?);
    }
    Ok(())
}

/// The full symmetric matrix of what [`add_lower`] summed.
fn mirrored(total: &Tensor) -> Result<Tensor> {
    Ok(total
        .f_tril(0)?
        .f_add(&total.f_tril(-1)?.f_transpose(0, 1)?)?)
}

impl Tap for HessianTap {
    fn input(&mut self, linear: &LinearInfo, input: &Tensor) -> Result<()> {
        // Each linear reports its input, also a shared one; only the first linear's report counts.
        if linear.input_key != linear.weight_name {
            return Ok(());
        }
        let Some(sum) = self.sums.get_mut(&linear.input_key) else {
            return Ok(());
        };
        let tokens = input
            .f_reshape([-1, linear.n_in as i64])?
            .f_to_kind(Kind::Double)?;
        let total = match &sum.sum {
            Some(total) => total.shallow_clone(),
            None => {
                let n_in = linear.n_in as i64;
                let zeros = Tensor::f_zeros([n_in, n_in], (Kind::Double, tokens.device()))?;
                sum.sum.insert(zeros).shallow_clone()
            }
        };
        add_lower(&total, &tokens)?;
        sum.n_tokens += tokens.size2()?.0 as u64;
        Ok(())
    }
}
