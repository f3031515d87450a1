//! A quantised weight's tensors into one plain weight.

use std::collections::BTreeMap;

use nwc_format::DType;
use serde_json::Value;

use super::packed::Words;
use super::{Group, Method, awq, fp8, gptq, mxfp4, wrong};
use crate::TensorError;
use crate::folder::dtype;

/// One tensor of a quantised weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

/// What only the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Details {
    /// Rows and columns of a block of FP8 weights.
    pub(crate) block: Option<(usize, usize)>,
    /// Bits of GPTQ's integers.
    pub(crate) bits: u32,
    /// GPTQ's zeros are stored less one.
    pub(crate) is_zero_less_one: bool,
}

impl Details {
    /// Reads a `quantization_config`, or GPTQ's own `quantize_config.json`; what it leaves out is as usual.
    pub(crate) fn from_config(config: Option<&Value>) -> Self {
        let get = |key: &str| config.and_then(|c| c.get(key));
        let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let block = get("weight_block_size").and_then(|sizes| match sizes.as_array()?.as_slice() {
            [rows, cols] => Some((number(rows)?, number(cols)?)),
            _ => None,
        });
        let bits = get("bits").or_else(|| get("w_bit"));
        let format = get("checkpoint_format").and_then(Value::as_str);
        Self {
            block,
            bits: bits
                .and_then(Value::as_u64)
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(4),
            is_zero_less_one: format != Some("gptq_v2"),
        }
    }
}

/// Dtype and shape of the plain weight that [`open`] makes, from shapes alone; `None` where the parts do not fit.
pub(crate) fn opened_shape(
    group: &Group,
    shape_of: impl Fn(&str) -> Option<Vec<usize>>,
    details: &Details,
) -> Option<Vec<usize>> {
    let shape = |part: &str| shape_of(group.parts.get(part)?);
    match group.method {
        Method::Fp8 => {
            let shape = shape("weight")?;
            matches!(shape.len(), 2 | 3).then_some(shape)
        }
        Method::Mxfp4 => match shape("blocks")?.as_slice() {
            [n, rows, n_blocks, 16] => Some(vec![*n, n_blocks.checked_mul(32)?, *rows]),
            _ => None,
        },
        Method::Gptq => match shape("qweight")?.as_slice() {
            [words, out] if matches!(details.bits, 2 | 4 | 8) => {
                Some(vec![*out, words.checked_mul(32 / details.bits as usize)?])
            }
            _ => None,
        },
        Method::Awq => match shape("qweight")?.as_slice() {
            [n_in, words] => Some(vec![words.checked_mul(8)?, *n_in]),
            _ => None,
        },
        _ => None,
    }
}

/// Opens a weight of a method that [`Method::can_be_opened`]: its values as bf16 bytes, and its shape.
///
/// `parts` are the tensors of the group by the group's keys.
///
/// # Errors
/// [`TensorError::Record`] where a part is missing or the parts do not fit each other.
pub(crate) fn open(
    method: Method,
    parts: &BTreeMap<&'static str, Part<'_>>,
    details: &Details,
) -> Result<(Vec<u8>, Vec<usize>), TensorError> {
    let (values, shape) = open_values(method, parts, details)?;
    let mut bytes = Vec::new();
    // Always true of bf16.
    dtype::extend_bytes(DType::BF16, &values, &mut bytes);
    Ok((bytes, shape))
}

pub(super) fn open_values(
    method: Method,
    parts: &BTreeMap<&'static str, Part<'_>>,
    details: &Details,
) -> Result<(Vec<f32>, Vec<usize>), TensorError> {
    let part = |name: &'static str| {
        parts
            .get(name)
            .copied()
            .ok_or_else(|| wrong("part of a quantised weight", "missing".into(), name))
    };
    let words = |name| part(name).and_then(|p| Words::new(name, p.bytes, p.shape));
    match method {
        Method::Fp8 => open_fp8(part("weight")?, parts, details),
        Method::Mxfp4 => {
            let (blocks, scales) = (part("blocks")?, part("scales")?);
            let (values, shape) =
                mxfp4::dequantize(blocks.bytes, blocks.shape, scales.bytes, scales.shape)?;
            Ok((values, shape.to_vec()))
        }
        Method::Gptq => {
            let scales = floats("scales", part("scales")?)?;
            let qzeros = match parts.contains_key("qzeros") {
                true => Some(words("qzeros")?),
                false => None,
            };
            let g_idx = parts.get("g_idx").map(integers).transpose()?;
            let parts = gptq::Parts {
                qweight: words("qweight")?,
                qzeros,
                scales: &scales,
                // Some writers leave an empty one where groups are in order.
                g_idx: g_idx.as_deref().filter(|g| !g.is_empty()),
            };
            let layout = gptq::Layout {
                bits: details.bits,
                is_zero_less_one: details.is_zero_less_one,
            };
            let (values, (rows, cols)) = gptq::dequantize(&parts, layout)?;
            Ok((values, vec![rows, cols]))
        }
        Method::Awq => {
            let scales = floats("scales", part("scales")?)?;
            let parts = awq::Parts {
                qweight: words("qweight")?,
                qzeros: words("qzeros")?,
                scales: &scales,
            };
            let (values, (rows, cols)) = awq::dequantize(&parts)?;
            Ok((values, vec![rows, cols]))
        }
        _ => Err(wrong(
            "quantisation",
            method.name().into(),
            "FP8, MXFP4, GPTQ or AWQ, which can be opened",
        )),
    }
}

