//! A plain Hugging Face checkpoint folder, opened for reading.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nwc_format::{DType, Header, INDEX_FILE_NAME, Limits};
#[cfg(feature = "encode")]
use nwc_format::{Digest, ShardMetadata, TensorRecord};

use super::mapped::MappedFile;
#[cfg(feature = "encode")]
use super::quantized::{self, Opened};
#[cfg(feature = "encode")]
use super::weights::compressed_files;
use super::weights::{WeightFiles, check_no_lfs_pointer};
#[cfg(feature = "encode")]
use crate::classify::Facts;
use crate::{Error, Result};

/// Key of the metadata entry that marks a shard as compressed.
pub(crate) const NWC_KEY: &str = nwc_format::TABLE_KEY;

/// Where one tensor of a plain checkpoint lies.
#[derive(Debug, Clone)]
pub(crate) struct SourceTensor {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    place: Place,
}

/// Where a tensor's bytes come from.
#[derive(Debug, Clone)]
enum Place {
    /// A byte range in the shard's file.
    File(Range<usize>),
    /// Quantised tensors, which [`Source::dequantize`] put it in the place of.
    #[cfg(feature = "encode")]
    Opened(Box<Opened>),
    /// A compressed checkpoint.
    #[cfg(feature = "encode")]
    Stored(Arc<dyn StoredTensors>),
}

/// Tensors that have to be decoded.
#[cfg(feature = "encode")]
pub(crate) trait StoredTensors: std::fmt::Debug + Send + Sync {
    /// The bytes of the tensor `name`, in its own dtype.
    fn bytes(&self, name: &str) -> Result<Vec<u8>>;

    /// Whether its zeros are of the model, and not of the steps that it was coded in.
    fn has_own_zeros(&self, name: &str) -> bool;
}

/// What a compressed checkpoint says of itself.
#[cfg(feature = "encode")]
#[derive(Debug, Clone)]
pub(crate) struct Before {
    /// Fingerprint of the model that was compressed.
    pub(crate) fingerprint: Digest,
    /// How it came about.
    pub(crate) provenance: BTreeMap<String, String>,
}

impl SourceTensor {
    /// What classification goes by.
    #[cfg(feature = "encode")]
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            name: &self.name,
            dtype: self.dtype,
            shape: &self.shape,
        }
    }

    /// Whether its zeros are of the model, as far as that is known.
    #[cfg(feature = "encode")]
    pub(crate) fn has_own_zeros(&self) -> bool {
        match &self.place {
            Place::Stored(stored) => stored.has_own_zeros(&self.name),
            Place::File(_) | Place::Opened(_) => true,
        }
    }

    /// Length in bytes.
    #[cfg(feature = "encode")]
    pub(crate) fn n_bytes(&self) -> usize {
        self.n_elems() * self.dtype.size()
    }

    /// Number of elements.
    #[cfg(feature = "encode")]
    pub(crate) fn n_elems(&self) -> usize {
        // The parser has checked that the product times the size fits the file.
        self.shape.iter().product()
    }
}

/// One file of a plain checkpoint, tensors in the order of their bytes.
#[derive(Debug)]
pub(crate) struct SourceShard {
    pub(crate) file_name: String,
    file: Arc<MappedFile>,
    pub(crate) tensors: Vec<SourceTensor>,
    /// The file's own `__metadata__`, such as `format: pt`.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl SourceShard {
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The bytes of one of this shard's tensors.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a quantised weight cannot be opened.
    pub(crate) fn bytes(&self, tensor: &SourceTensor) -> Result<Cow<'_, [u8]>> {
        match &tensor.place {
            Place::File(range) => Ok(self.file.get(range.clone()).unwrap_or_default().into()),
            #[cfg(feature = "encode")]
            Place::Opened(opened) => opened
                .bytes()
                .map(Cow::Owned)
                .map_err(|e| Error::tensor(self.path(), &tensor.name, e)),
            #[cfg(feature = "encode")]
            Place::Stored(stored) => stored.bytes(&tensor.name).map(Cow::Owned),
        }
    }

    /// Gives the memory of a tensor's bytes back; they can be read again.
    pub(crate) fn forget(&self, tensor: &SourceTensor) {
        match &tensor.place {
            Place::File(range) => self.file.forget(range.clone()),
            #[cfg(feature = "encode")]
            Place::Opened(opened) => opened.forget(),
            #[cfg(feature = "encode")]
            Place::Stored(_) => {}
        }
    }
}

