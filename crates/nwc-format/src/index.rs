//! `model.safetensors.index.json`: which file holds which tensor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check::is_relative_path;
use crate::header::Header;
use crate::layout::SHARD_SUFFIX;
use crate::raw::UniqueMap;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, PlainWriter};
    use std::io::Cursor;

    const LIMITS: Limits = Limits {
        max_header_bytes: 1000,
        max_tensors: 3,
        max_dims: 4,
        max_tensor_bytes: 100,
    };

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = ModelIndex::parse(text.as_bytes(), &LIMITS)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    fn header_of(names: &[&str]) -> Header {
        let mut writer = PlainWriter::new(Cursor::new(Vec::new()), 0).unwrap();
        names
            .iter()
            .for_each(|name| writer.tensor(name, DType::U8, &[2], &[1, 2]).unwrap());
        let bytes = writer.finish(&BTreeMap::new()).unwrap().into_inner();
        Header::parse(&bytes, bytes.len() as u64, &Limits::default()).unwrap()
    }

    #[test]
    fn round_trip_keeps_order_and_unknown_metadata() {
        let text = r#"{
  "metadata": {
    "total_size": 8,
    "a": [
      1.5
    ]
  },
  "weight_map": {
    "h": "model-00002-of-00002.safetensors",
    "w": "model-00001-of-00002.safetensors"
  }
}
"#;
        let index = ModelIndex::parse(text.as_bytes(), &LIMITS).unwrap();
        assert_eq!(
            index.files(),
            [
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors"
            ]
        );
        assert_eq!(String::from_utf8(index.to_bytes().unwrap()).unwrap(), text);
        let bare = ModelIndex::parse(br#"{"weight_map":{},"metadata":null,"x":1}"#, &LIMITS);
        assert_eq!(bare.unwrap(), ModelIndex::default());
    }

    #[test]
    fn wrong_texts_are_refused() {
        check_error(
            "[1]",
            "model.safetensors.index.json is not the expected JSON",
        );
        check_error(
            "{}",
            "model.safetensors.index.json is not the expected JSON: missing field",
        );
        check_error(
            r#"{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}"#,
            "model.safetensors.index.json is not the expected JSON: key `a` is there twice",
        );
        for file in [
            "../x.safetensors",
            "/x.safetensors",
            "d/x.safetensors",
            "x.bin",
            "",
            "c:x.safetensors",
        ] {
            check_error(
                &serde_json::json!({"weight_map": {"a": file}}).to_string(),
                &format!(
                    "file name in model.safetensors.index.json is `{file}`, expected a name in the same folder"
                ),
            );
        }
        check_error(
            r#"{"weight_map":{"a":"x","b":"x","c":"x","d":"x"}}"#,
            "number of tensors in the index is 4, allowed are 3",
        );
        check_error(
            &" ".repeat(1001),
            "length of the index in bytes is 1001, allowed are 1000",
        );
    }

    #[test]
    fn index_and_files_agree() {
        let (first, second) = (header_of(&["a", "b"]), header_of(&["c"]));
        let shards = [("1.safetensors", &first), ("2.safetensors", &second)];
        let index = ModelIndex::from_shards(&shards).unwrap();
        assert_eq!(index.metadata["total_size"], 6);
        shards
            .iter()
            .for_each(|(file, header)| index.check_file(file, header).unwrap());
        let check = |file: &str, header: &Header, expected: &str| {
            assert_eq!(
                index.check_file(file, header).unwrap_err().to_string(),
                expected
            );
        };
        check(
            "1.safetensors",
            &second,
            "section `c` is in 1.safetensors, expected in 2.safetensors, as the index says",
        );
        check(
            "1.safetensors",
            &header_of(&["a"]),
            "section `b` is not in 1.safetensors, expected there, as the index says",
        );
        check(
            "2.safetensors",
            &header_of(&["c", "d"]),
            "section `d` is in 2.safetensors, expected in the index too",
        );
        let twice =
            ModelIndex::from_shards(&[("1.safetensors", &first), ("2.safetensors", &first)]);
        assert_eq!(
            twice.unwrap_err().to_string(),
            "name `a` is there twice, allowed once"
        );
    }

    #[test]
    fn shard_names_are_those_of_hugging_face() {
        assert_eq!(crate::shard_file_name(0, 1), "model.safetensors");
        assert_eq!(
            crate::shard_file_name(0, 12),
            "model-00001-of-00012.safetensors"
        );
        assert_eq!(
            crate::shard_file_name(11, 12),
            "model-00012-of-00012.safetensors"
        );
    }
}
