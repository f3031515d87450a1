//! GPTQ: integers of 2, 4 or 8 bits packed along the input, with a scale and a zero for each group of inputs.

use super::packed::{Words, groups};
use super::wrong;
use crate::TensorError;

/// How the integers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bits of an integer: 2, 4 or 8.
    pub(crate) bits: u32,
    /// Zeros are stored less one, as every GPTQ file but those of `checkpoint_format: gptq_v2` does.
    pub(crate) is_zero_less_one: bool,
}

/// The tensors of one linear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// `[in · bits / 32, out]`.
    pub(crate) qweight: Words<'a>,
    /// `[n_groups, out · bits / 32]`; without it, the middle of the range is the zero.
    pub(crate) qzeros: Option<Words<'a>>,
    /// `[n_groups, out]`.
    pub(crate) scales: &'a [f32],
    /// Group of each input, `[in]`.
    pub(crate) g_idx: Option<&'a [i32]>,
}

/// Opens a GPTQ linear: `(q − zero) · scale`, `[out, in]`, row-major.
///
/// # Errors
/// [`TensorError::Record`] where shapes do not fit each other, or the bits are not 2, 4 or 8.
pub(crate) fn dequantize(
    parts: &Parts<'_>,
    layout: Layout,
) -> Result<(Vec<f32>, (usize, usize)), TensorError> {
    let Layout { bits, .. } = layout;
    if !matches!(bits, 2 | 4 | 8) {
        return Err(wrong("bits of GPTQ", bits.to_string(), "2, 4 or 8"));
    }
    let per_word = 32 / bits as usize;
    let mask = (1u32 << bits) - 1;
    let n_out = parts.qweight.cols;
    let n_in = parts.qweight.rows.checked_mul(per_word);
    let too_large = || wrong("rows of qweight", parts.qweight.rows.to_string(), "fewer");
    let n_in = n_in.ok_or_else(too_large)?;
    if n_out == 0 || !parts.scales.len().is_multiple_of(n_out) {
        return Err(wrong(
            "number of scales",
            parts.scales.len().to_string(),
            format!("a multiple of {n_out}"),
        ));
    }
    let n_groups = parts.scales.len() / n_out;
    if let Some(zeros) = parts.qzeros
        && (zeros.rows != n_groups || zeros.cols != n_out.div_ceil(per_word))
    {
        return Err(wrong(
            "shape of qzeros",
            format!("[{}, {}]", zeros.rows, zeros.cols),
            format!("[{n_groups}, {}]", n_out.div_ceil(per_word)),
        ));
    }
    let group_of = groups(parts.g_idx, n_in, n_groups)?;
    let zero = |group: usize, out: usize| match parts.qzeros {
        Some(zeros) => {
            let stored = zeros.at(group, out / per_word) >> (out % per_word * bits as usize);
            // A zero of 0 is stored as the largest integer: adding one wraps.
            (stored + u32::from(layout.is_zero_less_one)) & mask
        }
        None => 1 << (bits - 1),
    };
    let zeros: Vec<u32> = (0..n_groups)
        .flat_map(|group| (0..n_out).map(move |out| (group, out)))
        .map(|(group, out)| zero(group, out))
        .collect();
    let n_elems = n_in.checked_mul(n_out).ok_or_else(too_large)?;
    let mut weights = Vec::with_capacity(n_elems);
    for out in 0..n_out {
        for (i, group) in group_of.iter().enumerate() {
            let q = (parts.qweight.at(i / per_word, out) >> (i % per_word * bits as usize)) & mask;
            let at = group * n_out + out;
            weights.push((q as f32 - zeros[at] as f32) * parts.scales[at]);
        }
    }
    Ok((weights, (n_out, n_in)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Layout = Layout {
        bits: 4,
        is_zero_less_one: true,
    };

    fn words(bytes: &[u8]) -> Words<'_> {
        Words::new("test", bytes, &[1, bytes.len() / 4]).unwrap()
    }

    #[test]
    fn integers_are_packed_along_the_input() {
        // Eight inputs 0..8 of one output; the zero 8 is stored as 7.
        let qweight = 0x7654_3210u32.to_le_bytes();
        let qzeros = 7u32.to_le_bytes();
        let mut parts = Parts {
            qweight: words(&qweight),
            qzeros: Some(words(&qzeros)),
            scales: &[0.5],
            g_idx: None,
        };
        let (weights, shape) = dequantize(&parts, V1).unwrap();
        assert_eq!(shape, (1, 8));
        assert_eq!(weights, [-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5]);
        let v2 = Layout {
            is_zero_less_one: false,
            ..V1
        };
        assert_eq!(dequantize(&parts, v2).unwrap().0[7], 0.0);
        parts.qzeros = None;
        assert_eq!(dequantize(&parts, V1).unwrap().0, weights);
    }

    #[test]
    fn groups_by_index_and_zeros_that_wrap() {
        let qweight = 0x7654_3210u32.to_le_bytes();
        // 15 stands for a zero of 0.
        let qzeros = [15u32.to_le_bytes(), 0u32.to_le_bytes()].concat();
        let parts = Parts {
            qweight: words(&qweight),
            qzeros: Some(Words::new("z", &qzeros, &[2, 1]).unwrap()),
            scales: &[1.0, 10.0],
            g_idx: Some(&[1, 0, 1, 0, 1, 0, 1, 0]),
        };
        let (weights, _) = dequantize(&parts, V1).unwrap();
        assert_eq!(weights, [-10.0, 1.0, 10.0, 3.0, 30.0, 5.0, 50.0, 7.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let qweight = [0; 8];
        let parts = Parts {
            qweight: words(&qweight),
            qzeros: None,
            scales: &[1.0; 3],
            g_idx: None,
        };
        dequantize(&parts, V1).unwrap_err();
        let parts = Parts {
            scales: &[1.0; 2],
            ..parts
        };
        dequantize(&parts, V1).unwrap();
        let three_bits = Layout { bits: 3, ..V1 };
        dequantize(&parts, three_bits).unwrap_err();
        let zeros = [0; 8];
        let parts = Parts {
            qzeros: Some(words(&zeros)),
            ..parts
        };
        dequantize(&parts, V1).unwrap_err();
    }
}
