//! Checking a compressed checkpoint: digests and a full decode.

use std::path::Path;

use nwc_format::TensorRecord;
use rayon::prelude::*;

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
    /// Tensors that differ from the original because recovery tuned them; 0 where nothing was compared.
    pub n_tuned: usize,
    /// Everything that is wrong; empty for a sound checkpoint.
    pub failures: Vec<Error>,
}

/// Checks every digest of the compressed checkpoint in `dir` and decodes every tensor.
///
/// # Errors
/// Only where the check cannot be made: the folder cannot be read or is no compressed checkpoint.
/// Damage inside is listed in [`Verification::failures`].
pub fn verify(
    dir: impl AsRef<Path>,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<Verification> {
    let dir = dir.as_ref();
    match open(dir, options)? {
        Ok(compressed) => check_all(dir, &compressed, progress, |shard, record| {
            decode_whole(&compressed, shard, record).map(drop)
        }),
        Err(damaged) => Ok(damaged),
    }
}

/// Opens a compressed checkpoint; damage to its headers is a finding, not an error.
pub(super) fn open(
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
