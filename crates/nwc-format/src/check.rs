//! Whether a tensor table agrees with its header, with itself, and with the other shards of a set.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::header::{Entry, Header};
use crate::layout::{
    self, MAX_PARAMETERS, MAX_PROVENANCE, MAX_PROVENANCE_BYTES, ROLE_PAYLOAD, ROLE_TENSOR,
};

use crate::{
    CodecRecord, Coding, DType, Digest, Error, Limits, Result, ShardMetadata, TensorRecord,
};

/// What roles, ids, families and methods are made of.
const ID_RULE: &str = "1 to 64 of A-Z a-z 0-9 _ - and inner dots";

/// Checks one shard: every record's sections exist as stated, every section belongs to exactly one record.
pub(crate) fn check_shard(
    header: &Header,
    metadata: &ShardMetadata,
    limits: &Limits,
) -> Result<()> {
    check_table(metadata)?;
    let version = metadata.version;
    let mut claimed = HashSet::new();
    for codec in &metadata.codecs {
        check_codec(header, codec)?;
        claimed.insert(layout::codec_section_name(&codec.id));
    }
    let mut by_name = HashMap::new();
    for record in &metadata.tensors {
        if by_name.insert(record.name.as_str(), record).is_some() {
            return Err(Error::DuplicateName {
                name: record.name.clone(),
            });
        }
    }
    for record in &metadata.tensors {
        check_record(header, version, record, limits)?;
        if record.coding.needs_base() && metadata.base.is_none() {
            return Err(Error::record(
                &record.name,
                "a difference to a base model",
                "a base in the table",
            ));
        }
        for section in &record.sections {
            if !claimed.insert(section.name.clone()) {
                return Err(Error::DuplicateName {
                    name: section.name.clone(),
                });
            }
        }
    }
    if metadata.n_shards == 1 {
        check_references(&by_name, &metadata.codecs, &metadata.tensors)?;
    }
    match header
        .entries()
        .iter()
        .find(|entry| !claimed.contains(&entry.name))
    {
        None => Ok(()),
        Some(entry) => Err(Error::Section {
            section: entry.name.clone(),
            found: "belongs to no tensor and no codec of the table".into(),
            expected: "exactly one".into(),
        }),
    }
}

/// Checks that `base`, the fingerprint of the model given to decode against, is the one that a table needs; a table that
/// needs none takes any. Nothing of a set may be decoded before.
///
/// # Errors
/// [`Error::BaseMissing`], [`Error::OtherBase`].
pub fn check_base(metadata: &ShardMetadata, base: Option<&Digest>) -> Result<()> {
    match (&metadata.base, base) {
        (None, _) => Ok(()),
        (Some(needed), Some(found)) if needed.fingerprint == *found => Ok(()),
        (Some(needed), None) => Err(Error::BaseMissing {
            name: needed.name.clone(),
            fingerprint: needed.fingerprint,
        }),
        (Some(needed), Some(found)) => Err(Error::OtherBase {
            name: needed.name.clone(),
            expected: needed.fingerprint,
            found: *found,
        }),
    }
}

