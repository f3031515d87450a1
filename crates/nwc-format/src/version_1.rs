//! What version 1 had otherwise; read, never written.
//!
//! A payload was called `{tensor}.nwc.payload`, raw bytes were called `lossless`, and there was nothing packed, no base
//! and no provenance.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::Numbers;
use crate::{Coding, Digest};

/// The text under `__metadata__["nwc"]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardJson<'a> {
    #[expect(dead_code, reason = "checked before the rest is read")]
    version: u32,
    pub(crate) generator: String,
    pub(crate) fingerprint: Digest,
    pub(crate) shard_idx: usize,
    pub(crate) n_shards: usize,
    #[serde(borrow)]
    pub(crate) codecs: Vec<&'a RawValue>,
    #[serde(default)]
    pub(crate) files: BTreeMap<String, Digest>,
    #[serde(borrow)]
    pub(crate) tensors: Vec<&'a RawValue>,
}

/// How a tensor is stored.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum CodingJson {
    Lossless,
    Coded {
        family: String,
        codec: String,
        #[serde(default)]
        parameters: Numbers,
    },
    TiedTo {
        name: String,
    },
}

impl From<CodingJson> for Coding {
    fn from(json: CodingJson) -> Self {
        match json {
            CodingJson::Lossless => Self::Raw,
            CodingJson::Coded {
                family,
                codec,
                parameters,
            } => Self::Coded {
                family,
                codec,
                parameters: parameters.into(),
                base: false,
            },
            CodingJson::TiedTo { name } => Self::TiedTo { name },
        }
    }
}
