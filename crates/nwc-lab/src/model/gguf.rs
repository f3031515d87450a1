//! Reads GGUF files, version 3, little endian: key-value metadata and the table of tensors.
//!
//! Only what the import needs is kept: strings, numbers and their arrays. Nothing is trusted: every length is
//! checked against what is left of the file before memory is taken for it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// One tensor: how it is stored and where.
#[derive(Debug)]
pub(crate) struct TensorInfo {
    /// Row-major shape, the last axis contiguous: GGUF's own order turned round.
    pub(crate) shape: Vec<usize>,
    /// GGML's number of the storage type.
    pub(crate) type_id: u32,
    /// First byte, counted from the start of the file.
    pub(crate) offset: usize,
}

/// A parsed file, borrowing its bytes.
#[derive(Debug)]
pub(crate) struct Gguf<'data> {
    pub(crate) metadata: BTreeMap<String, Value>,
    /// Every value of the metadata as its bytes in the file: its type's number, then the value.
    pub(crate) stored_metadata: BTreeMap<String, &'data [u8]>,
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    data: &'data [u8],
}

/// Axes that a tensor may have.
const MAX_AXES: u32 = 4;
/// Lists inside lists.
const MAX_DEPTH: usize = 3;
/// Where the file does not say how tensors are aligned.
const DEFAULT_ALIGNMENT: u64 = 32;

impl<'data> Gguf<'data> {
    /// Parses the head of a file.
    ///
    /// # Errors
    /// Where it is not GGUF of version 3 or ends too early.
    pub(crate) fn parse(data: &'data [u8]) -> Result<Self> {
        let mut reader = Reader { data, at: 0 };
        ensure!(reader.bytes(4)? == b"GGUF", "not a GGUF file");
        let version = reader.u32()?;
        ensure!(version == 3, "GGUF version {version}, expected 3");
        let n_tensors = reader.u64()?;
        let n_keys = reader.u64()?;
        let (mut metadata, mut stored_metadata) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..n_keys {
            let key = reader.text()?;
            let value_start = reader.at;
            let type_id = reader.u32()?;
            let value = reader
                .value(type_id, 0)
                .with_context(|| format!("metadata '{key}'"))?;
            stored_metadata.insert(key.clone(), &data[value_start..reader.at]);
            metadata.insert(key, value);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..n_tensors {
            let name = reader.text()?;
            let info = reader
                .tensor_info()
                .with_context(|| format!("tensor '{name}'"))?;
            tensors.insert(name, info);
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Unsigned(alignment)) if *alignment > 0 => *alignment,
            Some(other) => bail!("alignment {other:?}"),
        };
        let start = (reader.at as u64).next_multiple_of(alignment);
        for (name, info) in &mut tensors {
            let offset = start
                .checked_add(info.offset as u64)
                .filter(|&at| at <= data.len() as u64);
            info.offset =
                offset.with_context(|| format!("tensor '{name}' starts after the end"))? as usize;
        }
        Ok(Self {
            metadata,
            stored_metadata,
            tensors,
            data,
        })
    }

    /// The file's bytes from a tensor's first one on.
    pub(crate) fn bytes_from(&self, info: &TensorInfo) -> &'data [u8] {
        &self.data[info.offset..]
    }

    /// A count in the metadata.
    ///
    /// # Errors
    /// Where the key is absent or no count.
    pub(crate) fn count(&self, key: &str) -> Result<usize> {
        match self.metadata.get(key) {
            Some(Value::Unsigned(value)) => Ok(usize::try_from(*value)?),
            other => bail!("metadata '{key}': expected a count, found {other:?}"),
        }
    }

    /// A floating-point number in the metadata.
    ///
    /// # Errors
    /// Where the key is absent or no such number.
    pub(crate) fn float(&self, key: &str) -> Result<f64> {
        match self.metadata.get(key) {
            Some(Value::Float(value)) => Ok(*value),
            other => bail!("metadata '{key}': expected a number, found {other:?}"),
        }
    }

    /// A text in the metadata.
    ///
    /// # Errors
    /// Where the key is absent or no text.
    pub(crate) fn text(&self, key: &str) -> Result<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(value)) => Ok(value),
            other => bail!("metadata '{key}': expected a text, found {other:?}"),
        }
    }

    /// A list in the metadata.
    ///
    /// # Errors
    /// Where the key is absent or no list.
    pub(crate) fn list(&self, key: &str) -> Result<&[Value]> {
        match self.metadata.get(key) {
            Some(Value::List(values)) => Ok(values),
            other => bail!("metadata '{key}': expected a list, found {other:?}"),
        }
    }

    /// A list of texts in the metadata.
    ///
    /// # Errors
    /// Where the key is absent or not only texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>> {
        let texts = self.list(key)?.iter().map(|value| match value {
            Value::Text(text) => Ok(text.as_str()),
            other => bail!("metadata '{key}': expected texts, found {other:?}"),
        });
        texts.collect()
    }
}

struct Reader<'data> {
    data: &'data [u8],
    at: usize,
}

