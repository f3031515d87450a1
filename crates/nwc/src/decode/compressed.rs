//! The shards of a compressed checkpoint, opened, with their codecs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use nwc_format::{
    CodecRecord, Coding, DType, ROLE_PAYLOAD, Section, Shard, ShardMetadata, TensorRecord,
    check_base, check_shard_set,
};

use super::reader::{Origin, Stored, TensorReader};
use crate::family::{self, MatrixDecoder, StoredSections};
use crate::folder::{MappedFile, compressed_files, dtype};
use crate::options::DecodeOptions;
use crate::planes::StoredPlanes;
use crate::{Error, Result, TensorError};

/// The shards of a compressed checkpoint.
#[derive(Debug)]
pub(crate) struct Compressed {
    pub(crate) shards: Vec<CompressedShard>,
    /// Codecs parsed so far, by id.
    codecs: Mutex<BTreeMap<String, Arc<dyn MatrixDecoder>>>,
    options: DecodeOptions,
}

/// One shard of a compressed checkpoint.
#[derive(Debug)]
pub(crate) struct CompressedShard {
    pub(crate) file_name: String,
    shard: Shard<MappedFile>,
}

/// What a stored tensor decodes to.
pub(crate) enum Decoded<'a> {
    /// It was coded.
    Values(Vec<f32>),
    /// It was stored as it is, or coded without loss.
    Bytes(Cow<'a, [u8]>),
}

impl Compressed {
    /// Opens every shard of the compressed checkpoint in `dir` and checks that they belong together.
    pub(crate) fn open(dir: &Path, options: &DecodeOptions) -> Result<Self> {
        let (files, _) = compressed_files(dir)?;
        let mut shards = files
            .into_iter()
            .map(|file_name| {
                let path = dir.join(&file_name);
                let shard = Shard::parse(MappedFile::open(&path)?, &options.limits)
                    .map_err(|e| header_error(&path, e))?;
                Ok(CompressedShard { file_name, shard })
            })
            .collect::<Result<Vec<_>>>()?;
        shards.sort_by_key(|s| s.metadata().shard_idx);
        let tables: Vec<&ShardMetadata> = shards.iter().map(|s| s.metadata()).collect();
        check_shard_set(&tables)
            .and_then(|()| tables.iter().try_for_each(|t| check_base(t, None)))
            .map_err(|e| Error::container(dir, e))?;
        Ok(Self {
            shards,
            codecs: Mutex::default(),
            options: options.clone(),
        })
    }

    /// The tables of its shards.
    pub(super) fn tables(&self) -> impl Iterator<Item = &ShardMetadata> {
        self.shards.iter().map(CompressedShard::metadata)
    }

