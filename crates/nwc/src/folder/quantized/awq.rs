//! AWQ: four-bit integers packed along the output in an order of its own, with a scale and a zero for each group.

use super::packed::{Words, groups};
use super::wrong;
use crate::TensorError;

/// Integers of a word.
const PER_WORD: usize = 8;
/// Which of a word's eight integers belongs to each of its eight outputs.
const ORDER: [usize; PER_WORD] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The tensors of one linear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// `[in, out / 8]`.
    pub(crate) qweight: Words<'a>,
    /// `[n_groups, out / 8]`.
    pub(crate) qzeros: Words<'a>,
    /// `[n_groups, out]`.
    pub(crate) scales: &'a [f32],
}

/// Opens an AWQ linear: `(q − zero) · scale`, `[out, in]`, row-major.
///
/// # Errors
/// [`TensorError::Record`] where shapes do not fit each other.
pub(crate) fn dequantize(parts: &Parts<'_>) -> Result<(Vec<f32>, (usize, usize)), TensorError> {
    let Parts {
        qweight,
        qzeros,
        scales,
    } = parts;
    let n_in = qweight.rows;
    let n_out = qweight.cols.checked_mul(PER_WORD);
    let n_elems = n_out.and_then(|n| n.checked_mul(n_in));
    let (Some(n_out), Some(n_elems)) = (n_out, n_elems) else {
        return Err(wrong(
            "columns of qweight",
            qweight.cols.to_string(),
            "fewer",
        ));
    };
    if qzeros.cols != qweight.cols || qzeros.rows.checked_mul(n_out) != Some(scales.len()) {
        return Err(wrong(
            "shapes of qzeros and scales",
            format!(
                "[{}, {}] and {} scales",
                qzeros.rows,
                qzeros.cols,
                scales.len()
            ),
            format!("[groups, {}] and groups × {n_out}", qweight.cols),
        ));
    }
    let group_of = groups(None, n_in, qzeros.rows)?;
    let nibble = |words: &Words<'_>, row: usize, out: usize| {
        let word = words.at(row, out / PER_WORD);
        ((word >> (4 * ORDER[out % PER_WORD])) & 0xf) as f32
    };
    let mut weights = Vec::with_capacity(n_elems);
    for out in 0..n_out {
        for (i, &group) in group_of.iter().enumerate() {
            let zero = nibble(qzeros, group, out);
            weights.push((nibble(qweight, i, out) - zero) * scales[group * n_out + out]);
        }
    }
    Ok((weights, (n_out, n_in)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_in_the_order_of_the_kernels() {
        let qweight = 0x7654_3210u32.to_le_bytes();
        let qzeros = 0u32.to_le_bytes();
        let mut parts = Parts {
            qweight: Words::new("q", &qweight, &[1, 1]).unwrap(),
            qzeros: Words::new("z", &qzeros, &[1, 1]).unwrap(),
            scales: &[1.0; 8],
        };
        let (weights, shape) = dequantize(&parts).unwrap();
        assert_eq!(shape, (8, 1));
        assert_eq!(weights, [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        parts.scales = &[1.0; 7];
        dequantize(&parts).unwrap_err();
    }
}