/// A plain checkpoint: its shards, mapped, and its folder.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) dir: PathBuf,
    pub(crate) shards: Vec<SourceShard>,
    /// Which files hold the weights.
    pub(crate) weights: WeightFiles,
    /// What is known of it where it is a compressed one.
    #[cfg(feature = "encode")]
    pub(crate) before: Option<Before>,
}

impl Source {
    /// Opens the checkpoint in `dir`, every shard's header checked.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let weights = WeightFiles::of(dir)?;
        let shards = weights
            .files
            .iter()
            .map(|name| open_shard(&dir.join(name), name))
            .collect::<Result<Vec<_>>>()?;
        if let Some(first) = shards.first()
            && shards.iter().all(|shard| shard.tensors.is_empty())
        {
            return Err(Error::Header {
                path: first.path().into(),
                detail: "it holds no tensors".into(),
            });
        }
        let mut source = Self {
            dir: dir.into(),
            shards,
            weights,
            #[cfg(feature = "encode")]
            before: None,
        };
        source.settle_overlays();
        source.check_index()?;
        Ok(source)
    }

    /// The compressed checkpoint in `dir`, whose shards with their tables are `shards`, decoded by `stored`.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] where it holds no tensors, [`Error::Io`].
    #[cfg(feature = "encode")]
    pub(crate) fn stored(
        dir: &Path,
        shards: Vec<(String, ShardMetadata)>,
        before: Before,
        stored: &Arc<dyn StoredTensors>,
    ) -> Result<Self> {
        if shards.iter().all(|(_, table)| table.tensors.is_empty()) {
            return Err(Error::NotACheckpoint { path: dir.into() });
        }
        let (files, index) = compressed_files(dir)?;
        let shard = |(file_name, table): (String, ShardMetadata)| {
            let tensor = |record: TensorRecord| SourceTensor {
                name: record.name,
                dtype: record.dtype,
                shape: record.shape,
                place: Place::Stored(Arc::clone(stored)),
            };
            Ok(SourceShard {
                file: Arc::new(MappedFile::open(&dir.join(&file_name))?),
                file_name,
                tensors: table.tensors.into_iter().map(tensor).collect(),
                metadata: table.extra,
            })
        };
        Ok(Self {
            dir: dir.into(),
            shards: shards.into_iter().map(shard).collect::<Result<_>>()?,
            weights: WeightFiles {
                files,
                index,
                notes: Vec::new(),
            },
            before: Some(before),
        })
    }

    /// All tensors with the shard that holds them.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&SourceShard, &SourceTensor)> {
        self.shards
            .iter()
            .flat_map(|shard| shard.tensors.iter().map(move |tensor| (shard, tensor)))
    }

    /// Whether weights are quantised already.
    #[cfg(feature = "encode")]
    pub(crate) fn is_quantized(&self) -> bool {
        let facts = self.tensors().map(|(_, tensor)| tensor.facts());
        !quantized::detect(facts).methods().is_empty()
    }

    /// Puts plain weights of bf16 in the place of quantised ones; their scales and zero points go.
    ///
    /// # Errors
    /// [`Error::Argument`] where nothing is quantised, or something with a method that cannot be opened;
    /// [`Error::Tensor`], [`Error::Header`] where the tensors do not fit each other or a name is taken.
    #[cfg(feature = "encode")]
    pub(crate) fn dequantize(&mut self) -> Result<()> {
        let config = quantized::quantization_of(&self.dir)?;
        let mut stored = BTreeMap::new();
        for (shard, tensor) in self.tensors() {
            if let Place::File(range) = &tensor.place {
                let part = quantized::StoredPart {
                    file: Arc::clone(&shard.file),
                    range: range.clone(),
                    dtype: tensor.dtype,
                    shape: tensor.shape.clone(),
                };
                stored.insert(tensor.name.clone(), part);
            }
        }
        let mut plan = quantized::plan(&stored, config.as_ref())?;
        for shard in &mut self.shards {
            shard.tensors.retain_mut(|tensor| {
                if let Some(opened) = plan.opened.remove(&tensor.name) {
                    tracing::debug!(tensor = opened.name, from = tensor.name, "opened");
                    tensor.name.clone_from(&opened.name);
                    tensor.dtype = opened.dtype();
                    tensor.shape.clone_from(&opened.shape);
                    tensor.place = Place::Opened(Box::new(opened));
                    return true;
                }
                !plan.gone.contains(&tensor.name)
            });
        }
        // The index is of the stored tensors, and was checked.
        self.check_names().map(drop)
    }

    /// Leaves out what the index says is to be taken from another file: a later shard may lie over earlier ones.
    fn settle_overlays(&mut self) {
        let Some(index) = &self.weights.index else {
            return;
        };
        for shard in &mut self.shards {
            let (file, notes) = (&shard.file_name, &mut self.weights.notes);
            shard.tensors.retain(|tensor| {
                let is_taken = index
                    .weight_map
                    .get(&tensor.name)
                    .is_none_or(|listed| listed == file);
                if !is_taken {
                    notes.push(format!(
                        "{} in {file} is left out: the index takes it from another file",
                        tensor.name
                    ));
                }
                is_taken
            });
        }
    }

    /// The file of every tensor, none in two.
    fn check_names(&self) -> Result<HashMap<&str, &str>> {
        let mut seen = HashMap::new();
        for (shard, tensor) in self.tensors() {
            if let Some(other) = seen.insert(tensor.name.as_str(), shard.file_name.as_str()) {
                return Err(Error::Header {
                    path: shard.path().into(),
                    detail: format!("tensor {} is in {other} too", tensor.name),
                });
            }
        }
        Ok(seen)
    }

    fn check_index(&self) -> Result<()> {
        let seen = self.check_names()?;
        let Some(index) = &self.weights.index else {
            return Ok(());
        };
        for (name, file) in &index.weight_map {
            match seen.get(name.as_str()) {
                Some(found) if *found == file => {}
                found => {
                    return Err(Error::IndexMismatch {
                        index: self.dir.join(INDEX_FILE_NAME),
                        shard: self.dir.join(file),
                        tensor: name.clone(),
                        found: match found {
                            Some(other) => format!("in {other}"),
                            None => "nowhere".into(),
                        },
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether a file of that name holds weights in safetensors.
pub(crate) fn is_shard_name(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.starts_with('.')
}

fn open_shard(path: &Path, file_name: &str) -> Result<SourceShard> {
    check_no_lfs_pointer(path)?;
    let file = MappedFile::open(path)?;
    let wrong = |e| Error::container(path, e);
    let n_bytes = file.len() as u64;
    let limits = Limits::default();

    let header = Header::parse(&file, n_bytes, &limits).map_err(wrong)?;
    if header.metadata().contains_key(NWC_KEY) {
        return Err(Error::AlreadyCompressed { path: path.into() });
    }
    let tensors = header
        .entries()
        .iter()
        .map(|entry| SourceTensor {
            name: entry.name.clone(),
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            // The parser has checked that every range lies in the file, which is mapped.
            place: Place::File(entry.range.start as usize..entry.range.end as usize),
        })
        .collect();
    Ok(SourceShard {
        file_name: file_name.into(),
        file: Arc::new(file),
        tensors,
        metadata: header.metadata().clone(),
    })
}
