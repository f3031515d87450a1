//! The curvature of whole windows: the cost of weight errors, which are the same at every token of a window.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::{Statistic, StatisticKind, StatisticsSink, put, refused};
use crate::error::{Error, Result};
use crate::model::{Block, LinearInfo};
use crate::tensors::{all_finite, from_matrix, to_matrix, to_vec_f32};

/// Weight of pairs of different tokens: sums over pairs are noisier than sums over single tokens. Chosen by measurement on
/// SmolLM2 (`docs/RESULTS.md`).
const PAIR_SHARE: f64 = 2.0 / 3.0;
/// Damping of the Hessian before it is inverted, as a fraction of its mean diagonal.
const DAMPING: f64 = 0.01;
/// Lower bound of an output's gradient energy, as a fraction of the mean over outputs.
const ROW_FLOOR: f64 = 1e-3;

/// Sums of one linear over windows.
struct Sum {
    /// H⁻¹ of the linear's input over its effective rank, `[in, in]`.
    inverse: Tensor,
    /// `[in, in]` and `[out]`, f64; `None` until the first token.
    sums: Option<(Tensor, Tensor)>,
}

/// Sums of one block's linears by weight name.
#[derive(Default)]
pub(super) struct Curvatures {
    sums: BTreeMap<String, Sum>,
}

impl Curvatures {
    /// Sums for the linears of `block` whose curvature `sink` does not have yet; it gives their Hessians.
    pub(super) fn of(block: &Block, sink: &dyn StatisticsSink) -> Result<Self> {
        let mut curvatures = Self::default();
        let mut inverses: BTreeMap<&str, Tensor> = BTreeMap::new();
        for linear in block.linears() {
            let info = linear.info();
            if sink.has(StatisticKind::Curvature, &info.weight_name) {
                continue;
            }
            let inverse = match inverses.get(info.input_key.as_str()) {
                Some(inverse) => inverse.shallow_clone(),
                None => {
                    let stored = sink.hessian(&info.input_key);
                    let Some(hessian) = stored.map_err(|e| refused(&info.input_key, e))? else {
                        continue;
                    };
                    let device = linear.effective_weight()?.device();
                    let inverse = damped_inverse(&from_matrix(&hessian, device)?)?;
                    inverses.insert(&info.input_key, inverse.shallow_clone());
                    inverse
                }
            };
            let sum = Sum {
                inverse,
                sums: None,
            };
            curvatures.sums.insert(info.weight_name.clone(), sum);
        }
        Ok(curvatures)
    }

    /// Adds a linear's `input`, `[windows, tokens, in]`, and `gradient` at its output, `[windows, tokens, out]`.
    ///
    /// An expert's tokens come as `[n, in]`, without their windows; they count as one window. The labels of different
    /// windows are drawn independently, so this has the same mean.
    pub(super) fn add(
        &mut self,
        linear: &LinearInfo,
        input: &Tensor,
        gradient: &Tensor,
    ) -> Result<()> {
        let Some(sum) = self.sums.get_mut(&linear.weight_name) else {
            return Ok(());
        };
        let windows = |tensor: &Tensor, width: usize| match tensor.dim() {
            3 => Ok(tensor.shallow_clone()),
            _ => tensor.f_reshape([1, -1, width as i64]),
        };
        let input = windows(input, linear.n_in)?;
        let gradient = windows(gradient, linear.n_out)?;
        for window_idx in 0..input.size3()?.0 {
            let tokens = (
                &input.f_select(0, window_idx)?,
                &gradient.f_select(0, window_idx)?,
            );
            // Products of a window in f32, their sum over windows in f64.
            let (cols, rows) = window_curvature(tokens, &sum.inverse)?;
            match &mut sum.sums {
                Some((all_cols, all_rows)) => {
                    drop(all_cols.f_add_(&cols)?);
                    drop(all_rows.f_add_(&rows)?);
                }
                None => sum.sums = Some((cols.f_to_kind(Kind::Double)?, rows)),
            }
        }
        Ok(())
    }

    /// Stores the means over `n_tokens` in `sink`; a linear that no token reached gets none.
    pub(super) fn finish(
        self,
        block: &str,
        n_tokens: f64,
        sink: &mut dyn StatisticsSink,
    ) -> Result<()> {
        for (name, sum) in self.sums {
            let Some((cols, rows)) = sum.sums else {
                continue;
            };
            // A product in f32 need not be symmetric to the last bit.
            let cols = cols.f_add(&cols.f_transpose(0, 1)?)?;
            let cols = cols.f_div_scalar(2.0 * n_tokens)?.f_to_kind(Kind::Float)?;
            let rows = rows.f_div_scalar(n_tokens)?.f_to_kind(Kind::Float)?;
            if !all_finite(&cols)? || !all_finite(&rows)? {
                return Err(Error::NonFinite {
                    block: block.to_owned(),
                });
            }
            let (cols, rows) = (to_matrix(&cols)?, to_vec_f32(&rows)?);
            put(sink, &name, Statistic::Curvature { cols, rows })?;
        }
        Ok(())
    }
}