/// Checks that shards make one complete set: same version, model and base, every index once, every tensor and codec
/// once, and all that tensors refer to is there. The shards may come in any order. Of a base see [`check_base`].
///
/// # Errors
/// [`Error::Table`], [`Error::Record`] or [`Error::DuplicateName`].
pub fn check_shard_set(shards: &[&ShardMetadata]) -> Result<()> {
    let Some(first) = shards.first() else {
        return Err(table("number of shards", "0", "at least 1"));
    };
    let mut seen = HashSet::new();
    let mut by_name = HashMap::new();
    let mut codecs = Vec::new();
    for shard in shards {
        if shard.n_shards != shards.len() {
            return Err(table("number of shards", shards.len(), shard.n_shards));
        }
        if shard.fingerprint != first.fingerprint {
            return Err(table(
                format!("model fingerprint of shard {}", shard.shard_idx),
                shard.fingerprint,
                format!("{}, that of shard {}", first.fingerprint, first.shard_idx),
            ));
        }
        if shard.version != first.version || shard.base != first.base {
            let what = format!("version or base of shard {}", shard.shard_idx);
            let of = |s: &ShardMetadata| match &s.base {
                None => format!("{}, without base", s.version),
                Some(base) => format!("{}, base {}", s.version, base.fingerprint),
            };
            return Err(table(what, of(shard), of(first)));
        }
        if shard.shard_idx >= shard.n_shards || !seen.insert(shard.shard_idx) {
            return Err(table("shard index", shard.shard_idx, "each from 0 once"));
        }
        for record in &shard.tensors {
            if by_name.insert(record.name.as_str(), record).is_some() {
                return Err(Error::DuplicateName {
                    name: record.name.clone(),
                });
            }
        }
        codecs.extend_from_slice(&shard.codecs);
    }
    let mut ids = HashSet::new();
    if let Some(twice) = codecs.iter().find(|codec| !ids.insert(codec.id.as_str())) {
        return Err(Error::DuplicateName {
            name: layout::codec_section_name(&twice.id),
        });
    }
    shards
        .iter()
        .try_for_each(|shard| check_references(&by_name, &codecs, &shard.tensors))
}

fn check_table(metadata: &ShardMetadata) -> Result<()> {
    if metadata.shard_idx >= metadata.n_shards {
        return Err(table(
            "shard index",
            metadata.shard_idx,
            format!("below {}", metadata.n_shards),
        ));
    }
    check_files(metadata)?;
    check_provenance(metadata)
}

/// What the first shard says of the folder: files carried along, and folders below that are checkpoints of their own.
fn check_files(metadata: &ShardMetadata) -> Result<()> {
    let (files, checkpoints) = (&metadata.files, &metadata.checkpoints);
    if metadata.shard_idx != 0 && !(files.is_empty() && checkpoints.is_empty()) {
        return Err(table(
            "number of files or checkpoints listed in a later shard",
            files.len() + checkpoints.len(),
            0,
        ));
    }
    let mut paths = files.keys().chain(checkpoints);
    if let Some(path) = paths.find(|path| !is_relative_path(path)) {
        return Err(table(
            "name of a file or checkpoint of the folder",
            format!("`{path}`"),
            "a path below the folder",
        ));
    }
    let is_sorted = checkpoints.is_sorted_by(|a, b| a < b);
    let by_path: BTreeSet<&str> = checkpoints.iter().map(String::as_str).collect();
    for folder in checkpoints {
        let inside = format!("{folder}/");
        let file = files.range(inside.clone()..).next();
        let below = by_path.range(inside.as_str()..).next();
        let found = [file.map(|(path, _)| path.as_str()), below.copied()];
        let is_apart =
            !found.iter().flatten().any(|p| p.starts_with(&inside)) && !files.contains_key(folder);
        if !is_sorted || !is_apart {
            return Err(table(
                "a checkpoint of the folder",
                format!("`{folder}`"),
                "sorted paths, none twice, with no file or other checkpoint of this table inside",
            ));
        }
    }
    Ok(())
}

fn check_provenance(metadata: &ShardMetadata) -> Result<()> {
    let provenance = &metadata.provenance;
    if provenance.len() > MAX_PROVENANCE {
        let expected = format!("at most {MAX_PROVENANCE}");
        return Err(table(
            "number of entries of provenance",
            provenance.len(),
            expected,
        ));
    }
    if metadata.shard_idx != 0 && !provenance.is_empty() {
        return Err(table(
            "number of entries of provenance in a later shard",
            provenance.len(),
            0,
        ));
    }
    for (key, value) in provenance {
        if !layout::is_valid_id(key) {
            return Err(table(
                "name of an entry of provenance",
                format!("`{key}`"),
                ID_RULE,
            ));
        }
        if value.len() > MAX_PROVENANCE_BYTES {
            return Err(table(
                format!("length of `{key}` in provenance in bytes"),
                value.len(),
                format!("at most {MAX_PROVENANCE_BYTES}"),
            ));
        }
    }
    Ok(())
}

