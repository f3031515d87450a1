//! The factor of the second moment of a layer's output gradients: feedback between the rows of a column.

use nwc_chunk::ndarray::Array2;

use crate::{ColumnOrder, Hessian, LdlFactor, Result};

/// `U D Uᵀ` of `G = E[g gᵀ]`, `[out, out]`, block-diagonal; `U` unit upper-triangular.
///
/// With `H = L D_I Lᵀ` of the inputs, the KL divergence that `Δ` adds to second order is `½ tr(Gᵀ Δ H Δᵀ)` where both
/// are independent, and with `E = Uᵀ Δ L` that is `½ Σ_ij D_i D_Ij E_ij²`: rows coded first to last, the error of a row is
/// made up for in the rows after it.
/// Source: the Kronecker-factored Hessian of YAQA (arXiv 2505.22988); here errors feed back on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputFactor {
    d: Vec<f64>,
    feedback: Vec<Array2<f32>>,
}

impl OutputFactor {
    /// Damps the blocks of `G`, from the first row on, by `fraction` of their mean diagonal and factors them.
    ///
    /// # Errors
    /// As [`LdlFactor::ordered`].
    pub fn new(blocks: &[Hessian], fraction: f64) -> Result<Self> {
        let mut d = Vec::new();
        let mut feedback = Vec::with_capacity(blocks.len());
        for block in blocks {
            let factor = LdlFactor::ordered(block, fraction, ColumnOrder::FirstToLast)?;
            d.extend(factor.d_in_hessian_units());
            // Position `n - 1 - i` of the factor is row `i`.
            let (l, n) = (factor.l(), block.dim());
            feedback.push(Array2::from_shape_fn((n, n), |(i, k)| match k < i {
                true => l[[n - 1 - k, n - 1 - i]],
                false => 0.0,
            }));
        }
        Ok(Self { d, feedback })
    }

    /// `D`, `[out]`, in units of `G`: what takes the place of the output Fisher.
    pub fn d(&self) -> &[f64] {
        &self.d
    }

    /// `Uᵀ` left of its diagonal, `[n, n]` for each block: what an error of row `k` weighs in row `i` is `[i, k]`.
    pub fn feedback(&self) -> &[Array2<f32>] {
        &self.feedback
    }

    /// [`OutputFactor::feedback`], handed over.
    pub fn into_feedback(self) -> Vec<Array2<f32>> {
        self.feedback
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::damp;

    fn moments(dim: usize, rng: &mut ChaCha8Rng) -> Hessian {
        let g = Array2::from_shape_fn((3 * dim, dim), |_| rng.random_range(-1.0..1.0_f32));
        let mix = Array2::from_shape_fn((dim, dim), |_| rng.random_range(-1.0..1.0_f32));
        let g = g.dot(&mix);
        Hessian::new((g.t().dot(&g) / (3 * dim) as f32).into(), 1).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn errors_weigh_what_the_moments_say(sizes in prop::collection::vec(1_usize..20, 0..3), seed in any::<u64>()) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let blocks: Vec<Hessian> = sizes.iter().map(|&n| moments(n, &mut rng)).collect();
            let factor = OutputFactor::new(&blocks, 0.01).unwrap();
            let mut start = 0;
            for (block, feedback) in blocks.iter().zip(factor.feedback()) {
                let n = block.dim();
                let e: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
                let damped = damp(block, 0.01).unwrap();
                let unit = block.mean_diagonal();
                let expected: f64 = damped.indexed_iter().map(|((i, k), h)| h * unit * e[i] * e[k]).sum();
                let found: f64 = (0..n)
                    .map(|i| {
                        let fed: f64 = (0..n).map(|k| f64::from(feedback[[i, k]]) * e[k]).sum();
                        factor.d()[start + i] * (e[i] + fed).powi(2)
                    })
                    .sum();
                prop_assert!((found - expected).abs() <= 1e-3 * expected.abs().max(unit), "{found} {expected}");
                start += n;
            }
            prop_assert_eq!(start, factor.d().len());
        }
    }
}