/// A matrix, or a stack of matrices with scales of as many dimensions.
fn open_fp8(
    weight: Part<'_>,
    parts: &BTreeMap<&'static str, Part<'_>>,
    details: &Details,
) -> Result<(Vec<f32>, Vec<usize>), TensorError> {
    let scale = parts
        .get("weight_scale_inv")
        .or_else(|| parts.get("weight_scale"));
    let (values, shape) = match scale {
        Some(scale) => (floats("scales", *scale)?, scale.shape),
        // A weight that was only cast.
        None => (vec![1.0], [].as_slice()),
    };
    let open_one = |bytes: &[u8], rows_cols, values: Vec<f32>, shape: &[usize]| {
        let scales = fp8::BlockScales::new(values, shape, rows_cols, details.block)?;
        fp8::dequantize(weight.dtype, bytes, rows_cols, &scales)
    };
    match *weight.shape {
        [rows, cols] => {
            let values = open_one(weight.bytes, (rows, cols), values, shape)?;
            Ok((values, weight.shape.to_vec()))
        }
        [n, rows, cols] if n > 0 && weight.bytes.len().is_multiple_of(n) => {
            let (n_scales, inner) = match *shape {
                [m, ref inner @ ..] if m == n => (values.len() / n, inner),
                [] | [1] => (0, shape),
                _ => {
                    return Err(wrong(
                        "shape of the scales",
                        format!("{shape:?}"),
                        format!("one, or [{n}, …]"),
                    ));
                }
            };
            let mut out = Vec::with_capacity(weight.bytes.len());
            for (i, bytes) in weight
                .bytes
                .chunks_exact((weight.bytes.len() / n).max(1))
                .enumerate()
            {
                let of_one = match n_scales {
                    0 => values.clone(),
                    _ => values
                        .get(i * n_scales..(i + 1) * n_scales)
                        .unwrap_or_default()
                        .to_vec(),
                };
                out.extend(open_one(bytes, (rows, cols), of_one, inner)?);
            }
            Ok((out, weight.shape.to_vec()))
        }
        _ => Err(wrong(
            "shape of an FP8 weight",
            format!("{:?}", weight.shape),
            "two or three dimensions",
        )),
    }
}

fn floats(what: &'static str, part: Part<'_>) -> Result<Vec<f32>, TensorError> {
    if matches!(part.dtype, DType::F8E8M0 | DType::U8) {
        // Powers of two, in files whose writers had no dtype for them as plain bytes.
        return Ok(part
            .bytes
            .iter()
            .map(|&byte| match byte {
                255 => f32::NAN,
                _ => 2f32.powi(i32::from(byte) - 127),
            })
            .collect());
    }
    dtype::to_f32(part.dtype, part.bytes).ok_or_else(|| {
        wrong(
            what,
            format!("of {}", part.dtype),
            "F32, F16, BF16 or F8_E8M0",
        )
    })
}

fn integers(part: &Part<'_>) -> Result<Vec<i32>, TensorError> {
    match part.dtype {
        DType::I32 => Ok(part
            .bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b))
            .collect()),
        _ => Err(wrong("g_idx", format!("of {}", part.dtype), "I32")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_a_config() {
        let config = serde_json::json!({"quant_method": "fp8", "weight_block_size": [128, 64]});
        assert_eq!(
            Details::from_config(Some(&config)),
            Details {
                block: Some((128, 64)),
                bits: 4,
                is_zero_less_one: true
            }
        );
        let config = serde_json::json!({"bits": 8, "checkpoint_format": "gptq_v2"});
        let details = Details::from_config(Some(&config));
        assert_eq!((details.bits, details.is_zero_less_one), (8, false));
        Details::from_config(Some(&serde_json::json!("fp8")));
        Details::from_config(None);
    }

    #[test]
    fn a_stack_of_fp8_experts() {
        let weight = [0x38; 8];
        let scale: Vec<u8> = [1f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let parts = BTreeMap::from([
            (
                "weight",
                Part {
                    dtype: DType::F8E4M3,
                    shape: &[2, 2, 2],
                    bytes: &weight,
                },
            ),
            (
                "weight_scale",
                Part {
                    dtype: DType::F32,
                    shape: &[2, 1],
                    bytes: &scale,
                },
            ),
        ]);
        let details = Details::from_config(None);
        let (values, shape) = open_values(Method::Fp8, &parts, &details).unwrap();
        assert_eq!(shape, [2, 2, 2]);
        assert_eq!(values, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn a_missing_part_is_named() {
        let error = open(Method::Awq, &BTreeMap::new(), &Details::from_config(None)).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        let error = open(Method::Mlx, &BTreeMap::new(), &Details::from_config(None)).unwrap_err();
        assert!(error.to_string().contains("MLX"), "{error}");
    }
}
