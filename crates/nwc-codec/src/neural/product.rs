//! The matrix product of a batch of rows with a weight matrix: the one place that calls `gemm`.
#![expect(
    unsafe_code,
    reason = "gemm takes pointers; the lengths that make them valid are asserted here"
)]

use gemm::{Parallelism, gemm};

/// Writes `rows · weight` to `out`.
///
/// `rows` is `[n_rows, n_in]`, `weight` is `[n_in, n_out]`, `out` is `[n_rows, n_out]`, all row-major.
/// It runs on the calling thread: batches, not products, are spread over threads.
pub(super) fn product(rows: &[f32], weight: &[f32], n_in: usize, n_out: usize, out: &mut [f32]) {
    let n_rows = out.len() / n_out;
    assert_eq!(out.len(), n_rows * n_out, "out is not whole rows");
    assert_eq!(rows.len(), n_rows * n_in, "rows do not match out");
    assert_eq!(weight.len(), n_in * n_out, "weight is not [n_in, n_out]");
    // `gemm` likes a column-major destination: a row-major [rows, out] is a column-major [out, rows].
    //
    // SAFETY: every index that gemm forms, (i < n_out, j < n_rows, k < n_in) with the strides given, lies inside
    // the slice whose pointer it is added to, because the asserts above tie the lengths to these three sizes;
    // `out` is borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm(
            n_out,
            n_rows,
            n_in,
            out.as_mut_ptr(),
            n_out as isize,
            1,
            false,
            weight.as_ptr(),
            n_out as isize,
            1,
            rows.as_ptr(),
            n_in as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(n_rows: usize, n_in: usize, n_out: usize) {
        let rows: Vec<f32> = (0..n_rows * n_in).map(|i| (i % 7) as f32 - 3.0).collect();
        let weight: Vec<f32> = (0..n_in * n_out).map(|i| (i % 5) as f32 - 2.0).collect();
        let mut out = vec![f32::NAN; n_rows * n_out];
        product(&rows, &weight, n_in, n_out, &mut out);
        for row in 0..n_rows {
            for col in 0..n_out {
                let expected: f32 = (0..n_in)
                    .map(|k| rows[row * n_in + k] * weight[k * n_out + col])
                    .sum();
                assert_eq!(out[row * n_out + col], expected, "({row}, {col})");
            }
        }
    }

    #[test]
    fn equals_three_loops() {
        check(64, 16, 64);
        check(64, 64, 16);
        check(3, 1, 1);
        check(1, 5, 2);
        check(0, 4, 4);
        check(70, 33, 17);
    }
}
