//! Which tensors of a checkpoint are quantised already, told by names, dtypes and shapes.

use std::collections::{BTreeMap, HashMap};

use nwc_format::DType;

use crate::classify::Facts;

/// A method of quantising, by the names that its tensors have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    /// 8-bit floats with a scale for the tensor, each row or each block.
    Fp8,
    /// Blocks of 32 four-bit floats (gpt-oss).
    Mxfp4,
    /// Blocks of 16 four-bit floats with FP8 scales.
    Nvfp4,
    /// Integers packed along the input.
    Gptq,
    /// Integers packed along the output.
    Awq,
    /// `compressed-tensors` with packed integers.
    PackedIntegers,
    /// NF4, FP4 or INT8 of bitsandbytes.
    BitsAndBytes,
    /// MLX's groups of packed integers.
    Mlx,
    /// 8-bit integers with scales.
    Int8,
}

impl Method {
    /// As messages and the table call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fp8 => "FP8",
            Self::Mxfp4 => "MXFP4",
            Self::Nvfp4 => "NVFP4",
            Self::Gptq => "GPTQ",
            Self::Awq => "AWQ",
            Self::PackedIntegers => "packed integers (compressed-tensors)",
            Self::BitsAndBytes => "bitsandbytes",
            Self::Mlx => "MLX",
            Self::Int8 => "INT8",
        }
    }

    /// Whether [`super::open`] can make plain weights of it.
    pub(crate) fn can_be_opened(self) -> bool {
        matches!(self, Self::Fp8 | Self::Mxfp4 | Self::Gptq | Self::Awq)
    }
}

/// The tensors that make one weight together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// The method.
    pub(crate) method: Method,
    /// The weight's name in a plain checkpoint.
    pub(crate) plain_name: String,
    /// Tensor name by its part: `weight`, `qweight`, `blocks`, `scales`, …
    pub(crate) parts: BTreeMap<&'static str, String>,
}

/// What is quantised in a checkpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quantized {
    /// One entry for each quantised weight, by plain name.
    pub(crate) groups: Vec<Group>,
}

impl Quantized {
    /// The method's name for every tensor that is part of a quantised weight.
    pub(crate) fn tensors(&self) -> HashMap<String, &'static str> {
        self.groups
            .iter()
            .flat_map(|group| {
                let name = group.method.name();
                group.parts.values().map(move |t| (t.clone(), name))
            })
            .collect()
    }

    /// The methods found, each once, in the order of their names.
    pub(crate) fn methods(&self) -> Vec<Method> {
        let mut methods: Vec<Method> = self.groups.iter().map(|g| g.method).collect();
        methods.sort_by_key(|m| m.name());
        methods.dedup();
        methods
    }
}

/// Side tensors of a module, whatever the method; the key is what follows the module's name and a dot.
const SIDES: [&str; 25] = [
    "weight_scale_inv",
    "weight_scale",
    "weight_scale_2",
    "weight_global_scale",
    "weight_zero_point",
    "weight_g_idx",
    "weight_shape",
    "input_scale",
    "input_global_scale",
    "input_zero_point",
    "output_scale",
    "k_scale",
    "v_scale",
    "q_scale",
    "prob_output_scale",
    "qzeros",
    "scales",
    "g_idx",
    "perm",
    "biases",
    "weight.absmax",
    "weight.quant_map",
    "weight.nested_absmax",
    "weight.nested_quant_map",
    "SCB",
];

/// Finds the quantised weights among `tensors`.
///
/// Names, dtypes and shapes tell the method; a config only tells details (the size of blocks, the bits of integers),
/// since configs of several generations and tools describe the same tensors.
pub(crate) fn detect<'a>(tensors: impl Iterator<Item = Facts<'a>>) -> Quantized {
    let all: BTreeMap<&str, Facts<'a>> = tensors.map(|f| (f.name, f)).collect();
    let mut groups = Vec::new();
    for (&name, facts) in &all {
        let found = method_of(&all, name, facts);
        let Some((method, module, main)) = found else {
            continue;
        };
        let mut parts = BTreeMap::from([(main, name.to_owned())]);
        if method == Method::Mxfp4 {
            parts.insert("scales", format!("{module}_scales"));
            groups.push(Group {
                method,
                plain_name: module.to_owned(),
                parts,
            });
            continue;
        }
        for side in SIDES {
            let side_name = format!("{module}.{side}");
            if all.contains_key(side_name.as_str()) {
                parts.insert(side, side_name);
            }
        }
        // The state of bitsandbytes has the kind in its name.
        let state = format!("{module}.weight.quant_state.");
        for (&other, _) in all
            .range(state.as_str()..)
            .take_while(|(n, _)| n.starts_with(&state))
        {
            parts.insert("quant_state", other.to_owned());
        }
        groups.push(Group {
            method,
            plain_name: format!("{module}.weight"),
            parts,
        });
    }
    Quantized { groups }
}

