//! Checking a compressed checkpoint: digests and a full decode.

use std::path::Path;

use rayon::prelude::*;

use crate::checkpoint::{Compressed, Decoded};
use crate::decompress::{elems, n_elems};
use crate::options::{DecodeOptions, Progress};
use crate::report::Inspection;
use crate::source::shard_files;
use crate::{Error, Result, TensorError, carry, compress};

/// What [`verify`] found.
#[derive(Debug)]
pub struct Verification {
    /// Tensors that were decoded.
    pub n_tensors: usize,
    /// Carried files whose digests were checked.
    pub n_files: usize,
    /// Everything that is wrong; empty for a sound checkpoint.
    pub failures: Vec<Error>,
}

/// Checks every digest of the compressed checkpoint in `dir` and decodes every tensor.
///
/// # Errors
/// Only where the check cannot be made: the folder cannot be read or is no compressed checkpoint.
/// Damage inside is listed in [`Verification::failures`].
pub fn verify(dir: &Path, progress: &dyn Progress) -> Result<Verification> {
    verify_with(dir, &DecodeOptions::default(), progress)
}

/// As [`verify`], with a say in how tensors are decoded; digests are of stored bytes, so it changes none of them.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    dir: &Path,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<Verification> {
    let compressed = match Compressed::open(dir, options) {
        Ok(compressed) => compressed,
        Err(err @ Error::Container { .. }) => {
            return Ok(Verification {
                n_tensors: 0,
                n_files: 0,
                failures: vec![err],
            });
        }
        Err(err) => return Err(err),
    };
    let mut verification = Verification {
        n_tensors: 0,
        n_files: 0,
        failures: Vec::new(),
    };
    let n_weights: usize = compressed.shards.iter().map(n_elems).sum();
    progress.start("verify", n_weights as u64);
    for shard in &compressed.shards {
        let metadata = shard.header.metadata();
        verification.n_tensors += metadata.tensors.len();
        let of_tensors = metadata
            .tensors
            .par_iter()
            // Tensors differ in size: a thread that is done early takes them one by one.
            .with_max_len(1)
            .filter_map(|record| {
                let decoded = compressed.decode(shard, record).and_then(|decoded| {
                    let n_elems = elems(&record.shape);
                    match decoded {
                        Decoded::Values(values) if values.len() != n_elems => Err(Error::tensor(
                            shard.file.path(),
                            &record.name,
                            TensorError::Record {
                                what: "number of decoded weights",
                                found: values.len().to_string(),
                                expected: n_elems.to_string(),
                            },
                        )),
                        _ => Ok(()),
                    }
                });
                progress.advance(elems(&record.shape) as u64);
                decoded.err()
            });
        verification.n_files += metadata.files.len();
        let of_files = metadata
            .files
            .par_iter()
            .filter_map(|(name, digest)| carry::read_checked(dir, name, digest).err());
        let failures = rayon::join(|| of_tensors.collect::<Vec<_>>(), || of_files.collect());
        verification.failures.extend(failures.0);
        verification.failures.extend::<Vec<_>>(failures.1);
    }
    progress.finish();
    Ok(verification)
}

/// Lists what the compressed checkpoint in `dir` holds, from its headers alone.
///
/// # Errors
/// [`Error`] where a header cannot be read.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    let (files, index) = shard_files(dir)?;
    let mut headers = Vec::new();
    let mut total_bytes = 0;
    for file in &files {
        let (header, n_bytes) = compress::read_header(&dir.join(file))?;
        headers.push(header);
        total_bytes += n_bytes;
    }
    if index.is_some() {
        let path = dir.join(nwc_format::INDEX_FILE_NAME);
        total_bytes += std::fs::metadata(&path)
            .map_err(|e| Error::io("read", &path, e))?
            .len();
    }
    headers.sort_by_key(|h| h.metadata().shard_idx);
    Ok(Inspection::new(
        headers.iter().map(|h| h.metadata()),
        total_bytes,
    ))
}
