//! `model.safetensors.index.json`: which file holds which tensor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::check::is_relative_path;
use crate::header::Header;
use crate::json::{Strings, count_outside_strings};
use crate::layout::{PARAMETERS_KEY, SHARD_SUFFIX};
use crate::{Error, INDEX_FILE_NAME, Limits, Result, ShardMetadata};

/// The index of a checkpoint in several files, plain or ours.
///
/// In ours, `weight_map` lists the sections: the names of the original tensors, and `layer.weight.nwc.scales` and the
/// like.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ModelIndex {
    /// What else is said, as in `total_size`.
    pub metadata: BTreeMap<String, Value>,
    /// File name by tensor name.
    pub weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IndexJson<'a> {
    #[serde(default)]
    metadata: Option<BTreeMap<String, Value>>,
    #[serde(borrow)]
    weight_map: &'a RawValue,
}

impl ModelIndex {
    /// Reads an index; keys other than `metadata` and `weight_map` are ignored, as every reader does.
    ///
    /// # Errors
    /// [`Error::Limit`] where it is longer than a header may be or lists too many tensors; [`Error::Json`];
    /// [`Error::Table`] where a file name is not that of a safetensors file in the same folder.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        if bytes.len() as u64 > limits.max_index_bytes {
            return Err(Error::limit(
                "length of the index in bytes",
                bytes.len() as u64,
                limits.max_index_bytes,
            ));
        }
        let wrong = |source| Error::Json {
            what: INDEX_FILE_NAME.into(),
            source,
        };
        let json: IndexJson<'_> = serde_json::from_slice(bytes).map_err(wrong)?;
        let n_entries = count_outside_strings(json.weight_map.get().as_bytes(), b':');
        if n_entries > limits.max_index_entries {
            return Err(Error::limit(
                "number of tensors in the index",
                n_entries as u64,
                limits.max_index_entries as u64,
            ));
        }
        let weight_map: Strings<{ usize::MAX }> =
            serde_json::from_str(json.weight_map.get()).map_err(wrong)?;
        let index = Self {
            metadata: json.metadata.unwrap_or_default(),
            weight_map: weight_map.0,
        };
        index.check_names()?;
        Ok(index)
    }

    /// An index of plain files, given as file name and header. `total_size` is the number of data bytes.
    ///
    /// # Errors
    /// [`Error::DuplicateName`] where two files hold a tensor of the same name; [`Error::Table`] for a file name that
    /// an index cannot hold.
    pub fn from_shards(shards: &[(&str, &Header)]) -> Result<Self> {
        let entries = shards.iter().flat_map(|(file, header)| {
            let entries = header.entries().iter();
            entries.map(|entry| (*file, entry.name.clone(), entry.n_bytes()))
        });
        Self::from_entries(entries)
    }

    /// The index of a set of our shards, given as file name and table: every section, `total_size`, and
    /// `total_parameters`, the number of parameters of the original model.
    ///
    /// # Errors
    /// As [`Self::from_shards`].
    pub fn from_tables(shards: &[(&str, &ShardMetadata)], total_parameters: u64) -> Result<Self> {
        let entries = shards.iter().flat_map(|(file, metadata)| {
            let sections = metadata.sections();
            sections.map(|section| (*file, section.name, section.bytes))
        });
        let mut index = Self::from_entries(entries)?;
        let key = PARAMETERS_KEY.to_owned();
        index.metadata.insert(key, total_parameters.into());
        Ok(index)
    }

    fn from_entries<'a>(entries: impl Iterator<Item = (&'a str, String, u64)>) -> Result<Self> {
        let mut index = Self::default();
        let mut total_size = 0u64;
        for (file, name, n_bytes) in entries {
            total_size = total_size.saturating_add(n_bytes);
            if index.weight_map.contains_key(&name) {
                return Err(Error::DuplicateName { name });
            }
            index.weight_map.insert(name, file.to_owned());
        }
        let key = "total_size".to_owned();
        index.metadata.insert(key, total_size.into());
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
    use crate::{CodecRecord, DType, Digest, PlainWriter};
    use std::io::Cursor;

    fn limits() -> Limits {
        Limits {
            max_index_bytes: 1000,
            max_index_entries: 3,
            ..Limits::default()
        }
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = ModelIndex::parse(text.as_bytes(), &limits())
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
    fn round_trip_keeps_unknown_metadata() {
        let text = r#"{
  "metadata": {
    "a": [
      1.5
    ],
    "total_size": 8
  },
  "weight_map": {
    "h": "model-00002-of-00002.safetensors",
    "w": "model-00001-of-00002.safetensors"
  }
}
"#;
        let index = ModelIndex::parse(text.as_bytes(), &limits()).unwrap();
        assert_eq!(
            index.files(),
            [
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors"
            ]
        );
        assert_eq!(String::from_utf8(index.to_bytes().unwrap()).unwrap(), text);
        let bare = ModelIndex::parse(br#"{"weight_map":{},"metadata":null,"x":1}"#, &limits());
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
    fn plain_files_are_listed() {
        let (first, second) = (header_of(&["a", "b"]), header_of(&["c"]));
        let shards = [("1.safetensors", &first), ("2.safetensors", &second)];
        let index = ModelIndex::from_shards(&shards).unwrap();
        assert_eq!(index.metadata["total_size"], 6);
        assert_eq!(index.files(), ["1.safetensors", "2.safetensors"]);
        assert_eq!(index.weight_map["c"], "2.safetensors");
        let twice =
            ModelIndex::from_shards(&[("1.safetensors", &first), ("2.safetensors", &first)]);
        assert_eq!(
            twice.unwrap_err().to_string(),
            "name `a` is there twice, allowed once"
        );
    }

    #[test]
    fn our_sections_are_listed_with_both_totals() {
        let mut metadata = ShardMetadata::new("test", Digest::of(b""));
        metadata.codecs.push(CodecRecord {
            id: "c".into(),
            bytes: 5,
            digest: Digest::of(b""),
        });
        let index = ModelIndex::from_tables(&[("1.safetensors", &metadata)], 70).unwrap();
        assert_eq!(
            index.to_bytes().unwrap().escape_ascii().to_string(),
            r#"{\n  \"metadata\": {\n    \"total_parameters\": 70,\n    \"total_size\": 5\n  },\n"#
                .to_owned()
                + r#"  \"weight_map\": {\n    \"nwc.codec.c\": \"1.safetensors\"\n  }\n}\n"#
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
