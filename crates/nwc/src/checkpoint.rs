//! A lazy view of a checkpoint: tensors are decoded when they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use half::bf16;
use nwc_format::{
    CodecRecord, Coding, DType, Digest, Header, Limits, Section, ShardHeader, ShardMetadata,
    TensorRecord, check_shard_set,
};

use crate::coder::{self, LoadedCodec, StoredSections};
use crate::mapped::MappedFile;
use crate::options::DecodeOptions;
use crate::source::{Source, shard_files};
use crate::{Error, Result, TensorError, dtype, pretrained};

/// A checkpoint folder, compressed or plain, opened for reading.
///
/// Opening reads headers only. Tensors are decoded on demand and on the thread that asks (and the rayon
/// pool it is in); the view can be shared between threads.
///
/// ```no_run
/// let checkpoint = nwc::Checkpoint::open("model-nwc".as_ref())?;
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

#[derive(Debug)]
enum Kind {
    Plain(Source),
    Compressed(Compressed),
}

/// The shards of a compressed checkpoint.
#[derive(Debug)]
pub(crate) struct Compressed {
    pub(crate) shards: Vec<CompressedShard>,
    /// Codecs parsed so far, by id.
    codecs: Mutex<BTreeMap<String, Arc<LoadedCodec>>>,
    options: DecodeOptions,
}

/// One shard of a compressed checkpoint.
#[derive(Debug)]
pub(crate) struct CompressedShard {
    pub(crate) file_name: String,
    pub(crate) file: MappedFile,
    pub(crate) header: ShardHeader,
}