impl<'data> Reader<'data> {
    fn bytes(&mut self, n_bytes: usize) -> Result<&'data [u8]> {
        let end = self
            .at
            .checked_add(n_bytes)
            .filter(|&end| end <= self.data.len());
        let end = end.with_context(|| {
            format!(
                "{n_bytes} bytes wanted at {}, the file has {}",
                self.at,
                self.data.len()
            )
        })?;
        let bytes = &self.data[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into()?)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let n_bytes = usize::try_from(self.u64()?)?;
        Ok(std::str::from_utf8(self.bytes(n_bytes)?)?.to_string())
    }

    fn value(&mut self, type_id: u32, depth: usize) -> Result<Value> {
        Ok(match type_id {
            0 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(shortest(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => {
                ensure!(depth < MAX_DEPTH, "lists nested more than {MAX_DEPTH} deep");
                let element_type = self.u32()?;
                let n_values = self.u64()?;
                let n_left = (self.data.len() - self.at) as u64;
                ensure!(
                    n_values <= n_left,
                    "a list of {n_values} values in {n_left} bytes"
                );
                let values = (0..n_values).map(|_| self.value(element_type, depth + 1));
                Value::List(values.collect::<Result<_>>()?)
            }
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => bail!("unknown value type {other}"),
        })
    }

    fn tensor_info(&mut self) -> Result<TensorInfo> {
        let n_axes = self.u32()?;
        ensure!(
            n_axes <= MAX_AXES,
            "{n_axes} axes, at most {MAX_AXES} allowed"
        );
        let mut shape = Vec::new();
        for _ in 0..n_axes {
            shape.push(usize::try_from(self.u64()?)?);
        }
        shape.reverse();
        let type_id = self.u32()?;
        let offset = usize::try_from(self.u64()?)?;
        Ok(TensorInfo {
            shape,
            type_id,
            offset,
        })
    }
}

/// The f64 that prints as the f32 does: 1e-5, not 0.000009999999747378752.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// A file without tensors, with one text in its metadata.
    pub(crate) fn with_text(key: &str, value: &str) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend(0_u64.to_le_bytes());
        out.extend(1_u64.to_le_bytes());
        text(&mut out, key);
        out.extend(8_u32.to_le_bytes());
        text(&mut out, value);
        out.resize(out.len().next_multiple_of(32), 0);
        out
    }

    /// A file with a few metadata values and one F32 tensor `t` of shape [1, 2].
    pub(crate) fn small_file() -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend(1_u64.to_le_bytes());
        out.extend(3_u64.to_le_bytes());
        text(&mut out, "n");
        out.extend(4_u32.to_le_bytes());
        out.extend(30_u32.to_le_bytes());
        text(&mut out, "eps");
        out.extend(6_u32.to_le_bytes());
        out.extend(1e-5_f32.to_le_bytes());
        text(&mut out, "names");
        out.extend(9_u32.to_le_bytes());
        out.extend(8_u32.to_le_bytes());
        out.extend(2_u64.to_le_bytes());
        text(&mut out, "a");
        text(&mut out, "Ġb");
        text(&mut out, "t");
        out.extend(2_u32.to_le_bytes());
        out.extend(2_u64.to_le_bytes());
        out.extend(1_u64.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        out.extend(0_u64.to_le_bytes());
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(1.5_f32.to_le_bytes());
        out.extend((-2_f32).to_le_bytes());
        out
    }

    #[test]
    fn values_and_tensors_are_read() {
        let file = small_file();
        let gguf = Gguf::parse(&file).unwrap();
        assert_eq!(gguf.count("n").unwrap(), 30);
        assert_eq!(gguf.float("eps").unwrap(), 1e-5);
        assert_eq!(gguf.stored_metadata["n"], [4, 0, 0, 0, 30, 0, 0, 0]);
        assert_eq!(gguf.texts("names").unwrap(), ["a", "Ġb"]);
        let tensor = &gguf.tensors["t"];
        assert_eq!(tensor.shape, [1, 2]);
        assert_eq!(gguf.bytes_from(tensor)[..4], 1.5_f32.to_le_bytes());
    }

    #[test]
    fn a_value_of_another_kind_is_named() {
        let file = small_file();
        let gguf = Gguf::parse(&file).unwrap();
        assert!(gguf.text("n").unwrap_err().to_string().contains("'n'"));
        assert!(
            gguf.count("absent")
                .unwrap_err()
                .to_string()
                .contains("'absent'")
        );
    }

    #[test]
    fn every_truncation_of_the_head_is_an_error() {
        let file = small_file();
        let head_bytes = file.len() - 8;
        for n_bytes in 0..head_bytes {
            // The last bytes of the head are padding: there the tensor starts after the end.
            assert!(Gguf::parse(&file[..n_bytes]).is_err(), "{n_bytes} bytes");
        }
    }

    #[test]
    fn no_changed_byte_panics() {
        let file = small_file();
        for idx in 0..file.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[idx] ^= flip;
                let _ = Gguf::parse(&changed);
            }
        }
    }
}
