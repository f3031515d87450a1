//! What is coded and what is kept: decided by what a tensor is, with the reason for the table.
//!
//! In this order: what the user says ([`Overrides`]), what cannot be coded (dtype, dimensions), what is part of a
//! quantised tensor, what is too small, what its name says ([`names`]), and for names that say nothing, what coding
//! would save.

mod known;
mod matrix;
mod names;
mod pattern;

use std::collections::{HashMap, HashSet};

use nwc_format::DType;

pub(crate) use matrix::Layout;
use names::{Told, told_by};
use pattern::Override;
pub(crate) use pattern::Overrides;

use crate::folder::dtype;
use crate::role::Role;

/// Tensors of fewer elements cost more in tables and side information than coding saves.
pub(crate) const MIN_CODED_ELEMS: usize = 4096;
/// Matrices with a shorter side give a chunk, or a row scale, nothing to work on.
pub(crate) const MIN_CODED_SIDE: usize = 16;
/// Tensors of unknown names are kept below this share of the checkpoint's elements.
const MIN_UNKNOWN_SHARE: f64 = 0.001;

/// What is known of a tensor before its values are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [usize],
}

impl Facts<'_> {
    fn n_elems(&self) -> usize {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }
}

/// What happens to a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Coded as a matrix `[rows, cols]`, in the order of its elements.
    Code {
        role: Role,
        rows: usize,
        cols: usize,
    },
    /// Stored as it is.
    Keep { reason: String },
}

impl Verdict {
    fn keep(reason: impl Into<String>) -> Self {
        Self::Keep {
            reason: reason.into(),
        }
    }
}

/// Decides about the tensors of one checkpoint.
#[derive(Debug)]
pub(crate) struct Classifier<'a> {
    overrides: &'a Overrides,
    /// Tensors that belong to a quantised matrix, with the method's name.
    quantized: &'a HashMap<String, &'static str>,
    names: HashSet<&'a str>,
    n_elems: f64,
}

impl<'a> Classifier<'a> {
    /// A classifier for the checkpoint with these `tensors`, of which those in `quantized` are quantised already.
    pub(crate) fn new(
        tensors: impl Iterator<Item = Facts<'a>>,
        quantized: &'a HashMap<String, &'static str>,
        overrides: &'a Overrides,
    ) -> Self {
        let mut names = HashSet::new();
        let mut n_elems = 0.0;
        for facts in tensors {
            names.insert(facts.name);
            n_elems += facts.n_elems() as f64;
        }
        Self {
            overrides,
            quantized,
            names,
            n_elems,
        }
    }

    /// What happens to one tensor of the checkpoint.
    pub(crate) fn verdict(&self, facts: Facts<'_>) -> Verdict {
        let name = facts.name;
        let decided = self.overrides.of(name);
        if let Some(Override::Keep(pattern)) = decided {
            return Verdict::keep(format!("kept as asked by --keep {pattern}"));
        }
        if let Some(method) = self.quantized.get(name) {
            return Verdict::keep(format!("part of a tensor quantised with {method}"));
        }
        if !dtype::is_codable(facts.dtype) {
            return Verdict::keep(format!("dtype {} is not coded", facts.dtype));
        }
        let layout = Layout::of(name, facts.shape);
        let Some((rows, cols)) = layout.matrix() else {
            return Verdict::keep(match layout {
                Layout::Depthwise => "a short or depthwise convolution".into(),
                _ => format!("{} dimensions, coded are 2 to 4", facts.shape.len()),
            });
        };
        let n_elems = facts.n_elems();
        let side = rows.min(cols);
        if n_elems == 0 {
            return Verdict::keep("no elements");
        }
        let told = told_by(name, rows, cols);
        if decided == Some(Override::Code) {
            let role = match told {
                Told::Is(role) => role,
                _ => Role::Linear,
            };
            return Verdict::Code { role, rows, cols };
        }
        if n_elems < MIN_CODED_ELEMS {
            return Verdict::keep(format!("{n_elems} elements, coded from {MIN_CODED_ELEMS}"));
        }
        if side < MIN_CODED_SIDE {
            return Verdict::keep(format!(
                "{rows} × {cols}, coded from {MIN_CODED_SIDE} rows and columns"
            ));
        }
        if let Some(reason) = self.quantized_neighbour(name) {
            return Verdict::keep(reason);
        }
        match told {
            Told::Keep(reason) => Verdict::keep(reason),
            Told::Is(role) => Verdict::Code { role, rows, cols },
            Told::Unknown if (n_elems as f64) < MIN_UNKNOWN_SHARE * self.n_elems => {
                Verdict::keep("an unknown name, and coding would save little")
            }
            Told::Unknown => Verdict::Code {
                role: Role::Linear,
                rows,
                cols,
            },
        }
    }