impl Checkpoint {
    /// Opens the folder `dir`; whether it is compressed is told by the shards themselves.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::MissingShard`], [`Error::Container`] and others name the file.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, &DecodeOptions::default())
    }

    /// As [`Checkpoint::open`], with a say in how tensors are decoded.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with(dir: &Path, options: &DecodeOptions) -> Result<Self> {
        let kind = if is_compressed(dir)? {
            Kind::Compressed(Compressed::open(dir, options)?)
        } else {
            Kind::Plain(Source::open(dir)?)
        };
        let places: Vec<(String, (usize, usize))> = match &kind {
            Kind::Plain(source) => places(source.shards.iter().map(|s| names_of_plain(s))),
            Kind::Compressed(c) => places(c.shards.iter().map(|s| {
                s.header
                    .metadata()
                    .tensors
                    .iter()
                    .map(|t| t.name.as_str())
                    .collect()
            })),
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
                let record = &c.shards[shard_idx].header.metadata().tensors[idx];
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
                dtype::to_f32(tensor.dtype, shard.bytes(tensor))
                    .ok_or_else(|| not_a_float(shard.path(), name, tensor.dtype))
            }
            Kind::Compressed(c) => {
                let shard = &c.shards[shard_idx];
                let record = &shard.header.metadata().tensors[idx];
                match c.decode(shard, record)? {
                    // What a decompressed file would hold: rounded to the tensor's own dtype.
                    Decoded::Values(mut values) => {
                        dtype::round_in_place(record.dtype, &mut values);
                        Ok(values)
                    }
                    Decoded::Bytes(bytes) => dtype::to_f32(record.dtype, bytes)
                        .ok_or_else(|| not_a_float(shard.file.path(), name, record.dtype)),
                }
            }
        }
    }

    /// A tensor's values as bf16, row-major, rounded to nearest even.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn tensor_bf16(&self, name: &str) -> Result<Vec<bf16>> {
        Ok(self.tensor(name)?.into_iter().map(bf16::from_f32).collect())
    }

    /// Writes a tensor's values as f32 into the caller's buffer.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`], and [`Error::Argument`] where the buffer has another length.
    pub fn tensor_into(&self, name: &str, out: &mut [f32]) -> Result<()> {
        let n_elems: usize = self.info(name)?.shape.iter().product();
        if n_elems != out.len() {
            return Err(Error::Argument {
                argument: "length of the buffer",
                found: out.len().to_string(),
                allowed: format!("{n_elems}, the elements of {name}"),
            });
        }
        out.copy_from_slice(&self.tensor(name)?);
        Ok(())
    }

    /// A tensor's bytes as they stand in an ordinary checkpoint: little-endian, its own dtype.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`]; [`Error::Tensor`] where it is damaged.
    pub fn tensor_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let (shard_idx, idx) = self.place(name)?;
        match &self.kind {
            Kind::Plain(source) => {
                let shard = &source.shards[shard_idx];
                Ok(shard.bytes(&shard.tensors[idx]).to_vec())
            }
            Kind::Compressed(c) => {
                let shard = &c.shards[shard_idx];
                c.bytes(shard, &shard.header.metadata().tensors[idx])
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

/// What a stored tensor decodes to.
pub(crate) enum Decoded<'a> {
    /// It was coded.
    Values(Vec<f32>),
    /// It was stored as it is.
    Bytes(&'a [u8]),
}

impl Compressed {
    /// Opens every shard of the compressed checkpoint in `dir` and checks that they belong together.
    pub(crate) fn open(dir: &Path, options: &DecodeOptions) -> Result<Self> {
        let (files, _) = shard_files(dir)?;
        let mut shards = files
            .into_iter()
            .map(|file_name| {
                let path = dir.join(&file_name);
                let file = MappedFile::open(&path)?;
                let header = ShardHeader::parse(&file, file.len() as u64, &Limits::default())
                    .map_err(|e| header_error(&path, e))?;
                Ok(CompressedShard {
                    file_name,
                    file,
                    header,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        shards.sort_by_key(|s| s.header.metadata().shard_idx);
        let tables: Vec<&ShardMetadata> = shards.iter().map(|s| s.header.metadata()).collect();
        check_shard_set(&tables).map_err(|e| Error::container(dir, e))?;
        Ok(Self {
            shards,
            codecs: Mutex::default(),
            options: options.clone(),
        })
    }

    /// Decodes one tensor.
    pub(crate) fn decode<'a>(
        &'a self,
        shard: &'a CompressedShard,
        record: &'a TensorRecord,
    ) -> Result<Decoded<'a>> {
        let wrong = |e: TensorError| Error::tensor(shard.file.path(), &record.name, e);
        match &record.coding {
            Coding::TiedTo { name } => {
                // A tie points at a tensor that is not tied: the set was checked when it was opened.
                let (shard, record) = self
                    .shards
                    .iter()
                    .find_map(|s| Some((s, s.header.record(name)?)))
                    .filter(|(_, r)| !matches!(r.coding, Coding::TiedTo { .. }))
                    .ok_or_else(|| {
                        wrong(TensorError::Record {
                            what: "tied tensor",
                            found: "missing".into(),
                            expected: name.clone(),
                        })
                    })?;
                self.decode(shard, record)
            }
            Coding::Lossless => {
                let section = record.sections.first().ok_or_else(|| {
                    wrong(TensorError::Record {
                        what: "section",
                        found: "missing".into(),
                        expected: "the tensor's bytes".into(),
                    })
                })?;
                Ok(Decoded::Bytes(shard.section(section).map_err(wrong)?))
            }
            Coding::Coded {
                codec, parameters, ..
            } => {
                let codec = self.codec(codec)?;
                let mut by_role = BTreeMap::new();
                for section in &record.sections {
                    by_role.insert(
                        section.role.as_str(),
                        shard.section(section).map_err(wrong)?,
                    );
                }
                let stored = StoredSections {
                    by_role,
                    parameters,
                };
                let (rows, cols) = matrix_shape(&record.shape).map_err(wrong)?;
                let decoded = coder::decode(&codec, &stored, rows, cols).map_err(wrong)?;
                for section in &record.sections {
                    shard.forget(section);
                }
                Ok(Decoded::Values(decoded.into_raw_vec_and_offset().0))
            }
        }
    }

    /// One tensor in its own dtype.
    pub(crate) fn bytes(&self, shard: &CompressedShard, record: &TensorRecord) -> Result<Vec<u8>> {
        match self.decode(shard, record)? {
            Decoded::Bytes(stored) => {
                let bytes = stored.to_vec();
                for section in &record.sections {
                    shard.forget(section);
                }
                Ok(bytes)
            }
            Decoded::Values(values) => {
                let mut bytes = Vec::new();
                if dtype::extend_bytes(record.dtype, &values, &mut bytes) {
                    Ok(bytes)
                } else {
                    Err(not_a_float(shard.file.path(), &record.name, record.dtype))
                }
            }
        }
    }

    fn codec(&self, id: &str) -> Result<Arc<LoadedCodec>> {
        let mut codecs = self.codecs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(codec) = codecs.get(id) {
            return Ok(Arc::clone(codec));
        }
        let (shard, record) = self
            .shards
            .iter()
            .find_map(|s| {
                let codecs: &[CodecRecord] = &s.header.metadata().codecs;
                Some((s, codecs.iter().find(|c| c.id == id)?))
            })
            .ok_or_else(|| Error::Argument {
                argument: "codec",
                found: id.into(),
                allowed: "one of those in the shards".into(),
            })?;
        let bytes = shard
            .section(&record.section())
            .map_err(|e| Error::tensor(shard.file.path(), id, e))?;
        let name = format!("{id} in {}", shard.file.path().display());
        let codec = pretrained::parse(&name, bytes)?;
        let codec = LoadedCodec::new(codec, self.options.synthesis.as_deref())
            .map_err(|e| Error::tensor(shard.file.path(), id, e))?;
        let codec = Arc::new(codec);
        codecs.insert(id.into(), Arc::clone(&codec));
        Ok(codec)
    }
}

impl CompressedShard {
    /// Gives the memory of a section that has been read back.
    fn forget(&self, section: &Section) {
        if let Ok(range) = self.header.section_range(section) {
            // Sections lie in the file, which is mapped.
            self.file.forget(range.start as usize..range.end as usize);
        }
    }

    /// A section's bytes, digest checked.
    fn section(&self, section: &Section) -> Result<&[u8], TensorError> {
        let range = self.header.section_range(section)?;
        let bytes = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok())
            .and_then(|(start, end)| self.file.get(start..end))
            .ok_or_else(|| TensorError::Record {
                what: "file length",
                found: self.file.len().to_string(),
                expected: format!("at least {}", range.end),
            })?;
        let found = Digest::of(bytes);
        if found != section.digest {
            return Err(TensorError::Container(nwc_format::Error::SectionDigest {
                section: section.name.clone(),
                found,
                expected: section.digest,
            }));
        }
        Ok(bytes)
    }
}

/// Tells a plain safetensors file from a damaged one of ours.
pub(crate) fn header_error(path: &Path, error: nwc_format::Error) -> Error {
    match error {
        nwc_format::Error::MissingMetadata { .. } => Error::NotCompressed { path: path.into() },
        error => Error::container(path, error),
    }
}

/// Whether the first shard of the checkpoint in `dir` is one of ours.
fn is_compressed(dir: &Path) -> Result<bool> {
    let (files, _) = shard_files(dir)?;
    let Some(first) = files.first() else {
        return Ok(false);
    };
    let path = dir.join(first);
    let file = MappedFile::open(&path)?;
    let header = Header::parse(&file, file.len() as u64, &Limits::default())
        .map_err(|e| Error::container(&path, e))?;
    Ok(header.metadata().contains_key(crate::source::NWC_KEY))
}

/// Rows and columns of a coded tensor; a stack of matrices is one tall matrix.
fn matrix_shape(shape: &[usize]) -> Result<(usize, usize), TensorError> {
    match shape {
        [rows, cols] => Some((*rows, *cols)),
        [stack, rows, cols] => stack.checked_mul(*rows).map(|rows| (rows, *cols)),
        _ => None,
    }
    .ok_or_else(|| TensorError::Record {
        what: "shape of a coded tensor",
        found: format!("{shape:?}"),
        expected: "2 or 3 dimensions".into(),
    })
}

fn not_a_float(path: &Path, name: &str, dtype: DType) -> Error {
    Error::tensor(
        path,
        name,
        TensorError::Record {
            what: "dtype",
            found: dtype.to_string(),
            expected: "F32, F16 or BF16".into(),
        },
    )
}

fn names_of_plain(shard: &crate::source::SourceShard) -> Vec<&str> {
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
