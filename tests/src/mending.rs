//! Digests made right after a file was damaged, so that fuzzing reaches what lies behind them.

use std::ops::Range;

use nwc_format::{
    Coding, DType, Digest, Limits, Shard, ShardMetadata, ShardWriter, codec_section_name,
};
use serde_json::Value;

/// The file `data` with every digest right that can be found: the sections' in the table, and the header's.
///
/// `None` where there is no header, or no table in it, that JSON can read.
pub fn mended(data: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = data.split_first_chunk()?;
    let (json, sections) =
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let mut header: Value = serde_json::from_slice(json).ok()?;
    let mut table: Value = serde_json::from_str(header["__metadata__"]["nwc"].as_str()?).ok()?;
    let digest_of = |name: &str| {
        let offsets = header[name]["data_offsets"].as_array()?;
        let at = |idx: usize| usize::try_from(offsets.get(idx)?.as_u64()?).ok();
        let range: Range<usize> = at(0)?..at(1)?;
        sections
            .get(range)
            .map(|bytes| Digest::of(bytes).to_string())
    };
    for codec in list(&mut table["codecs"]) {
        let digest = codec["id"]
            .as_str()
            .and_then(|id| digest_of(&codec_section_name(id)));
        if let Some(digest) = digest {
            codec["digest"] = digest.into();
        }
    }
    let is_first = table["version"] == 1;
    for record in list(&mut table["tensors"]) {
        let tensor = record["name"].as_str().unwrap_or_default().to_owned();
        for section in list(&mut record["sections"]) {
            let role = section[0].as_str().unwrap_or_default().to_owned();
            let name = match role.as_str() {
                "payload" if is_first => format!("{tensor}.nwc.payload"),
                role => nwc_format::section_name(&tensor, role),
            };
            if let Some(digest) = digest_of(&name) {
                section[2] = digest.into();
            }
        }
    }
    header["__metadata__"]["nwc"] = table.to_string().into();
    header["__metadata__"]["nwc_digest"] = "0".repeat(Digest::HEX_LEN).into();
    Some(sealed(&header.to_string(), sections))
}

/// A file of this header and data. The header's digest is put in its place, where that can be found.
pub fn sealed(header: &str, data: &[u8]) -> Vec<u8> {
    const PLACE: &str = "\"nwc_digest\":\"";
    let mut json = header.to_owned();
    let place = json.find(PLACE).map(|at| at + PLACE.len());
    let digits = place.map(|start| start..start + Digest::HEX_LEN);
    let digits = digits.filter(|digits| json.get(digits.clone()).is_some());
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    if let Some(digits) = digits {
        json.replace_range(digits.clone(), &"0".repeat(Digest::HEX_LEN));
        let digest = Digest::of(&[&bytes, json.as_bytes()].concat());
        json.replace_range(digits, &digest.to_string());
    }
    bytes.extend_from_slice(json.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The elements of a JSON list; none of anything else.
fn list(value: &mut Value) -> &mut [Value] {
    value.as_array_mut().map_or(&mut [], Vec::as_mut_slice)
}

/// What a shard of any version holds, written anew in this version: a seed of its own.
///
/// # Errors
/// Those of reading and writing.
pub fn rewritten(file: &[u8]) -> nwc_format::Result<Vec<u8>> {
    let shard = Shard::parse(file, &Limits::default())?;
    let old = shard.metadata();
    let mut writer = ShardWriter::new(std::io::Cursor::new(Vec::new()), 0)?;
    let mut metadata = ShardMetadata::new(&old.generator, old.fingerprint);
    for codec in &old.codecs {
        metadata
            .codecs
            .push(writer.codec(&codec.id, shard.codec(codec)?)?);
    }
    for record in &old.tensors {
        let mut record = record.clone();
        for section in &mut record.sections {
            let bytes = shard.section(section)?;
            let entry = shard.header().header().entry(&section.name);
            let (dtype, shape) = entry.map_or((DType::U8, vec![bytes.len()]), |entry| {
                (entry.dtype, entry.shape.clone())
            });
            *section = match record.coding {
                Coding::Raw => writer.raw(&record.name, dtype, &shape, bytes)?,
                _ => writer.coded_as(&record.name, &section.role, dtype, &shape, bytes)?,
            };
        }
        metadata.tensors.push(record);
    }
    metadata.extra.clone_from(&old.extra);
    metadata.provenance.insert("options".into(), "none".into());
    metadata.total_parameters = Some(1);
    Ok(writer.finish(metadata)?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::TRELLIS_SHARD;

    fn verify(bytes: &[u8]) -> nwc_format::Result<()> {
        Shard::parse(bytes, &Limits::default())?.verify()
    }

    #[test]
    fn damage_is_mended_in_both_versions() {
        for file in [TRELLIS_SHARD.to_vec(), rewritten(TRELLIS_SHARD).unwrap()] {
            // What is whole stays acceptable.
            verify(&mended(&file).unwrap()).unwrap();
            let mut damaged = file.clone();
            // The last byte is data, a digit of the fingerprint is in the header.
            *damaged.last_mut().unwrap() ^= 1;
            verify(&damaged).unwrap_err();
            verify(&mended(&damaged).unwrap()).unwrap();
            let text = b"fingerprint\\\":\\\"";
            let at = damaged.windows(text.len()).position(|w| w == text).unwrap();
            damaged[at + text.len()] = match damaged[at + text.len()] {
                b'0' => b'1',
                _ => b'0',
            };
            verify(&mended(&damaged).unwrap()).unwrap();
        }
        assert_eq!(mended(b"no header"), None);
    }
}
