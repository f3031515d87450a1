//! The tensor table as text: what is under `__metadata__["nwc"]`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Number, Shape, UniqueMap};
use crate::layout::{
    self, BaseJson, CodecJson, CodingJson, OLDEST_VERSION, PARAMETERS_KEY, RESERVED_KEYS,
    RecordJson, ShardJson, VersionJson,
};
use crate::{
    BaseModel, CodecRecord, Coding, Digest, Error, FORMAT_VERSION, Limits, Result, Section,
    ShardMetadata, TensorRecord, version_1,
};

fn wrong(source: serde_json::Error) -> Error {
    Error::Json {
        what: "the tensor table".into(),
        source,
    }
}

/// The version that a table says it has, and nothing else of it: a later version may differ in all the rest.
pub(crate) fn version(text: &str) -> Result<u32> {
    let VersionJson { version } = serde_json::from_str(text).map_err(wrong)?;
    u32::try_from(version)
        .ok()
        .filter(|version| (OLDEST_VERSION..=FORMAT_VERSION).contains(version))
        .ok_or(Error::Version {
            found: version,
            oldest: OLDEST_VERSION,
            newest: FORMAT_VERSION,
        })
}

/// The strings that go under `__metadata__` besides the digest, the table among them.
pub(crate) fn to_strings(metadata: &ShardMetadata) -> Result<BTreeMap<String, String>> {
    let (reserved, mut strings): (BTreeMap<_, _>, BTreeMap<_, _>) = metadata
        .extra
        .clone()
        .into_iter()
        .partition(|(key, _)| RESERVED_KEYS.contains(&key.as_str()));
    let raw = |json: serde_json::Result<String>| json.and_then(RawValue::from_string);
    let codecs = metadata.codecs.iter().map(|codec| {
        raw(serde_json::to_string(&CodecJson {
            id: codec.id.clone(),
            bytes: codec.bytes,
            digest: codec.digest,
        }))
    });
    let codecs: Vec<_> = codecs.collect::<serde_json::Result<_>>().map_err(wrong)?;
    let records = metadata.tensors.iter();
    let records = records.map(|record| raw(serde_json::to_string(&RecordJson::from(record))));
    let records: Vec<_> = records.collect::<serde_json::Result<_>>().map_err(wrong)?;
    let json = ShardJson {
        version: metadata.version,
        generator: metadata.generator.clone(),
        fingerprint: metadata.fingerprint,
        base: metadata.base.as_ref().map(|base| BaseJson {
            name: base.name.clone(),
            fingerprint: base.fingerprint,
        }),
        shard_idx: metadata.shard_idx,
        n_shards: metadata.n_shards,
        codecs: codecs.iter().map(Box::as_ref).collect(),
        files: metadata.files.clone(),
        checkpoints: metadata.checkpoints.clone(),
        provenance: UniqueMap(metadata.provenance.clone()),
        metadata: UniqueMap(reserved),
        tensors: records.iter().map(Box::as_ref).collect(),
    };
    let text = serde_json::to_string(&json).map_err(wrong)?;
    strings.insert(layout::TABLE_KEY.to_owned(), text);
    if let Some(n_parameters) = metadata.total_parameters {
        strings.insert(PARAMETERS_KEY.to_owned(), n_parameters.to_string());
    }
    Ok(strings)
}

/// Reads what [`to_strings`] wrote: the table of `version` in `text`, and the `other` strings of the header.
pub(crate) fn from_strings(
    version: u32,
    text: &str,
    other: BTreeMap<String, String>,
    limits: &Limits,
) -> Result<ShardMetadata> {
    if version == 1 {
        from_version_1(text, other, limits)
    } else {
        from_current(text, other, limits)
    }
}

fn from_current(
    text: &str,
    mut extra: BTreeMap<String, String>,
    limits: &Limits,
) -> Result<ShardMetadata> {
    let json: ShardJson<'_> = serde_json::from_str(text).map_err(wrong)?;
    let total_parameters = extra.remove(PARAMETERS_KEY).map(|digits| {
        digits.parse().map_err(|_| Error::Table {
            what: format!("metadata `{PARAMETERS_KEY}`"),
            found: format!("`{digits}`"),
            expected: "a number".into(),
        })
    });
    let is_free = |key: &&String| !RESERVED_KEYS.contains(&key.as_str());
    if let Some(key) = json.metadata.0.keys().find(is_free) {
        return Err(Error::Table {
            what: "key of the original metadata in the table".into(),
            found: format!("`{key}`"),
            expected: format!("one of {}", RESERVED_KEYS.join(", ")),
        });
    }
    extra.extend(json.metadata.0);
    Ok(ShardMetadata {
        version: FORMAT_VERSION,
        tensors: records::<CodingJson>(FORMAT_VERSION, &json.tensors, limits)?,
        codecs: codecs(&json.codecs, limits)?,
        files: json.files,
        checkpoints: json.checkpoints,
        generator: json.generator,
        extra,
        n_shards: json.n_shards,
        shard_idx: json.shard_idx,
        fingerprint: json.fingerprint,
        base: json.base.map(|base| BaseModel {
            name: base.name,
            fingerprint: base.fingerprint,
        }),
        provenance: json.provenance.0,
        total_parameters: total_parameters.transpose()?,
    })
}

