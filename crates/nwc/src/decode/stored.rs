//! A compressed checkpoint as one to compress: from one rate to another without unpacking to disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::compressed::Compressed;
use crate::folder::{Before, Source, StoredTensors, carry};
use crate::options::DecodeOptions;
use crate::{Error, Result};

/// Opens the checkpoint in `dir` for compression, a plain or a compressed one.
///
/// # Errors
/// As [`Source::open`]; of a compressed one as [`Compressed::open`], and [`Error::FileDigest`] where a carried file is no
/// longer what it was.
pub(crate) fn open_source(dir: &Path) -> Result<Source> {
    match Source::open(dir) {
        Err(Error::AlreadyCompressed { .. }) => stored_source(dir),
        opened => opened,
    }
}

fn stored_source(dir: &Path) -> Result<Source> {
    let compressed = Compressed::open(dir, &DecodeOptions::default())?;
    for table in compressed.tables() {
        for (key, digest) in &table.files {
            carry::check(dir, key, digest, table.version)?;
        }
    }
    let before = Before {
        fingerprint: compressed.fingerprint(),
        provenance: compressed.provenance(),
    };
    let stored = Stored::new(compressed);
    let shards: Vec<_> = stored
        .compressed
        .shards
        .iter()
        .map(|shard| (shard.file_name.clone(), shard.metadata().clone()))
        .collect();
    let stored: Arc<dyn StoredTensors> = Arc::new(stored);
    Source::stored(dir, shards, before, &stored)
}

/// The tensors of a compressed checkpoint by name.
#[derive(Debug)]
struct Stored {
    compressed: Compressed,
    /// Shard and place in its table.
    by_name: HashMap<String, (usize, usize)>,
}

impl Stored {
    fn new(compressed: Compressed) -> Self {
        let mut by_name = HashMap::new();
        for (shard_idx, table) in compressed.tables().enumerate() {
            for (idx, record) in table.tensors.iter().enumerate() {
                by_name.insert(record.name.clone(), (shard_idx, idx));
            }
        }
        Self {
            compressed,
            by_name,
        }
    }
}

impl StoredTensors for Stored {
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let place = self.by_name.get(name).and_then(|&(shard_idx, idx)| {
            let shard = self.compressed.shards.get(shard_idx)?;
            Some((shard, shard.metadata().tensors.get(idx)?))
        });
        match place {
            Some((shard, record)) => self.compressed.bytes(shard, record),
            None => Err(Error::NoSuchTensor {
                path: "the compressed checkpoint".into(),
                tensor: name.into(),
            }),
        }
    }
}
