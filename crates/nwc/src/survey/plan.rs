//! Which tensor is coded, which is stored as it is, and why.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use nwc_format::{DType, Digest, DigestBuilder};
use rayon::prelude::*;

use crate::classify::{Classifier, MIN_CODED_ELEMS, Overrides, Verdict};
use crate::folder::quantized::detect;
use crate::folder::{Source, SourceShard, SourceTensor, dtype};
use crate::options::{CodecChoice, CompressOptions, Embeddings, NonFinite};
use crate::role::Role;
use crate::survey::Values;
use crate::{Error, Result};

/// What happens to one tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Treatment {
    /// Coded as a matrix; a stack of experts is one tall matrix, a convolution's kernel is flat.
    Code {
        role: Role,
        rows: usize,
        cols: usize,
    },
    /// Stored as it is, or coded without loss where that is smaller.
    Kept { reason: String },
    /// The same bytes as another tensor.
    TiedTo { name: String },
}

/// One tensor with its treatment.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) shard: &'a SourceShard,
    pub(crate) tensor: &'a SourceTensor,
    pub(crate) treatment: Treatment,
    pub(crate) values: Values,
}

impl Planned<'_> {
    /// # Errors
    /// [`Error::Tensor`] where a quantised weight cannot be opened.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        self.shard.bytes(self.tensor)
    }

    /// The weights as f32, flat.
    ///
    /// # Errors
    /// As [`Planned::bytes`].
    pub(crate) fn weights(&self) -> Result<Vec<f32>> {
        // Only codable dtypes are planned for coding.
        let weights = dtype::to_f32(self.tensor.dtype, &self.bytes()?).unwrap_or_default();
        self.shard.forget(self.tensor);
        Ok(weights)
    }
}

/// Which tensors may be coded at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Whatever the rules allow.
    All,
    /// The same without embeddings and output head.
    Linears,
    /// None.
    Nothing,
}

impl Scope {
    /// What `options` ask for.
    pub(crate) fn of(options: &CompressOptions) -> Self {
        match (&options.codec, options.embeddings) {
            (CodecChoice::Lossless, _) => Self::Nothing,
            (_, Embeddings::Keep) => Self::Linears,
            (_, Embeddings::Code) => Self::All,
        }
    }
}

/// The whole checkpoint's plan, shard by shard, with the model's fingerprint.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) shards: Vec<Vec<Planned<'a>>>,
    pub(crate) fingerprint: Digest,
    /// Whether the checkpoint has an index.
    pub(crate) has_index: bool,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        source: &'a Source,
        scope: Scope,
        non_finite: NonFinite,
        overrides: &Overrides,
    ) -> Result<Self> {
        let tensors: Vec<_> = source.tensors().collect();
        let facts = || tensors.iter().map(|(_, tensor)| tensor.facts());
        let quantized = detect(facts());
        for method in quantized.methods() {
            tracing::info!(
                method = method.name(),
                "quantised already; carried as it is"
            );
        }
        let quantized = quantized.tensors();
        let classifier = Classifier::new(facts(), &quantized, overrides);
        // One pass over the bytes serves fingerprint, tied tensors and a look at the values.
        let scanned = tensors
            .par_iter()
            .map(|(shard, tensor)| {
                let treatment = treatment_of(&classifier, tensor, scope);
                scan(shard, tensor, treatment, non_finite)
            })
            .collect::<Result<Vec<_>>>()?;
        let digests: Vec<Digest> = scanned.iter().map(|scan| scan.digest).collect();
        // Zeros are the same bytes in every dtype.
        let mut first_of: HashMap<(Digest, DType, &[usize]), &str> = HashMap::new();
        let mut shards: Vec<Vec<Planned<'a>>> = Vec::new();
        let mut current: Option<&str> = None;
        for ((shard, tensor), scan) in tensors.iter().zip(scanned) {
            if current != Some(shard.file_name.as_str()) {
                shards.push(Vec::new());
                current = Some(&shard.file_name);
            }
            let first = *first_of
                .entry((scan.digest, tensor.dtype, tensor.shape.as_slice()))
                .or_insert(&tensor.name);
            let treatment = if first != tensor.name && tensor.n_elems() >= MIN_CODED_ELEMS {
                Treatment::TiedTo { name: first.into() }
            } else if scan.values.first_non_finite.is_some() {
                Treatment::Kept {
                    reason: "it holds NaN or infinity".into(),
                }
            } else {
                scan.treatment
            };
            if let Some(planned) = shards.last_mut() {
                planned.push(Planned {
                    shard,
                    tensor,
                    treatment,
                    values: scan.values,
                });
            }
        }
        let mut names: Vec<_> = tensors.iter().zip(digests).collect();
        names.sort_by_key(|((_, tensor), _)| &tensor.name);
        let mut hasher = DigestBuilder::new();
        for ((_, tensor), digest) in names {
            hasher.update(
                format!("{}\0{}\0{:?}\0", tensor.name, tensor.dtype, tensor.shape).as_bytes(),
            );
            hasher.update(digest.as_bytes());
        }
        Ok(Self {
            shards,
            // What was compressed before is the same model still.
            fingerprint: match &source.before {
                Some(before) => before.fingerprint,
                None => hasher.finish(),
            },
            has_index: source.weights.index.is_some(),
        })
    }

    /// All tensors, in file order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Planned<'a>> {
        self.shards.iter().flatten()
    }

    /// All tensors that are coded, in file order, with role and shape `(rows, cols)` as they are stored.
    pub(crate) fn coded(&self) -> impl Iterator<Item = (&Planned<'a>, Role, (usize, usize))> {
        self.tensors().filter_map(|p| match p.treatment {
            Treatment::Code { role, rows, cols } => Some((p, role, (rows, cols))),
            _ => None,
        })
    }

    /// File names of the shards.
    pub(crate) fn shard_names(&self) -> impl Iterator<Item = &'a str> {
        let first =
            |planned: &Vec<Planned<'a>>| planned.first().map(|p| p.shard.file_name.as_str());
        self.shards.iter().filter_map(first)
    }
}