fn from_version_1(
    text: &str,
    extra: BTreeMap<String, String>,
    limits: &Limits,
) -> Result<ShardMetadata> {
    let json: version_1::ShardJson<'_> = serde_json::from_str(text).map_err(wrong)?;
    Ok(ShardMetadata {
        version: 1,
        tensors: records::<version_1::CodingJson>(1, &json.tensors, limits)?,
        codecs: codecs(&json.codecs, limits)?,
        files: json.files,
        checkpoints: Vec::new(),
        generator: json.generator,
        extra,
        n_shards: json.n_shards,
        shard_idx: json.shard_idx,
        fingerprint: json.fingerprint,
        base: None,
        provenance: BTreeMap::new(),
        total_parameters: None,
    })
}

fn codecs(texts: &[&RawValue], limits: &Limits) -> Result<Vec<CodecRecord>> {
    limits.check_tensors("codecs in the table", texts.len())?;
    let codec = |text: &&RawValue| {
        let json: CodecJson = serde_json::from_str(text.get()).map_err(wrong)?;
        Ok(CodecRecord {
            id: json.id,
            bytes: json.bytes,
            digest: json.digest,
        })
    };
    texts.iter().map(codec).collect()
}

fn records<'a, C>(
    version: u32,
    texts: &[&'a RawValue],
    limits: &Limits,
) -> Result<Vec<TensorRecord>>
where
    C: Deserialize<'a>,
    Coding: From<C>,
{
    limits.check_tensors("tensors in the table", texts.len())?;
    let record = |text: &&'a RawValue| {
        let json: RecordJson<C> = serde_json::from_str(text.get()).map_err(wrong)?;
        let section = |(role, bytes, digest): (String, u64, Digest)| Section {
            name: layout::section_name_in(version, &json.name, &role),
            role,
            bytes,
            digest,
        };
        Ok(TensorRecord {
            sections: json.sections.into_iter().map(section).collect(),
            name: json.name,
            dtype: json.dtype,
            shape: json.shape.0,
            coding: json.coding.into(),
            bits_estimated: json.bits.map(|number| number.0),
            nmse: json.nmse.map(|number| number.0),
            reason: json.reason,
        })
    };
    texts.iter().map(record).collect()
}

impl From<&TensorRecord> for RecordJson {
    fn from(record: &TensorRecord) -> Self {
        let sections = record.sections.iter();
        Self {
            name: record.name.clone(),
            dtype: record.dtype,
            shape: Shape(record.shape.clone()),
            coding: CodingJson::from(&record.coding),
            bits: record.bits_estimated.map(Number),
            nmse: record.nmse.map(Number),
            reason: record.reason.clone(),
            sections: sections
                .map(|s| (s.role.clone(), s.bytes, s.digest))
                .collect(),
        }
    }
}

impl From<&Coding> for CodingJson {
    fn from(coding: &Coding) -> Self {
        match coding {
            Coding::Raw => Self::Raw,
            Coding::TiedTo { name } => Self::TiedTo { name: name.clone() },
            Coding::Packed {
                method,
                parameters,
                base,
            } => Self::Packed {
                method: method.clone(),
                base: *base,
                parameters: parameters.into(),
            },
            Coding::Coded {
                family,
                codec,
                parameters,
                base,
            } => Self::Coded {
                family: family.clone(),
                codec: codec.clone(),
                base: *base,
                parameters: parameters.into(),
            },
        }
    }
}

impl From<CodingJson> for Coding {
    fn from(json: CodingJson) -> Self {
        match json {
            CodingJson::Raw => Self::Raw,
            CodingJson::TiedTo { name } => Self::TiedTo { name },
            CodingJson::Packed {
                method,
                base,
                parameters,
            } => Self::Packed {
                method,
                parameters: parameters.into(),
                base,
            },
            CodingJson::Coded {
                family,
                codec,
                base,
                parameters,
            } => Self::Coded {
                family,
                codec,
                parameters: parameters.into(),
                base,
            },
        }
    }
}
