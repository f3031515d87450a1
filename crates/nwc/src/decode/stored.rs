//! A compressed checkpoint as one to compress: from one rate to another without unpacking to disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use nwc_format::{Coding, TensorRecord};

use super::compressed::{Compressed, CompressedShard};
use crate::family::{ZEROS, is_mask};
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

impl Stored {
    fn place(&self, name: &str) -> Option<(&CompressedShard, &TensorRecord)> {
        let &(shard_idx, idx) = self.by_name.get(name)?;
        let shard = self.compressed.shards.get(shard_idx)?;
        Some((shard, shard.metadata().tensors.get(idx)?))
    }
}

impl StoredTensors for Stored {
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        match self.place(name) {
            Some((shard, record)) => self.compressed.bytes(shard, record),
            None => Err(Error::NoSuchTensor {
                path: "the compressed checkpoint".into(),
                tensor: name.into(),
            }),
        }
    }

    fn has_own_zeros(&self, name: &str) -> bool {
        let untied = self
            .place(name)
            .map(|(shard, record)| self.compressed.untied(shard, record));
        let Some(Ok((shard, record))) = untied else {
            return false;
        };
        match &record.coding {
            Coding::Coded { .. } => record.section(ZEROS).is_some_and(|section| {
                let bytes = shard.section(section);
                bytes.is_ok_and(is_mask)
            }),
            // Its values are the original's.
            _ => true,
        }
    }
}
