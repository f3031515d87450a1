//! Checking a compressed checkpoint: digests and a full decode.

use std::path::Path;

use rayon::prelude::*;

use super::compressed::{Compressed, Decoded, elems, n_elems};
use crate::folder::carry;
use crate::options::{DecodeOptions, Job, Progress};
use crate::{Error, Result, TensorError};

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
pub fn verify(
    dir: impl AsRef<Path>,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<Verification> {
    let dir = dir.as_ref();
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
                let decoded = compressed.decode(shard, record).and_then(|decoded| {
                    let n_elems = elems(&record.shape);
                    match decoded {
                        Decoded::Values(values) if values.len() != n_elems => Err(Error::tensor(
                            shard.path(),
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
                job.advance(elems(&record.shape));
                decoded.err()
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