/// The contribution of one window, from its `[tokens, in]` inputs and `[tokens, out]` gradients: `[in, in]` in f32, `[out]` in f64.
///
/// With `G = Σ_t g_t x_tᵀ` and each output's gradients weighted by `u_i = 1 / Σ_t g_ti²`, so that every output and
/// every window has equal weight: `Σ_st (g_sᵀ U g_t) x_s x_tᵀ` with the pairs of different tokens shrunk, and `G_i inverse G_iᵀ`.
fn window_curvature(
    (input, gradient): (&Tensor, &Tensor),
    inverse: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let squares = gradient.f_square()?;
    let energy = squares.f_sum_dim_intlist(0, false, Kind::Float)?;
    let floor = energy.f_mean(Kind::Float)?.f_mul_scalar(ROW_FLOOR)?;
    // A window without gradients adds nothing.
    let weights = energy
        .f_add(&floor)?
        .f_clamp_min(f64::from(f32::MIN_POSITIVE))?
        .f_reciprocal()?;
    let of_weights = gradient.f_transpose(0, 1)?.f_mm(input)?;
    let weighted = of_weights.f_mul(&weights.f_unsqueeze(1)?)?;
    let of_pairs = of_weights.f_transpose(0, 1)?.f_mm(&weighted)?;
    let of_token = squares.f_mv(&weights)?;
    let of_tokens = input
        .f_transpose(0, 1)?
        .f_mm(&input.f_mul(&of_token.f_unsqueeze(1)?)?)?;
    let cols = of_pairs
        .f_mul_scalar(PAIR_SHARE)?
        .f_add(&of_tokens.f_mul_scalar(1.0 - PAIR_SHARE)?)?;
    let rows = of_weights
        .f_mm(inverse)?
        .f_mul(&of_weights)?
        .f_sum_dim_intlist(1, false, Kind::Double)?;
    Ok((cols, rows))
}

/// `(H + λ)⁻¹ / tr((H + λ)⁻¹ H)`, so that `E[x_tᵀ · x_t]` through it is 1; for a Hessian of zeros the identity over `in`.
fn damped_inverse(hessian: &Tensor) -> Result<Tensor> {
    let hessian = hessian.f_to_kind(Kind::Double)?;
    let n = hessian.size2()?.0;
    let mean = hessian.f_trace()?.f_double_value(&[])? / n.max(1) as f64;
    let floor = if mean > 0.0 { DAMPING * mean } else { 1.0 };
    let identity = Tensor::f_eye(n, (Kind::Double, hessian.device()))?;
    let damped = hessian.f_add(&identity.f_mul_scalar(floor)?)?;
    let inverse = damped.f_linalg_cholesky(false)?.f_cholesky_inverse(false)?;
    let rank = match mean > 0.0 {
        true => n as f64 - floor * inverse.f_trace()?.f_double_value(&[])?,
        false => n.max(1) as f64,
    };
    Ok(inverse.f_div_scalar(rank)?.f_to_kind(Kind::Float)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(shape: &[i64], seed: u64) -> Tensor {
        let n = shape.iter().product::<i64>() as usize;
        let values = crate::calibrate::uniform(seed, 0, n);
        Tensor::from_slice(&values).reshape(shape) - 0.5
    }

    fn error(found: &Tensor, expected: &Tensor) -> f64 {
        let found = found.to_kind(Kind::Double);
        let error = (found - expected).abs().max() / expected.abs().max();
        error.double_value(&[])
    }

    #[test]
    fn a_window_gives_the_sums_over_its_pairs_of_tokens() {
        let (n_tokens, n_in, n_out) = (5, 3, 4);
        let input = uniform(&[n_tokens, n_in], 1);
        let gradient = uniform(&[n_tokens, n_out], 2);
        let hessian = input.transpose(0, 1).mm(&input);
        let inverse = damped_inverse(&hessian).unwrap();
        let (cols, rows) = window_curvature((&input, &gradient), &inverse).unwrap();

        let (x, g) = (input.to_kind(Kind::Double), gradient.to_kind(Kind::Double));
        let energy = g.square().sum_dim_intlist(0, false, Kind::Double);
        let u = (&energy + energy.mean(Kind::Double) * ROW_FLOOR).reciprocal();
        let mut expected_cols = Tensor::zeros([n_in, n_in], (Kind::Double, x.device()));
        let mut expected_rows = Tensor::zeros([n_out], (Kind::Double, x.device()));
        for s in 0..n_tokens {
            for t in 0..n_tokens {
                let share = if s == t { 1.0 } else { PAIR_SHARE };
                let alike = (g.get(s) * &u * g.get(t)).sum(Kind::Double);
                expected_cols += x.get(s).outer(&x.get(t)) * alike * share;
                let by_inputs = x.get(s).dot(&inverse.to_kind(Kind::Double).mv(&x.get(t)));
                expected_rows += g.get(s) * g.get(t) * by_inputs;
            }
        }
        assert!(error(&cols, &expected_cols) < 1e-5, "{cols}");
        assert!(error(&rows, &expected_rows) < 1e-5, "{rows}");
    }

    #[test]
    fn a_window_without_gradients_adds_nothing() {
        let input = uniform(&[2, 3], 1);
        let inverse = Tensor::eye(3, (Kind::Float, input.device()));
        let (cols, rows) =
            window_curvature((&input, &uniform(&[2, 4], 2).zeros_like()), &inverse).unwrap();
        assert_eq!(cols.abs().max().double_value(&[]), 0.0);
        assert_eq!(rows.abs().max().double_value(&[]), 0.0);
    }

    #[test]
    fn a_hessian_of_zeros_has_an_inverse() {
        let inverse = damped_inverse(&Tensor::zeros([2, 2], (Kind::Float, tch::Device::Cpu)));
        assert_eq!(
            to_matrix(&inverse.unwrap()).unwrap(),
            ndarray::Array2::<f32>::eye(2) / 2.0
        );
    }
}
