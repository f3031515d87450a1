//! A safetensors header as its JSON says it, with repeated keys refused.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::json::{Shape, Strings};
use crate::layout::{MAX_METADATA, METADATA_KEY};

/// A header as JSON says it, in file order.
#[derive(Default)]
pub(crate) struct RawHeader {
    pub(crate) entries: Vec<(String, RawEntry)>,
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
pub(crate) struct RawEntry {
    pub(crate) dtype: String,
    pub(crate) shape: Shape,
    pub(crate) data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut raw = RawHeader::default();
        // Serde's maps let the last of two equal keys win, which lets one file have two readings.
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(de::Error::custom(format_args!(
                    "name `{name}` is there twice"
                )));
            }
            if name == METADATA_KEY {
                let metadata: Option<Strings<MAX_METADATA>> = map.next_value()?;
                raw.metadata = metadata.unwrap_or_default().0;
            } else {
                let in_tensor =
                    |e: A::Error| de::Error::custom(format_args!("tensor `{name}`: {e}"));
                let entry = map.next_value().map_err(in_tensor)?;
                raw.entries.push((name, entry));
            }
        }
        Ok(raw)
    }
}