fn check_codec(header: &Header, codec: &CodecRecord) -> Result<()> {
    if !layout::is_valid_id(&codec.id) {
        return Err(table("codec id", format!("`{}`", codec.id), ID_RULE));
    }
    let name = layout::codec_section_name(&codec.id);
    let Some(entry) = header.entry(&name) else {
        return Err(missing(name));
    };
    if entry.dtype != DType::U8 || entry.n_bytes() != codec.bytes {
        return Err(Error::Section {
            section: name,
            found: format!("is {} bytes of {}", entry.n_bytes(), entry.dtype),
            expected: format!("{} bytes of U8", codec.bytes),
        });
    }
    Ok(())
}

fn check_record(
    header: &Header,
    version: u32,
    record: &TensorRecord,
    limits: &Limits,
) -> Result<()> {
    let name = record.name.as_str();
    limits.check_record(record)?;
    let measured = [("bits", record.bits_estimated), ("nmse", record.nmse)];
    for (what, value) in measured {
        if value.is_some_and(|v| !v.is_finite() || v < 0.0) {
            return Err(Error::record(
                name,
                format!("{what} {value:?}"),
                "finite and not negative",
            ));
        }
    }
    for section in &record.sections {
        let Some(entry) = header.entry(&section.name) else {
            return Err(missing(section.name.clone()));
        };
        if section.name != layout::section_name_in(version, name, &section.role) {
            let expected = layout::section_name_in(version, name, &section.role);
            return Err(Error::record(
                name,
                format!("section name `{}`", section.name),
                expected,
            ));
        }
        if entry.n_bytes() != section.bytes {
            return Err(Error::Section {
                section: section.name.clone(),
                found: format!("is {} bytes", entry.n_bytes()),
                expected: format!("{}, as the table says", section.bytes),
            });
        }
    }
    check_coding(header, version, record)
}

fn check_coding(header: &Header, version: u32, record: &TensorRecord) -> Result<()> {
    let name = record.name.as_str();
    let id = |what: &str, id: &str| match layout::is_valid_id(id) {
        true => Ok(()),
        false => Err(Error::record(name, format!("{what} `{id}`"), ID_RULE)),
    };
    match &record.coding {
        Coding::Coded {
            family,
            codec,
            parameters,
            ..
        } => {
            id("codec family", family)?;
            id("codec id", codec)?;
            check_parameters(name, parameters)?;
            check_coded_sections(header, version, record)
        }
        Coding::Packed {
            method, parameters, ..
        } => {
            id("method", method)?;
            check_parameters(name, parameters)?;
            check_coded_sections(header, version, record)
        }
        Coding::Raw => check_raw(header, record),
        Coding::TiedTo { .. } if record.sections.is_empty() => Ok(()),
        Coding::TiedTo { .. } => Err(Error::record(
            name,
            format!("{} sections", record.sections.len()),
            "none for a tied tensor",
        )),
    }
}

fn check_parameters(tensor: &str, parameters: &BTreeMap<String, f64>) -> Result<()> {
    if parameters.len() > MAX_PARAMETERS {
        return Err(Error::record(
            tensor,
            format!("{} parameters", parameters.len()),
            format!("at most {MAX_PARAMETERS}"),
        ));
    }
    match parameters.iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((key, value)) => Err(Error::record(
            tensor,
            format!("parameter {key} = {value}"),
            "a finite number",
        )),
    }
}

