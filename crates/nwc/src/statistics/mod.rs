//! Statistics files: what calibration found out about a model's layers.
//!
//! A safetensors file: `hessian.{key}` holds the lower triangle of `E[x xᵀ]`, row by row, f32, once for
//! all linears that share the input; `fisher.{tensor}` holds `E[g²]` of a linear's output, f32;
//! `curvature.{tensor}` holds the lower triangle of the columns' curvature, `row_curvature.{tensor}` the rows', both f32,
//! see [`nwc_compensate::Curvature`];
//! `__metadata__["nwc_statistics"]` is the JSON of [`StatisticsInfo`].

mod reader;
mod writer;

use std::collections::BTreeMap;

use nwc_format::Digest;
use serde::{Deserialize, Serialize};

pub use reader::Statistics;
pub use writer::StatisticsWriter;

/// Version of the statistics file; versions 1 and 2 had no `curvature`, versions 2 and 3 could hold `moments`, which no
/// longer serve.
pub(crate) const STATISTICS_VERSION: u32 = 3;
/// Key of the metadata entry.
pub(crate) const STATISTICS_KEY: &str = "nwc_statistics";

/// What a statistics file says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsInfo {
    /// Version of the file.
    pub version: u32,
    /// Fingerprint of the model's weights ([`crate::fingerprint`]).
    pub fingerprint: String,
    /// Digest of the text, or `self-generated`.
    pub text: String,
    /// Tokens that the Hessians are means over.
    pub n_tokens: u64,
    /// Tokens that the output Fisher is a mean over.
    pub n_fisher_tokens: u64,
    /// Key of the Hessian of each linear, by the name of its weight tensor.
    pub linears: BTreeMap<String, HessianEntry>,
}

impl StatisticsInfo {
    /// What [`StatisticsInfo::text`] says of this text.
    pub fn digest_of(text: &str) -> String {
        Digest::of(text.as_bytes()).to_string()
    }
}

/// Which Hessian a linear has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HessianEntry {
    /// The Hessian's key.
    pub key: String,
    /// Tokens that reached the layer; fewer than the whole for an expert, 0 where siblings stand in.
    pub n_tokens: u64,
    /// Whether the weight tensor is stored `[in, out]`, as GPT-2's are.
    #[serde(default)]
    pub transposed: bool,
}

/// The name of the columns' curvature of a linear.
fn curvature_key(linear: &str) -> String {
    format!("curvature.{linear}")
}

/// The name of the rows' curvature of a linear.
fn row_curvature_key(linear: &str) -> String {
    format!("row_curvature.{linear}")
}
