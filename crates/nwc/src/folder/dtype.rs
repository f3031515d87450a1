//! Raw tensor bytes to f32 and back to the dtype that they came in.

use half::{bf16, f16};
use nwc_format::DType;

/// Whether tensors of `dtype` can be coded: the float types that f32 holds exactly.
#[cfg(feature = "encode")]
pub(crate) fn is_codable(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// Decodes little-endian `bytes` of a codable `dtype`; `None` for any other dtype.
pub(crate) fn to_f32(dtype: DType, bytes: &[u8]) -> Option<Vec<f32>> {
    let values = match dtype {
        DType::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        DType::F16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f16::from_le_bytes(b).to_f32())
            .collect(),
        DType::BF16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| bf16::from_le_bytes(b).to_f32())
            .collect(),
        _ => return None,
    };
    Some(values)
}

/// The nearest f16, ties to even; beyond its range the largest finite one, so that no reconstruction becomes infinite.
fn nearest_f16(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// As [`nearest_f16`], for bf16.
pub(crate) fn nearest_bf16(value: f32) -> bf16 {
    bf16::from_f32(value.clamp(bf16::MIN.to_f32(), bf16::MAX.to_f32()))
}

/// As [`nearest_f16`], for f32.
fn nearest_f32(value: f32) -> f32 {
    value.clamp(f32::MIN, f32::MAX)
}

/// Appends `values` to `out` in a codable `dtype`, rounded to its nearest finite number; false for any other dtype.
pub(crate) fn extend_bytes(dtype: DType, values: &[f32], out: &mut Vec<u8>) -> bool {
    out.reserve(values.len() * dtype.size());
    match dtype {
        DType::F32 => values
            .iter()
            .for_each(|v| out.extend_from_slice(&nearest_f32(*v).to_le_bytes())),
        DType::F16 => values
            .iter()
            .for_each(|&v| out.extend_from_slice(&nearest_f16(v).to_le_bytes())),
        DType::BF16 => values
            .iter()
            .for_each(|&v| out.extend_from_slice(&nearest_bf16(v).to_le_bytes())),
        _ => return false,
    }
    true
}

/// Rounds `values` to what a tensor of `dtype` can hold: its nearest finite number.
pub(crate) fn round_in_place(dtype: DType, values: &mut [f32]) {
    match dtype {
        DType::F16 => values
            .iter_mut()
            .for_each(|v| *v = nearest_f16(*v).to_f32()),
        DType::BF16 => values
            .iter_mut()
            .for_each(|v| *v = nearest_bf16(*v).to_f32()),
        DType::F32 => values.iter_mut().for_each(|v| *v = nearest_f32(*v)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dtype: DType, value: f32, expected: f32) {
        let mut bytes = Vec::new();
        assert!(extend_bytes(dtype, &[value], &mut bytes));
        assert_eq!(to_f32(dtype, &bytes), Some(vec![expected]));
    }

    #[test]
    fn rounds_to_nearest_even() {
        check(DType::F32, 0.1, 0.1);
        // Halfway between two bf16 neighbours of 1: the even one wins.
        check(DType::BF16, 1.0 + 1.0 / 256.0, 1.0);
        check(DType::BF16, 1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0);
        check(DType::F16, 1.0 + 1.0 / 2048.0, 1.0);
    }

    #[test]
    fn nothing_becomes_infinite() {
        for value in [65_520.0, 1e30, f32::MAX, f32::INFINITY] {
            for (dtype, most) in [
                (DType::F16, f16::MAX.to_f32()),
                (DType::BF16, bf16::MAX.to_f32()),
                (DType::F32, f32::MAX),
            ] {
                if value < most {
                    continue;
                }
                check(dtype, value, most);
                check(dtype, -value, -most);
                let mut rounded = [value, -value];
                round_in_place(dtype, &mut rounded);
                assert_eq!(rounded, [most, -most], "{dtype}");
            }
        }
    }

    #[test]
    fn other_dtypes_are_left_alone() {
        assert_eq!(to_f32(DType::I32, &[0; 4]), None);
        assert!(!extend_bytes(DType::I32, &[1.0], &mut Vec::new()));
    }
}