/// Method, module and part, where the tensor is the main one of a quantised weight.
fn method_of<'n>(
    all: &BTreeMap<&str, Facts<'_>>,
    name: &'n str,
    facts: &Facts<'_>,
) -> Option<(Method, &'n str, &'static str)> {
    if let Some(module) = name.strip_suffix("_blocks") {
        let is_there = all.contains_key(format!("{module}_scales").as_str());
        return (facts.dtype == DType::U8 && is_there).then_some((Method::Mxfp4, module, "blocks"));
    }
    let (module, last) = name.rsplit_once('.')?;
    let side = |side: &str| all.get(format!("{module}.{side}").as_str());
    let method = match (last, facts.dtype) {
        ("weight", DType::F8E4M3 | DType::F8E5M2) => Method::Fp8,
        ("weight", DType::U8) if side("weight_scale").is_some() => Method::Nvfp4,
        ("weight", DType::U8) if side("weight.absmax").is_some() => Method::BitsAndBytes,
        ("weight", DType::I8) if side("SCB").is_some() => Method::BitsAndBytes,
        ("weight", DType::I8) if side("weight_scale").is_some() => Method::Int8,
        ("weight", DType::U32) if side("scales").is_some() => Method::Mlx,
        ("weight_packed", DType::U8) => Method::Nvfp4,
        ("weight_packed", _) if side("weight_scale").is_some() => Method::PackedIntegers,
        ("qweight", DType::I32) => match (facts.shape, side("scales")?.shape) {
            // GPTQ packs along the input: as many columns as scales. AWQ packs eight outputs into a column.
            ([_, cols], [_, n_out]) if cols == n_out => Method::Gptq,
            ([_, cols], [_, n_out]) if cols.checked_mul(8) == Some(*n_out) => Method::Awq,
            _ => Method::PackedIntegers,
        },
        _ => return None,
    };
    let main = match last {
        "qweight" => "qweight",
        "weight_packed" => "weight_packed",
        _ => "weight",
    };
    Some((method, module, main))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tensors: &[(&str, DType, &[usize])], expected: &[(Method, &str, &[&str])]) {
        let facts = tensors
            .iter()
            .map(|&(name, dtype, shape)| Facts { name, dtype, shape });
        let found = detect(facts);
        let found: Vec<(Method, &str, Vec<&str>)> = found
            .groups
            .iter()
            .map(|g| {
                let parts = g.parts.values().map(String::as_str).collect();
                (g.method, g.plain_name.as_str(), parts)
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(m, n, p)| (*m, *n, p.to_vec()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_method_is_told_by_its_tensors() {
        check(
            &[
                ("a.weight", DType::F8E4M3, &[256, 256]),
                ("a.weight_scale_inv", DType::F32, &[2, 2]),
                ("a.bias", DType::BF16, &[256]),
                ("norm.weight", DType::BF16, &[256]),
            ],
            &[(Method::Fp8, "a.weight", &["a.weight", "a.weight_scale_inv"])],
        );
        check(
            &[
                ("e.gate_up_proj_blocks", DType::U8, &[4, 64, 2, 16]),
                ("e.gate_up_proj_scales", DType::U8, &[4, 64, 2]),
            ],
            &[(
                Method::Mxfp4,
                "e.gate_up_proj",
                &["e.gate_up_proj_blocks", "e.gate_up_proj_scales"],
            )],
        );
        let packed = |cols, n_out: &[usize], method| {
            check(
                &[
                    ("q.qweight", DType::I32, &[32, cols]),
                    ("q.qzeros", DType::I32, &[16, 32]),
                    ("q.scales", DType::F16, n_out),
                ],
                &[(method, "q.weight", &["q.qweight", "q.qzeros", "q.scales"])],
            );
        };
        packed(256, &[16, 256], Method::Gptq);
        packed(32, &[16, 256], Method::Awq);
        packed(32, &[16, 64], Method::PackedIntegers);
        check(
            &[
                ("b.weight", DType::U8, &[2048, 1]),
                ("b.weight.absmax", DType::F32, &[64]),
                ("b.weight.quant_map", DType::F32, &[16]),
                ("b.weight.quant_state.bitsandbytes__nf4", DType::U8, &[90]),
            ],
            &[(
                Method::BitsAndBytes,
                "b.weight",
                &[
                    "b.weight.quant_state.bitsandbytes__nf4",
                    "b.weight",
                    "b.weight.absmax",
                    "b.weight.quant_map",
                ],
            )],
        );
        check(
            &[
                ("m.weight", DType::U32, &[64, 8]),
                ("m.scales", DType::F16, &[64, 1]),
                ("m.biases", DType::F16, &[64, 1]),
            ],
            &[(
                Method::Mlx,
                "m.weight",
                &["m.biases", "m.scales", "m.weight"],
            )],
        );
        check(
            &[
                ("n.weight", DType::U8, &[64, 32]),
                ("n.weight_scale", DType::F8E4M3, &[64, 4]),
                ("n.weight_scale_2", DType::F32, &[]),
            ],
            &[(
                Method::Nvfp4,
                "n.weight",
                &["n.weight", "n.weight_scale", "n.weight_scale_2"],
            )],
        );
        check(
            &[("ids.weight", DType::U8, &[64]), ("x", DType::I32, &[4])],
            &[],
        );
    }
}
