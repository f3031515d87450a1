//! Tokens drawn from a model's predictions, independent of the number of threads.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::tensors::from_slice;

/// `n` numbers in [0, 1) that depend only on `seed` and `stream`.
pub(crate) fn uniform(seed: u64, stream: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    (0..n).map(|_| rng.random::<f32>()).collect()
}

/// One token `[n, 1]` for each row of `probabilities` `[n, vocab]`: the first whose cumulative probability exceeds
/// the row's uniform number.
pub(crate) fn sample_tokens(probabilities: &Tensor, uniform: &[f32]) -> Result<Tensor> {
    let (n_rows, vocab_size) = probabilities.size2()?;
    let cumulated = probabilities.f_cumsum(-1, Kind::Float)?;
    // The last sum is 1 only up to rounding, so the threshold is a fraction of that sum.
    let total = cumulated.f_narrow(1, vocab_size - 1, 1)?;
    let threshold =
        from_slice(uniform, &[n_rows as usize, 1], probabilities.device())?.f_mul(&total)?;
    let drawn = cumulated
        .f_le_tensor(&threshold)?
        .f_sum_dim_intlist(-1, true, Kind::Int64)?;
    Ok(drawn.f_clamp_max(vocab_size - 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::to_vec_f64;

    #[test]
    fn draws_in_proportion() {
        let rows = Tensor::from_slice(&[0.2f32, 0.0, 0.5, 0.3]).expand([20_000, 4], false);
        let drawn = sample_tokens(&rows, &uniform(3, 0, 20_000)).unwrap();
        let share =
            |token: i64| to_vec_f64(&drawn.eq(token).sum(Kind::Double)).unwrap()[0] / 20_000.0;
        for (token, expected) in [(0, 0.2), (1, 0.0), (2, 0.5), (3, 0.3)] {
            assert!((share(token) - expected).abs() < 0.015);
        }
    }

    #[test]
    fn streams_differ_and_repeat() {
        assert_eq!(uniform(1, 2, 5), uniform(1, 2, 5));
        assert_ne!(uniform(1, 2, 5), uniform(1, 3, 5));
        assert_ne!(uniform(1, 2, 5), uniform(2, 2, 5));
    }
}
