//! The factor multiplied out again, and Hessians that have none.

use nwc_chunk::ndarray::{Array1, Array2, array};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::testing::damped;

fn random_hessian(dim: usize, n_tokens: usize, seed: u64) -> Hessian {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x = Array2::from_shape_fn((n_tokens, dim), |_| rng.random_range(-1.0..1.0_f32));
    let h = x.t().dot(&x) / n_tokens as f32;
    Hessian::new(h.into(), n_tokens as u64).unwrap()
}

impl LdlFactor {
    /// The block version of `L`, `[in, in]`, by position, as `docs/METHOD.md` 1.7 defines it: each block column of `L`
    /// right-multiplied by the inverse of its diagonal block, so that the diagonal blocks are identities.
    pub(crate) fn block_unit_lower(&self, block_cols: usize) -> Array2<f32> {
        let mut l = self.l.mapv(f64::from);
        for start in (0..self.dim()).step_by(block_cols) {
            let end = (start + block_cols).min(self.dim());
            // Solves X · L[block, block] = L[.., block] row by row, last column first.
            for mut row in l.rows_mut().into_iter().skip(start) {
                for j in (start..end).rev() {
                    let solved = row[j];
                    for i in start..j {
                        row[i] -= f64::from(self.l[[j, i]]) * solved;
                    }
                }
            }
        }
        l.mapv(|x| x as f32)
    }
}

/// Factors and multiplies out, whole and in blocks.
#[track_caller]
fn check(hessian: &Hessian, block_cols: usize) -> LdlFactor {
    let factor = LdlFactor::new(hessian, PAPER_DAMPING).unwrap();
    let dim = hessian.dim();
    let damped = damped(hessian, factor.damping());
    let l = factor.l().mapv(f64::from);
    for ((i, j), &x) in l.indexed_iter() {
        match i.cmp(&j) {
            std::cmp::Ordering::Less => assert_eq!(x, 0.0),
            std::cmp::Ordering::Equal => assert_eq!(x, 1.0),
            std::cmp::Ordering::Greater => {}
        }
    }
    let d = Array2::from_diag(&Array1::from(factor.d().to_vec()));
    assert_close(&l.dot(&d).dot(&l.t()), &damped);

    // H = L_b D_b L_bᵀ with D_b block diagonal: D_b = B D Bᵀ, B the diagonal blocks of L.
    let mut blocks = l.clone();
    for ((i, j), x) in blocks.indexed_iter_mut() {
        if i / block_cols != j / block_cols {
            *x = 0.0;
        }
    }
    let l_b = factor.block_unit_lower(block_cols).mapv(f64::from);
    for ((i, j), &x) in l_b.indexed_iter() {
        if i / block_cols == j / block_cols {
            assert!(
                (x - f64::from(u8::from(i == j))).abs() < 1e-6,
                "identity blocks"
            );
        }
    }
    let d_b = blocks.dot(&d).dot(&blocks.t());
    assert_close(&l_b.dot(&d_b).dot(&l_b.t()), &damped);

    let units = factor.d_in_hessian_units();
    assert_eq!(units.len(), dim);
    for (unit, d) in units.iter().zip(factor.d()) {
        assert_eq!(*unit, d * hessian.mean_diagonal());
    }
    factor
}

#[track_caller]
fn assert_close(found: &Array2<f64>, expected: &Array2<f64>) {
    for (&f, &e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-5, "{f} against {e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_factor_multiplies_out(
        dim in 0_usize..40,
        n_tokens in 1_usize..60,
        block_cols in 1_usize..45,
        seed in any::<u64>(),
    ) {
        // Fewer tokens than inputs: singular without damping.
        let factor = check(&random_hessian(dim, n_tokens, seed), block_cols);
        prop_assert_eq!(factor.damping(), PAPER_DAMPING);
        prop_assert!(factor.d().iter().all(|&d| d >= 0.99 * PAPER_DAMPING));
    }
}

#[test]
fn a_large_factor_multiplies_out() {
    check(&random_hessian(200, 300, 1), 128);
}

#[test]
fn dead_inputs_are_damped() {
    let hessian = Hessian::new(array![[4.0, 0.0], [0.0, 0.0]].into(), 1).unwrap();
    let factor = check(&hessian, 1);
    assert!((factor.d()[1] - PAPER_DAMPING).abs() < 1e-12);
}

#[test]
fn damping_is_raised_until_there_is_a_factor() {
    // Off-diagonal larger than the diagonal: eigenvalues -0.5 and 2.5 of the mean.
    let hessian = Hessian::new(array![[1.0, 1.5], [1.5, 1.0]].into(), 1).unwrap();
    assert_eq!(LdlFactor::new(&hessian, 0.01).unwrap().damping(), 1.0);
    let raised = LdlFactor::new(&hessian, 0.0).unwrap().damping();
    assert!((raised - 1.0).abs() < 1e-9, "{raised}");
    // As far as it may be raised.
    let hessian = Hessian::new(array![[1.0, 50.0], [50.0, 1.0]].into(), 1).unwrap();
    assert_eq!(LdlFactor::new(&hessian, 0.01).unwrap().damping(), 100.0);
}

#[test]
fn hopeless_hessians_are_refused() {
    let hessian = Hessian::new(array![[1.0, 1e4], [1e4, 1.0]].into(), 1).unwrap();
    let err = LdlFactor::new(&hessian, 0.01).unwrap_err();
    assert!(
        matches!(err, Error::NotPositiveDefinite { dim: 2, .. }),
        "{err}"
    );

    let zeros = Hessian::new(Array2::zeros((3, 3)).into(), 0).unwrap();
    let err = LdlFactor::new(&zeros, 0.01).unwrap_err();
    assert_eq!(
        err.to_string(),
        "hessian of dimension 3 is all zeros, expected statistics of at least one input"
    );
    for fraction in [-0.1, f64::NAN, f64::INFINITY] {
        let err = LdlFactor::new(&hessian, fraction).unwrap_err();
        assert!(
            matches!(
                err,
                Error::OutOfRange {
                    what: "damping",
                    ..
                }
            ),
            "{err}"
        );
    }
}