    /// Whether a tensor stands beside packed integers of the same module, as MLX's `biases` do.
    fn quantized_neighbour(&self, name: &str) -> Option<&'static str> {
        let (module, last) = name.rsplit_once('.')?;
        let is_side = matches!(last, "biases" | "scales" | "bias_correction");
        let has_weight = self.names.contains(format!("{module}.weight").as_str())
            || self.names.contains(format!("{module}.qweight").as_str());
        (is_side && has_weight).then_some("a scale or a zero point")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Checkpoint {
        tensors: Vec<(&'static str, DType, Vec<usize>)>,
        quantized: HashMap<String, &'static str>,
        overrides: Overrides,
    }

    impl Checkpoint {
        fn new(tensors: &[(&'static str, DType, &[usize])]) -> Self {
            Self {
                tensors: tensors
                    .iter()
                    .map(|(name, dtype, shape)| (*name, *dtype, shape.to_vec()))
                    .collect(),
                quantized: HashMap::new(),
                overrides: Overrides::default(),
            }
        }

        fn facts(&self) -> impl Iterator<Item = Facts<'_>> {
            self.tensors.iter().map(|(name, dtype, shape)| Facts {
                name,
                dtype: *dtype,
                shape,
            })
        }

        #[track_caller]
        fn check(&self, name: &str, expected: Result<(Role, usize, usize), &str>) {
            let classifier = Classifier::new(self.facts(), &self.quantized, &self.overrides);
            let facts = self.facts().find(|f| f.name == name).unwrap();
            match (classifier.verdict(facts), expected) {
                (Verdict::Code { role, rows, cols }, Ok(expected)) => {
                    assert_eq!((role, rows, cols), expected);
                }
                (Verdict::Keep { reason }, Err(part)) => {
                    assert!(reason.contains(part), "{name}: {reason}");
                }
                (verdict, expected) => panic!("{name} is {verdict:?}, expected {expected:?}"),
            }
        }
    }

    const BF16: DType = DType::BF16;

    #[test]
    fn shapes_and_dtypes() {
        let c = Checkpoint::new(&[
            ("q_proj.weight", BF16, &[64, 64]),
            ("experts.down_proj", BF16, &[4, 48, 64]),
            ("conv2.weight", BF16, &[64, 32, 3]),
            ("mixer.conv1d.weight", BF16, &[2048, 1, 4]),
            ("ids", DType::I32, &[64, 64]),
            ("thin_proj.weight", BF16, &[4096, 1]),
            ("few_proj.weight", BF16, &[32, 32]),
            ("video.proj.weight", BF16, &[32, 3, 2, 8, 8]),
            ("empty_proj.weight", BF16, &[0, 64]),
            ("masks", BF16, &[1, 1, 64, 64]),
        ]);
        c.check("q_proj.weight", Ok((Role::Linear, 64, 64)));
        c.check("experts.down_proj", Ok((Role::Linear, 192, 64)));
        c.check("conv2.weight", Ok((Role::Linear, 64, 96)));
        c.check("mixer.conv1d.weight", Err("depthwise"));
        c.check("ids", Err("dtype I32"));
        c.check("thin_proj.weight", Err("4096 × 1"));
        c.check("few_proj.weight", Err("1024 elements"));
        c.check("video.proj.weight", Err("5 dimensions"));
        c.check("empty_proj.weight", Err("no elements"));
        c.check("masks", Err("1 × 4096"));
    }

    #[test]
    fn unknown_names_are_coded_where_it_pays() {
        let c = Checkpoint::new(&[
            ("up_proj.weight", BF16, &[4096, 4096]),
            ("what.weight", BF16, &[64, 64]),
            ("large.weight", BF16, &[1024, 1024]),
        ]);
        c.check("what.weight", Err("unknown name"));
        c.check("large.weight", Ok((Role::Linear, 1024, 1024)));
    }

    #[test]
    fn the_user_decides() {
        let mut c = Checkpoint::new(&[
            ("up_proj.weight", BF16, &[64, 64]),
            ("q.lora_A.weight", BF16, &[8, 512]),
            ("q.lora_B.weight", DType::I8, &[512, 8]),
            ("mlp.gate.weight", BF16, &[32, 128]),
            ("embed_tokens.weight", BF16, &[256, 64]),
        ]);
        c.check("q.lora_A.weight", Err("8 × 512"));
        c.check("mlp.gate.weight", Err("router"));
        c.overrides = Overrides::new(&["up_*".into()], &["*".into()]).unwrap();
        c.check("up_proj.weight", Err("--keep up_*"));
        c.check("q.lora_A.weight", Ok((Role::Linear, 8, 512)));
        c.check("mlp.gate.weight", Ok((Role::Linear, 32, 128)));
        c.check("embed_tokens.weight", Ok((Role::Embedding, 256, 64)));
        // What no codec can take stays.
        c.check("q.lora_B.weight", Err("dtype I8"));
    }

    #[test]
    fn what_is_quantised_stays_whole() {
        let mut c = Checkpoint::new(&[
            ("up_proj.weight", DType::U32, &[64, 64]),
            ("up_proj.biases", DType::F16, &[64, 64]),
            ("down_proj.weight", DType::F8E4M3, &[256, 256]),
            ("down_proj.weight_scale", DType::F32, &[64, 64]),
        ]);
        c.check("up_proj.biases", Err("zero point"));
        c.check("down_proj.weight_scale", Err("scale"));
        c.quantized.insert("down_proj.weight_scale".into(), "fp8");
        c.check("down_proj.weight_scale", Err("quantised with fp8"));
    }
}