/// The sections of a coded or packed tensor: a payload among them, which an ordinary loader must not take for weights.
fn check_coded_sections(header: &Header, version: u32, record: &TensorRecord) -> Result<()> {
    let name = record.name.as_str();
    let is_wrong = |role: &str| role == ROLE_TENSOR || !layout::is_valid_id(role);
    let mut sections = record.sections.iter();
    if let Some(section) = sections.find(|section| is_wrong(&section.role)) {
        return Err(Error::record(
            name,
            format!("section role `{}`", section.role),
            format!("{ID_RULE}, not `tensor`"),
        ));
    }
    if version < 2 {
        return match record.sections.is_empty() {
            true => Err(Error::record(
                name,
                "0 sections",
                "at least 1 for a coded tensor",
            )),
            false => Ok(()),
        };
    }
    let Some(payload) = record.section(ROLE_PAYLOAD) else {
        return Err(Error::record(
            name,
            format!("no section with role `{ROLE_PAYLOAD}`"),
            "one for a coded or packed tensor",
        ));
    };
    match header.entry(&payload.name) {
        None => Err(missing(payload.name.clone())),
        Some(entry) if entry.dtype != DType::U8 || entry.shape.len() != 1 => Err(Error::record(
            name,
            format!("a payload stored as {} {:?}", entry.dtype, entry.shape),
            "U8 with one dimension",
        )),
        Some(entry) if entry.shape == record.shape => Err(Error::record(
            name,
            format!("a payload of shape {:?}", entry.shape),
            "another shape than the tensor's, which is stored raw instead",
        )),
        Some(_) => Ok(()),
    }
}

fn check_raw(header: &Header, record: &TensorRecord) -> Result<()> {
    let name = record.name.as_str();
    let [section] = record.sections.as_slice() else {
        return Err(Error::record(
            name,
            format!("{} sections", record.sections.len()),
            "1 for a raw tensor",
        ));
    };
    if section.role != ROLE_TENSOR {
        return Err(Error::record(
            name,
            format!("section role `{}`", section.role),
            format!("`{ROLE_TENSOR}` for a raw tensor"),
        ));
    }
    match header.entry(name) {
        Some(Entry { dtype, shape, .. }) if *dtype == record.dtype && *shape == record.shape => {
            Ok(())
        }
        Some(entry) => Err(Error::record(
            name,
            format!("stored as {} {:?}", entry.dtype, entry.shape),
            format!("{} {:?}", record.dtype, record.shape),
        )),
        None => Err(missing(name.to_owned())),
    }
}

/// Codecs named and tensors tied to: they must be there, and a tie must end at a stored tensor of the same kind.
fn check_references(
    by_name: &HashMap<&str, &TensorRecord>,
    codecs: &[CodecRecord],
    records: &[TensorRecord],
) -> Result<()> {
    let ids: HashSet<&str> = codecs.iter().map(|codec| codec.id.as_str()).collect();
    for record in records {
        match &record.coding {
            Coding::Raw | Coding::Packed { .. } => {}
            Coding::Coded { codec, .. } => {
                if !ids.contains(codec.as_str()) {
                    let expected = format!("that of one of {} codecs stored", ids.len());
                    return Err(Error::record(
                        &record.name,
                        format!("codec id `{codec}`"),
                        expected,
                    ));
                }
            }
            Coding::TiedTo { name: target } => {
                let found = format!("tied to `{target}`");
                match by_name.get(target.as_str()) {
                    None => {
                        return Err(Error::record(&record.name, found, "a tensor that is there"));
                    }
                    Some(other) if matches!(other.coding, Coding::TiedTo { .. }) => {
                        return Err(Error::record(
                            &record.name,
                            found,
                            "a tensor that is not tied",
                        ));
                    }
                    Some(other) if other.dtype != record.dtype || other.shape != record.shape => {
                        return Err(Error::record(
                            &record.name,
                            format!("{found}, {} {:?}", other.dtype, other.shape),
                            format!("{} {:?}", record.dtype, record.shape),
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    Ok(())
}

/// Whether `path` stays below the folder it is joined to, on every system.
pub(crate) fn is_relative_path(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', ':', '\0'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn missing(section: String) -> Error {
    Error::Section {
        section,
        found: "is not in the file".into(),
        expected: "the bytes that the table lists".into(),
    }
}

fn table(what: impl Into<String>, found: impl ToString, expected: impl ToString) -> Error {
    Error::Table {
        what: what.into(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}
