//! A lazy view of a checkpoint: tensors are decoded when they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::bf16;
use nwc_format::{DType, Header};

use super::compressed::{Compressed, CompressedShard, Decoded, not_a_float};
use super::reader::{Origin, Stored, TensorReader};
use crate::folder::{MappedFile, NWC_KEY, Source, SourceShard, compressed_files, dtype};
use crate::options::DecodeOptions;
use crate::{Error, Result};

/// A checkpoint folder, compressed or plain, opened for reading.
///
/// Opening reads headers only. Tensors are decoded on demand and on the thread that asks (and the rayon
/// pool it is in); the view can be shared between threads.
///
/// ```no_run
/// let checkpoint = nwc::Checkpoint::open("model-nwc")?;
/// for name in checkpoint.names() {
///     let info = checkpoint.info(name)?;
///     println!("{name}: {:?} {}", info.shape, info.dtype);
/// }
/// let weights: Vec<f32> = checkpoint.tensor("model.layers.0.mlp.down_proj.weight")?;
/// # Ok::<(), nwc::Error>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    kind: Kind,
    /// Name to place, in file order beside it.
    by_name: HashMap<String, (usize, usize)>,
    names: Vec<String>,
}

/// What is known of a tensor before it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its shape in the original checkpoint.
    pub shape: Vec<usize>,
    /// Its dtype there.
    pub dtype: DType,
}

/// One weight file of a checkpoint.
#[derive(Debug, Clone)]
pub struct ShardInfo<'a> {
    /// Its name in the folder.
    pub file_name: &'a str,
    /// Names of its tensors, in file order.
    pub names: Vec<&'a str>,
    /// The original file's own metadata, such as `format: pt`.
    pub metadata: &'a BTreeMap<String, String>,
}

#[derive(Debug)]
enum Kind {
    Plain(Source),
    Compressed(Compressed),
}