    /// Decodes one tensor.
    pub(crate) fn decode<'a>(
        &'a self,
        shard: &'a CompressedShard,
        record: &'a TensorRecord,
    ) -> Result<Decoded<'a>> {
        let wrong = |e: TensorError| Error::tensor(shard.path(), &record.name, e);
        match &record.coding {
            Coding::TiedTo { .. } => {
                let (shard, record) = self.untied(shard, record)?;
                self.decode(shard, record)
            }
            Coding::Raw => {
                let section = record.sections.first().ok_or_else(|| {
                    wrong(TensorError::Record {
                        what: "section",
                        found: "missing".into(),
                        expected: "the tensor's bytes".into(),
                    })
                })?;
                Ok(Decoded::Bytes(
                    shard.section(section).map_err(wrong)?.into(),
                ))
            }
            Coding::Packed { method, .. } => {
                let planes = shard.planes(record, method).map_err(wrong)?;
                let bytes = planes.to_bytes().map_err(wrong)?;
                for section in &record.sections {
                    shard.forget(section);
                }
                Ok(Decoded::Bytes(bytes.into()))
            }
            Coding::Coded {
                codec, parameters, ..
            } => {
                let codec = self.codec(codec)?;
                let stored = shard.stored(record, parameters).map_err(wrong)?;
                let (rows, cols) =
                    family::matrix_shape(&record.shape, parameters).map_err(wrong)?;
                let decoded = family::decode(&*codec, &stored, rows, cols).map_err(wrong)?;
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
                let bytes = stored.into_owned();
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
                    Err(not_a_float(shard.path(), &record.name, record.dtype))
                }
            }
        }
    }

    /// Opens one tensor for reading into the caller's memory.
    pub(crate) fn reader<'a>(
        &'a self,
        shard: &'a CompressedShard,
        record: &'a TensorRecord,
    ) -> Result<TensorReader<'a>> {
        let (home, stored) = self.untied(shard, record)?;
        let wrong = |e: TensorError| Error::tensor(home.path(), &stored.name, e);
        let opened = match &stored.coding {
            Coding::Coded {
                codec, parameters, ..
            } => {
                let codec = self.codec(codec)?;
                let (rows, cols) =
                    family::matrix_shape(&stored.shape, parameters).map_err(wrong)?;
                let sections = home.stored(stored, parameters).map_err(wrong)?;
                let matrix = family::open(codec, sections, rows, cols).map_err(wrong)?;
                Stored::Matrix(matrix, (rows, cols))
            }
            Coding::Packed { method, .. } => {
                Stored::Planes(home.planes(stored, method).map_err(wrong)?)
            }
            _ => Stored::Bytes(match self.decode(home, stored)? {
                Decoded::Bytes(bytes) => bytes,
                Decoded::Values(values) => {
                    let mut bytes = Vec::new();
                    if !dtype::extend_bytes(stored.dtype, &values, &mut bytes) {
                        return Err(not_a_float(home.path(), &stored.name, stored.dtype));
                    }
                    bytes.into()
                }
            }),
        };
        TensorReader::new(
            (shard.path(), &record.name),
            (record.dtype, &record.shape),
            opened,
            Origin::Compressed(home, stored),
        )
    }

    /// How the folder came about, in the first shard's words.
    #[cfg(feature = "encode")]
    pub(super) fn provenance(&self) -> BTreeMap<String, String> {
        let first = self.shards.first();
        first.map_or_else(BTreeMap::new, |shard| shard.metadata().provenance.clone())
    }

    /// The fingerprint of the model that was compressed, the same in all shards.
    #[cfg(feature = "encode")]
    pub(super) fn fingerprint(&self) -> nwc_format::Digest {
        let first = self.shards.first();
        first.map_or(nwc_format::Digest::of(&[]), |shard| {
            shard.metadata().fingerprint
        })
    }

    /// The tensor that holds the values of `record`: itself, or the one that it is tied to.
    pub(super) fn untied<'a>(
        &'a self,
        shard: &'a CompressedShard,
        record: &'a TensorRecord,
    ) -> Result<(&'a CompressedShard, &'a TensorRecord)> {
        let Coding::TiedTo { name } = &record.coding else {
            return Ok((shard, record));
        };
        // A tie points at a tensor that is not tied: the set was checked when it was opened.
        self.shards
            .iter()
            .find_map(|s| Some((s, s.shard.record(name)?)))
            .filter(|(_, r)| !matches!(r.coding, Coding::TiedTo { .. }))
            .ok_or_else(|| {
                let source = TensorError::Record {
                    what: "tied tensor",
                    found: "missing".into(),
                    expected: name.clone(),
                };
                Error::tensor(shard.path(), &record.name, source)
            })
    }

    fn codec(&self, id: &str) -> Result<Arc<dyn MatrixDecoder>> {
        if let Some(codec) = self.kept_codecs().and_then(|kept| kept.get(id).cloned()) {
            return Ok(codec);
        }
        let (shard, record) = self
            .shards
            .iter()
            .find_map(|s| {
                let codecs: &[CodecRecord] = &s.metadata().codecs;
                Some((s, codecs.iter().find(|c| c.id == id)?))
            })
            .ok_or_else(|| Error::Argument {
                argument: "codec",
                found: id.into(),
                allowed: "one of those in the shards".into(),
            })?;
        let bytes = shard
            .section(&record.section())
            .map_err(|e| Error::tensor(shard.path(), id, e))?;
        let name = format!("{id} in {}", shard.path().display());
        let codec: Arc<dyn MatrixDecoder> =
            Arc::from(family::decoder(&name, bytes, &self.options)?);
        if let Some(mut kept) = self.kept_codecs() {
            kept.insert(id.into(), Arc::clone(&codec));
        }
        Ok(codec)
    }

    /// The codecs read so far, or `None` where another thread has them at this moment.
    ///
    /// It never waits: where a thread holds the lock while another forks, nobody is left in the child to release it.
    fn kept_codecs(&self) -> Option<MutexGuard<'_, BTreeMap<String, Arc<dyn MatrixDecoder>>>> {
        match self.codecs.try_lock() {
            Ok(kept) => Some(kept),
            Err(TryLockError::Poisoned(kept)) => Some(kept.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl CompressedShard {
    /// The table.
    pub(crate) fn metadata(&self) -> &ShardMetadata {
        self.shard.metadata()
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        self.shard.bytes().path()
    }

    /// The sections of a coded tensor, digests checked.
    fn stored<'a>(
        &'a self,
        record: &'a TensorRecord,
        parameters: &'a BTreeMap<String, f64>,
    ) -> Result<StoredSections<'a>, TensorError> {
        let sections = record.sections.iter();
        let by_role = sections
            .map(|section| Ok((section.role.as_str(), self.section(section)?)))
            .collect::<Result<_, TensorError>>()?;
        Ok(StoredSections {
            by_role,
            parameters,
        })
    }

    /// A tensor that was coded without loss by `method`, digest checked.
    fn planes<'a>(
        &'a self,
        record: &'a TensorRecord,
        method: &str,
    ) -> Result<StoredPlanes<'a>, TensorError> {
        match record.sections.as_slice() {
            [payload] if payload.role == ROLE_PAYLOAD => {
                let payload = self.section(payload)?;
                StoredPlanes::parse(method, record.dtype, elems(&record.shape), payload)
            }
            sections => Err(TensorError::Record {
                what: "number of sections of a packed tensor",
                found: sections.len().to_string(),
                expected: "1, its payload".into(),
            }),
        }
    }

    /// Gives the memory of a section that has been read back.
    pub(super) fn forget(&self, section: &Section) {
        if let Ok(range) = self.shard.section_range(section) {
            self.shard.bytes().forget(range);
        }
    }

    /// A section's bytes, digest checked.
    pub(super) fn section(&self, section: &Section) -> Result<&[u8], TensorError> {
        Ok(self.shard.section(section)?)
    }
}

/// Tells a plain safetensors file from a damaged one of ours.
pub(crate) fn header_error(path: &Path, error: nwc_format::Error) -> Error {
    match error {
        nwc_format::Error::MissingMetadata { .. } => Error::NotCompressed { path: path.into() },
        error => Error::container(path, error),
    }
}

pub(super) fn not_a_float(path: &Path, name: &str, dtype: DType) -> Error {
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

/// Elements of all tensors of a shard.
pub(super) fn n_elems(shard: &CompressedShard) -> usize {
    let tensors = &shard.metadata().tensors;
    tensors
        .iter()
        .fold(0, |n, t| n.saturating_add(elems(&t.shape)))
}

/// Elements of a tensor; the header was checked for overflow.
pub(super) fn elems(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d))
}
