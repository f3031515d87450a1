//! Checking a compressed checkpoint: digests and a full decode.

use std::fs;
use std::path::Path;

use nwc_format::TensorRecord;
use rayon::prelude::*;

use super::below::{each_checkpoint, listed};
use super::compressed::{Compressed, CompressedShard, Decoded, elems, n_elems};
use crate::family::check_finite;
use crate::folder::carry;
use crate::options::{DecodeOptions, Job, Progress};
use crate::{Error, Result, TensorError};

/// What [`verify`] found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Tensors that were decoded.
    pub n_tensors: usize,
    /// Carried files whose digests were checked.
    pub n_files: usize,
    /// Tensors that differ more from the original than was recorded, as recovery tuned them or a compressed checkpoint
    /// was coded anew; 0 where nothing was compared.
    pub n_tuned: usize,
    /// Everything that is wrong; empty for a sound checkpoint.
    pub failures: Vec<Error>,
}

/// Checks every digest of the compressed checkpoint in `dir`, and of those in folders below that it lists, and decodes
/// every tensor.
///
/// # Errors
/// Only where the check cannot be made: the folder cannot be read or is no compressed checkpoint.
/// Damage inside is listed in [`Verification::failures`].
pub fn verify(
    dir: impl AsRef<Path>,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<Verification> {
    each_verified(dir.as_ref(), options, |_, dir, compressed| {
        check_all(dir, compressed, progress, |shard, record| {
            decode_whole(compressed, shard, record).map(drop)
        })
    })
}

/// Opens the checkpoint in `dir` and those below it one after another; what `check` finds in all of them.
///
/// `check` gets the path relative to `dir`, and the whole path.
pub(super) fn each_verified(
    dir: &Path,
    options: &DecodeOptions,
    mut check: impl FnMut(&Path, &Path, &Compressed) -> Result<Verification>,
) -> Result<Verification> {
    let mut all = Verification::default();
    each_checkpoint(dir, |path| {
        let here = dir.join(path);
        let (found, mut below) = match open(&here, options) {
            Ok(Ok(compressed)) => (
                check(path, &here, &compressed)?,
                listed(compressed.tables()),
            ),
            Ok(Err(damaged)) => (damaged, Vec::new()),
            // To the whole it is damage that a folder below holds no checkpoint any more.
            Err(e) if !path.as_os_str().is_empty() => {
                all.failures.push(e);
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        let mut gone = Vec::new();
        below.retain(|key| {
            let Ok(path) = carry::relative(&here, key).map(|path| here.join(path)) else {
                return true;
            };
            let missing = fs::metadata(&path).err();
            let is_there = missing.is_none();
            gone.extend(missing.map(|e| Error::io("read the folder", &path, e)));
            is_there
        });
        all.failures.extend(gone);
        all.n_tensors += found.n_tensors;
        all.n_files += found.n_files;
        all.n_tuned += found.n_tuned;
        all.failures.extend(found.failures);
        Ok(below)
    })?;
    Ok(all)
}

/// Opens a compressed checkpoint; damage to its headers is a finding, not an error.
fn open(
    dir: &Path,
    options: &DecodeOptions,
) -> Result<std::result::Result<Compressed, Verification>> {
    match Compressed::open(dir, options) {
        Ok(compressed) => Ok(Ok(compressed)),
        Err(err @ Error::Container { .. }) => Ok(Err(Verification {
            failures: vec![err],
            ..Verification::default()
        })),
        Err(err) => Err(err),
    }
}

/// Checks every carried file's digest, and every tensor with `check`.
pub(super) fn check_all(
    dir: &Path,
    compressed: &Compressed,
    progress: &dyn Progress,
    check: impl Fn(&CompressedShard, &TensorRecord) -> Result<()> + Sync,
) -> Result<Verification> {
    let mut verification = Verification::default();
    let n_weights = compressed.shards.iter().map(n_elems).sum();
    let job = Job::start(progress, "verify", n_weights);
    for shard in &compressed.shards {
        let metadata = shard.metadata();
        verification.n_tensors += metadata.tensors.len();
        let of_tensors = metadata
            .tensors
            .par_iter()
            // Tensors differ in size: a thread that is done early takes them one by one.
            .with_max_len(1)
            .filter_map(|record| {
                // The check after this loop says that it was cut short.
                if job.check().is_err() {
                    return None;
                }
                let result = check(shard, record);
                job.advance(elems(&record.shape));
                result.err()
            });
        verification.n_files += metadata.files.len();
        let of_files = metadata
            .files
            .par_iter()
            .filter_map(|(name, digest)| carry::check(dir, name, digest, metadata.version).err());
        let failures = rayon::join(|| of_tensors.collect::<Vec<_>>(), || of_files.collect());
        job.check()?;
        verification.failures.extend(failures.0);
        verification.failures.extend::<Vec<_>>(failures.1);
    }
    Ok(verification)
}

/// Decodes a tensor: as many values as it has elements, and finite ones.
pub(super) fn decode_whole<'a>(
    compressed: &'a Compressed,
    shard: &'a CompressedShard,
    record: &'a TensorRecord,
) -> Result<Decoded<'a>> {
    let decoded = compressed.decode(shard, record)?;
    if let Decoded::Values(values) = &decoded {
        let wrong = |e| Error::tensor(shard.path(), &record.name, e);
        let n_elems = elems(&record.shape);
        if values.len() != n_elems {
            return Err(wrong(TensorError::Record {
                what: "number of decoded weights",
                found: values.len().to_string(),
                expected: n_elems.to_string(),
            }));
        }
        check_finite(values.iter()).map_err(wrong)?;
    }
    Ok(decoded)
}
