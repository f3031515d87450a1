//! `model.safetensors.index.json`: which file holds which tensor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check::is_relative_path;
use crate::header::{Header, UniqueMap};
use crate::layout::SHARD_SUFFIX;
use crate::{Error, INDEX_FILE_NAME, Limits, Result};

/// The index of a checkpoint in several files, plain or ours.
///
/// In ours, `weight_map` lists the names as they are in the files, `layer.weight.nwc.payload` and the like.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ModelIndex {
    /// What else is said, as in `total_size`; order and unknown keys are kept.
    pub metadata: Map<String, Value>,
    /// File name by tensor name.
    pub weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IndexJson {
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    weight_map: UniqueMap,
}

impl ModelIndex {
    /// Reads an index; keys other than `metadata` and `weight_map` are ignored, as every reader does.
    ///
    /// # Errors
    /// [`Error::Limit`] where it is longer than a header may be or lists too many tensors; [`Error::Json`];
    /// [`Error::Table`] where a file name is not that of a safetensors file in the same folder.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let limit = |what: &str, found: usize, allowed: u64| Error::Limit {
            what: what.to_owned(),
            found: found as u64,
            allowed,
        };
        if bytes.len() as u64 > limits.max_header_bytes {
            return Err(limit(
                "length of the index in bytes",
                bytes.len(),
                limits.max_header_bytes,
            ));
        }
        let json: IndexJson = serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: INDEX_FILE_NAME.into(),
            source,
        })?;
        let weight_map = json.weight_map.0;
        if weight_map.len() > limits.max_tensors {
            let allowed = limits.max_tensors as u64;
            return Err(limit(
                "number of tensors in the index",
                weight_map.len(),
                allowed,
            ));
        }
        let index = Self {
            metadata: json.metadata.unwrap_or_default(),
            weight_map,
        };
        index.check_names()?;
        Ok(index)
    }

    /// An index of `shards`, given as file name and header. `total_size` is the number of data bytes.
    ///
    /// # Errors
    /// [`Error::DuplicateName`] where two files hold a tensor of the same name; [`Error::Table`] for a file name that
    /// an index cannot hold.
    pub fn from_shards(shards: &[(&str, &Header)]) -> Result<Self> {
        let mut index = Self::default();
        let mut total_size = 0u64;
        for (file, header) in shards {
            for entry in header.entries() {
                total_size = total_size.saturating_add(entry.n_bytes());
                let name = entry.name.clone();
                if index.weight_map.insert(name, (*file).to_owned()).is_some() {
                    return Err(Error::DuplicateName {
                        name: entry.name.clone(),
                    });
                }
            }
        }
        index
            .metadata
            .insert("total_size".into(), total_size.into());
        index.check_names()?;
        Ok(index)
    }

    /// The text as Hugging Face tools write it: two blanks of indentation, names sorted, a newline at the end.
    ///
    /// # Errors
    /// [`Error::Json`] never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|source| Error::Json {
            what: INDEX_FILE_NAME.into(),
            source,
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The files, each once, sorted.
    pub fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = self.weight_map.values().map(String::as_str).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Checks that `file` with this `header` holds exactly the tensors that the index says.
    ///
    /// # Errors
    /// [`Error::Section`], naming the tensor.
    pub fn check_file(&self, file: &str, header: &Header) -> Result<()> {
        let wrong = |tensor: &str, found: String, expected: String| {
            Err(Error::Section {
                section: tensor.to_owned(),
                found,
                expected,
            })
        };
        for entry in header.entries() {
            match self.weight_map.get(&entry.name) {
                Some(listed) if listed == file => {}
                Some(listed) => {
                    return wrong(
                        &entry.name,
                        format!("is in {file}"),
                        format!("in {listed}, as the index says"),
                    );
                }
                None => {
                    return wrong(
                        &entry.name,
                        format!("is in {file}"),
                        "in the index too".into(),
                    );
                }
            }
        }
        let is_missing = |(name, listed): &(&String, &String)| {
            listed.as_str() == file && header.entry(name).is_none()
        };
        match self.weight_map.iter().find(is_missing) {
            None => Ok(()),
            Some((name, _)) => wrong(
                name,
                format!("is not in {file}"),
                "there, as the index says".into(),
            ),
        }
    }

    fn check_names(&self) -> Result<()> {
        // An index is followed to files: a name must not lead out of the folder.
        let is_wrong = |file: &&String| {
            !is_relative_path(file) || file.contains('/') || !file.ends_with(SHARD_SUFFIX)
        };
        match self.weight_map.values().find(is_wrong) {
            None => Ok(()),
            Some(file) => Err(Error::Table {
                what: format!("file name in {INDEX_FILE_NAME}"),
                found: format!("`{file}`"),
                expected: format!("a name in the same folder that ends with {SHARD_SUFFIX}"),
            }),
        }
    }
}
