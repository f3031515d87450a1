//! Where weights come from: one trait, an in-memory map, and open safetensors shards.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};

/// One tensor of a checkpoint, widened to f32.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightTensor {
    /// Extent of each axis, outermost first.
    pub shape: Vec<usize>,
    /// The elements, row-major; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// A checkpoint that hands out its tensors one at a time.
///
/// A plain folder and a compressed one implement it alike, so that the second is run without being unpacked first.
pub trait WeightSource {
    /// The names of all tensors.
    fn names(&self) -> Vec<String>;

    /// Whether a tensor of this name is there.
    fn contains(&self, name: &str) -> bool {
        self.names().iter().any(|known| known == name)
    }

    /// Reads (and decodes, where needed) one tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] where the name is unknown; [`Error::WeightSource`] and others where reading fails.
    fn tensor(&self, name: &str) -> Result<WeightTensor>;
}

/// Tensors held in memory: for tests, and for a model changed in place.
#[derive(Debug, Clone, Default)]
pub struct MemoryWeights {
    /// The tensors by name.
    pub tensors: BTreeMap<String, WeightTensor>,
}

impl WeightSource for MemoryWeights {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor> {
        self.tensors
            .get(name)
            .cloned()
            .ok_or_else(|| Error::MissingTensor {
                name: name.to_owned(),
            })
    }
}

/// A source with some tensors replaced: how a quantised layer is put into an otherwise unchanged model.
#[derive(Debug)]
pub struct OverlaidWeights<'s, S: ?Sized> {
    /// What is used where `replaced` has nothing.
    pub base: &'s S,
    /// The tensors that take precedence.
    pub replaced: BTreeMap<String, WeightTensor>,
}

impl<S: WeightSource + ?Sized> WeightSource for OverlaidWeights<'_, S> {
    fn names(&self) -> Vec<String> {
        self.base.names()
    }

    fn contains(&self, name: &str) -> bool {
        self.replaced.contains_key(name) || self.base.contains(name)
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor> {
        match self.replaced.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => self.base.tensor(name),
        }
    }
}

/// A plain Hugging Face checkpoint: its safetensors shards, already open (mapped or read).
///
/// `B` is whatever owns the bytes; nothing is copied until a tensor is asked for.
#[derive(Debug)]
pub struct HfFolder<B> {
    shards: Vec<B>,
    entries: BTreeMap<String, Entry>,
}

/// Where a tensor lies.
#[derive(Debug)]
struct Entry {
    shard_idx: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes of the shard; inside it, as the whole shard was validated when it was opened.
    bytes: Range<usize>,
}

impl<B: AsRef<[u8]>> HfFolder<B> {
    /// Reads the shards' headers.
    ///
    /// # Errors
    /// [`Error::Safetensors`] where a shard's header is broken.
    pub fn new(shards: Vec<B>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (shard_idx, shard) in shards.iter().enumerate() {
            let broken = |source| Error::Safetensors { shard_idx, source };
            let (n_header, metadata) =
                SafeTensors::read_metadata(shard.as_ref()).map_err(broken)?;
            // Eight bytes in front hold the header's length.
            let data_start = n_header + size_of::<u64>();
            for (name, info) in metadata.tensors() {
                let (start, end) = info.data_offsets;
                let bytes = data_start + start..data_start + end;
                let shape = info.shape.clone();
                entries.insert(
                    name,
                    Entry {
                        shard_idx,
                        dtype: info.dtype,
                        shape,
                        bytes,
                    },
                );
            }
        }
        Ok(Self { shards, entries })
    }
}

impl<B: AsRef<[u8]>> WeightSource for HfFolder<B> {
    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor> {
        let missing = || Error::MissingTensor {
            name: name.to_owned(),
        };
        let entry = self.entries.get(name).ok_or_else(missing)?;
        let shard = self
            .shards
            .get(entry.shard_idx)
            .ok_or_else(missing)?
            .as_ref();
        let bytes = shard.get(entry.bytes.clone()).ok_or_else(missing)?;
        let data = widen(name, entry.dtype, bytes)?;
        Ok(WeightTensor {
            shape: entry.shape.clone(),
            data,
        })
    }
}

/// Little-endian elements of a float type as f32. F64 is rounded.
fn widen(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let (quads, _) = bytes.as_chunks::<4>();
    let (octets, _) = bytes.as_chunks::<8>();
    match dtype {
        Dtype::F32 => Ok(quads.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F16 => Ok(pairs
            .iter()
            .map(|b| f16::from_le_bytes(*b).to_f32())
            .collect()),
        Dtype::BF16 => Ok(pairs
            .iter()
            .map(|b| bf16::from_le_bytes(*b).to_f32())
            .collect()),
        Dtype::F64 => Ok(octets
            .iter()
            .map(|b| f64::from_le_bytes(*b) as f32)
            .collect()),
        other => Err(Error::TensorType {
            name: name.to_owned(),
            found: format!("{other:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize};

    fn shard(dtype: Dtype, bytes: &[u8], len: usize) -> Vec<u8> {
        serialize(
            [("x", TensorView::new(dtype, vec![len], bytes).unwrap())],
            None,
        )
        .unwrap()
    }

    #[track_caller]
    fn check(dtype: Dtype, bytes: &[u8]) {
        let folder = HfFolder::new(vec![shard(dtype, bytes, 2)]).unwrap();
        assert_eq!(
            folder.tensor("x").unwrap(),
            WeightTensor {
                shape: vec![2],
                data: vec![1.5, -2.0]
            }
        );
        assert_eq!(folder.names(), ["x"]);
    }

    #[test]
    fn widens_every_float_type() {
        check(Dtype::F32, &[1.5f32, -2.0].map(f32::to_le_bytes).concat());
        check(Dtype::F64, &[1.5f64, -2.0].map(f64::to_le_bytes).concat());
        check(
            Dtype::F16,
            &[1.5f32, -2.0]
                .map(|x| f16::from_f32(x).to_le_bytes())
                .concat(),
        );
        check(
            Dtype::BF16,
            &[1.5f32, -2.0]
                .map(|x| bf16::from_f32(x).to_le_bytes())
                .concat(),
        );
    }

    #[test]
    fn refuses_integers_missing_names_and_broken_shards() {
        let folder = HfFolder::new(vec![shard(Dtype::U8, &[1, 2], 2)]).unwrap();
        assert!(matches!(folder.tensor("x"), Err(Error::TensorType { .. })));
        assert!(matches!(
            folder.tensor("y"),
            Err(Error::MissingTensor { .. })
        ));
        assert!(matches!(
            HfFolder::new(vec![vec![1u8; 9]]),
            Err(Error::Safetensors { shard_idx: 0, .. })
        ));
    }

    #[test]
    fn an_overlay_takes_precedence() {
        let tensor = |v: f32| WeightTensor {
            shape: vec![1],
            data: vec![v],
        };
        let base = MemoryWeights {
            tensors: [("a".to_owned(), tensor(1.0)), ("b".to_owned(), tensor(2.0))].into(),
        };
        let overlaid = OverlaidWeights {
            base: &base,
            replaced: [("b".to_owned(), tensor(3.0))].into(),
        };
        assert_eq!(overlaid.tensor("a").unwrap().data, [1.0]);
        assert_eq!(overlaid.tensor("b").unwrap().data, [3.0]);
        assert!(overlaid.contains("a") && !overlaid.contains("c"));
    }
}