/// The fingerprint of the plain checkpoint in `dir`: over names, dtypes, shapes and bytes of all tensors, in
/// order of names. Statistics carry it, so that they are not used with another model.
///
/// # Errors
/// [`Error`] names the file that cannot be read.
pub fn fingerprint(dir: impl AsRef<Path>) -> Result<String> {
    Ok(fingerprint_of(&Source::open(dir.as_ref())?)?.to_string())
}

/// As [`fingerprint`], of an opened checkpoint.
pub(crate) fn fingerprint_of(source: &Source) -> Result<Digest> {
    let overrides = Overrides::default();
    let plan = Plan::new(source, Scope::Nothing, NonFinite::Keep, &overrides)?;
    Ok(plan.fingerprint)
}

struct Scan {
    /// What becomes of the tensor by its name and shape.
    treatment: Treatment,
    digest: Digest,
    values: Values,
}

fn scan(
    shard: &SourceShard,
    tensor: &SourceTensor,
    treatment: Treatment,
    non_finite: NonFinite,
) -> Result<Scan> {
    let bytes = shard.bytes(tensor)?;
    let digest = Digest::of(&bytes);
    let cols = match treatment {
        Treatment::Code { cols, .. } => cols,
        _ => tensor.shape.last().copied().unwrap_or(1),
    };
    let mut values = Values::scan(tensor.dtype, cols, &bytes);
    values.is_sparse &= tensor.has_own_zeros();
    shard.forget(tensor);
    if let (Some((element_idx, value)), NonFinite::Refuse) = (values.first_non_finite, non_finite) {
        return Err(Error::NonFinite {
            path: shard.path().into(),
            tensor: tensor.name.clone(),
            element_idx,
            value,
        });
    }
    Ok(Scan {
        treatment,
        digest,
        values,
    })
}

fn treatment_of(classifier: &Classifier<'_>, tensor: &SourceTensor, scope: Scope) -> Treatment {
    if scope == Scope::Nothing {
        return Treatment::Kept {
            reason: "everything is kept as asked".into(),
        };
    }
    match classifier.verdict(tensor.facts()) {
        Verdict::Keep { reason } => Treatment::Kept { reason },
        Verdict::Code { role, .. } if !role.is_linear() && scope == Scope::Linears => {
            Treatment::Kept {
                reason: "embeddings are kept as asked".into(),
            }
        }
        Verdict::Code { role, rows, cols } => Treatment::Code { role, rows, cols },
    }
}