impl Checkpoint {
    /// Opens the folder `dir`; whether it is compressed is told by the shards themselves.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::MissingShard`], [`Error::Container`] and others name the file.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(dir, &DecodeOptions::default())
    }

    /// As [`Checkpoint::open`], with a say in how tensors are decoded.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with(dir: impl AsRef<Path>, options: &DecodeOptions) -> Result<Self> {
        let dir = dir.as_ref();
        let kind = if is_compressed(dir, options)? {
            Kind::Compressed(Compressed::open(dir, options)?)
        } else {
            Kind::Plain(Source::open(dir)?)
        };
        let places: Vec<(String, (usize, usize))> = match &kind {
            Kind::Plain(source) => places(source.shards.iter().map(|s| names_of_plain(s))),
            Kind::Compressed(c) => places(c.shards.iter().map(names_of)),
        };
        Ok(Self {
            dir: dir.into(),
            kind,
            names: places.iter().map(|(name, _)| name.clone()).collect(),
            by_name: places.into_iter().collect(),
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of all tensors, in file order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Shape and dtype of a tensor.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`].
    pub fn info(&self, name: &str) -> Result<TensorInfo> {
        let (shard_idx, idx) = self.place(name)?;
        let (shape, dtype) = match &self.kind {
            Kind::Plain(source) => {
                let tensor = &source.shards[shard_idx].tensors[idx];
                (&tensor.shape, tensor.dtype)
            }
            Kind::Compressed(c) => {
                let record = &c.shards[shard_idx].metadata().tensors[idx];
                (&record.shape, record.dtype)
            }
        };
        Ok(TensorInfo {
            shape: shape.clone(),
            dtype,
        })
    }

    /// A tensor's values as f32, row-major.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`]; [`Error::Tensor`] where it is damaged or of a dtype that is no float.
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let (shard_idx, idx) = self.place(name)?;
        match &self.kind {
            Kind::Plain(source) => {
                let shard = &source.shards[shard_idx];
                let tensor = &shard.tensors[idx];
                dtype::to_f32(tensor.dtype, &shard.bytes(tensor)?)
                    .ok_or_else(|| not_a_float(shard.path(), name, tensor.dtype))
            }
            Kind::Compressed(c) => {
                let shard = &c.shards[shard_idx];
                let record = &shard.metadata().tensors[idx];
                match c.decode(shard, record)? {
                    // What a decompressed file would hold: rounded to the tensor's own dtype.
                    Decoded::Values(mut values) => {
                        dtype::round_in_place(record.dtype, &mut values);
                        Ok(values)
                    }
                    Decoded::Bytes(bytes) => dtype::to_f32(record.dtype, &bytes)
                        .ok_or_else(|| not_a_float(shard.path(), name, record.dtype)),
                }
            }
        }
    }

    /// A tensor's values as bf16, row-major, rounded to nearest even.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn tensor_bf16(&self, name: &str) -> Result<Vec<bf16>> {
        let values = self.tensor(name)?.into_iter();
        // An infinity of a plain checkpoint is its own; a large weight does not become one.
        let to_bf16 = |value: f32| match value.is_finite() {
            true => dtype::nearest_bf16(value),
            false => bf16::from_f32(value),
        };
        Ok(values.map(to_bf16).collect())
    }

    /// A tensor's bytes as they stand in an ordinary checkpoint: little-endian, its own dtype.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`]; [`Error::Tensor`] where it is damaged.
    pub fn tensor_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let reader = self.reader(name)?;
        let mut bytes = vec![0; reader.n_bytes()];
        reader.read_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Opens a tensor for reading into the caller's memory, whole or in part: its sections are checked here, so that
    /// memory is taken only for what the file bears out.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`]; [`Error::Tensor`] where it is damaged.
    pub fn reader(&self, name: &str) -> Result<TensorReader<'_>> {
        let (shard_idx, idx) = self.place(name)?;
        match &self.kind {
            Kind::Plain(source) => {
                let shard = &source.shards[shard_idx];
                let tensor = &shard.tensors[idx];
                TensorReader::new(
                    (shard.path(), &tensor.name),
                    (tensor.dtype, &tensor.shape),
                    Stored::Bytes(shard.bytes(tensor)?),
                    Origin::Plain(shard, tensor),
                )
            }
            Kind::Compressed(c) => {
                let shard = &c.shards[shard_idx];
                c.reader(shard, &shard.metadata().tensors[idx])
            }
        }
    }

    /// The weight files, with what is in each.
    pub fn shards(&self) -> Vec<ShardInfo<'_>> {
        match &self.kind {
            Kind::Plain(source) => {
                let shards = source.shards.iter();
                shards
                    .map(|shard| ShardInfo {
                        file_name: &shard.file_name,
                        names: names_of_plain(shard),
                        metadata: &shard.metadata,
                    })
                    .collect()
            }
            Kind::Compressed(c) => {
                let shards = c.shards.iter();
                shards
                    .map(|shard| ShardInfo {
                        file_name: &shard.file_name,
                        names: names_of(shard),
                        metadata: &shard.metadata().extra,
                    })
                    .collect()
            }
        }
    }

    /// Whether the weights are compressed by nwc.
    pub fn is_compressed(&self) -> bool {
        matches!(self.kind, Kind::Compressed(_))
    }

    fn place(&self, name: &str) -> Result<(usize, usize)> {
        self.by_name
            .get(name)
            .copied()
            .ok_or_else(|| Error::NoSuchTensor {
                path: self.dir.clone(),
                tensor: name.into(),
            })
    }
}

/// Whether the first shard of the checkpoint in `dir` is one of ours.
fn is_compressed(dir: &Path, options: &DecodeOptions) -> Result<bool> {
    let (files, _) = compressed_files(dir)?;
    let Some(first) = files.first() else {
        return Ok(false);
    };
    let path = dir.join(first);
    let file = MappedFile::open(&path)?;
    let header = Header::parse(&file, file.len() as u64, &options.limits)
        .map_err(|e| Error::container(&path, e))?;
    Ok(header.metadata().contains_key(NWC_KEY))
}

fn names_of(shard: &CompressedShard) -> Vec<&str> {
    let tensors = &shard.metadata().tensors;
    tensors.iter().map(|t| t.name.as_str()).collect()
}

fn names_of_plain(shard: &SourceShard) -> Vec<&str> {
    shard.tensors.iter().map(|t| t.name.as_str()).collect()
}

fn places<'a>(shards: impl Iterator<Item = Vec<&'a str>>) -> Vec<(String, (usize, usize))> {
    shards
        .enumerate()
        .flat_map(|(shard_idx, names)| {
            names
                .into_iter()
                .enumerate()
                .map(move |(idx, name)| (name.to_owned(), (shard_idx, idx)))
        })
        .collect()
}
