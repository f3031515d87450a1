//! A compressed checkpoint beside the original, and what was just written read back.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use nwc_chunk::ndarray::{ArrayView1, Axis};
use nwc_format::TensorRecord;

use super::compressed::{Compressed, CompressedShard, Decoded};
use super::verify::{Verification, check_all, decode_whole, each_verified};
use crate::family::distortion;
use crate::folder::{OutputDir, Source, SourceShard, SourceTensor, dtype};
use crate::options::{DecodeOptions, Progress};
use crate::provenance::{RECODED, RECOVERY};
use crate::survey::fingerprint_of;
use crate::{Error, Result, TensorError};

/// Share by which an error may be above what was recorded: another synthesis backend rounds otherwise.
const TOLERANCE: f64 = 1e-3;

/// Relative squared error that rounding alone explains, where nothing was lost.
const ROUNDING: f64 = 1e-12;

/// As [`verify`](crate::verify), and compares every tensor with the plain checkpoint in `original`: coded weights must
/// be no further from it than was recorded when they were coded, all others must be equal.
///
/// Where the weights of a quantised model were opened, `original` is that quantised model. Where recovery tuned weights
/// or a compressed checkpoint was coded anew (the table's provenance says so), tensors that differ more are counted, in
/// [`Verification::n_tuned`], and not wrong.
///
/// # Errors
/// As [`verify`](crate::verify); [`Error::OtherModel`] where `original` has another fingerprint, and what opening it
/// returns.
pub fn verify_against(
    dir: impl AsRef<Path>,
    original: impl AsRef<Path>,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<Verification> {
    let original = original.as_ref();
    each_verified(dir.as_ref(), options, |path, dir, compressed| {
        let has_tensors = compressed.tables().any(|table| !table.tensors.is_empty());
        match has_tensors {
            true => verify_one(dir, compressed, &original.join(path), progress),
            false => check_all(dir, compressed, progress, |_, _| Ok(())),
        }
    })
}

/// Compares one folder's checkpoint with the plain one in `path`.
fn verify_one(
    dir: &Path,
    compressed: &Compressed,
    path: &Path,
    progress: &dyn Progress,
) -> Result<Verification> {
    let mut source = Source::open(path)?;
    let expected = compressed.fingerprint();
    let found = fingerprint_of(&source)?;
    // The weights of a quantised model may have been opened.
    if found != expected && (source.dequantize().is_err() || fingerprint_of(&source)? != expected) {
        return Err(Error::OtherModel {
            path: path.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        });
    }
    let original = Original::of(&source);
    let provenance = compressed.provenance();
    let [is_tuned, is_recoded] = [RECOVERY, RECODED].map(|key| provenance.contains_key(key));
    let n_tuned = AtomicUsize::new(0);
    let mut verification = check_all(dir, compressed, progress, |shard, record| {
        match original.compare(compressed, shard, record)? {
            Ok(()) => {}
            Err(differs) if is_tuned || (is_recoded && is_worse(&differs)) => {
                n_tuned.fetch_add(1, Ordering::Relaxed);
            }
            Err(differs) => return Err(differs),
        }
        Ok(())
    })?;
    verification.n_tuned = n_tuned.into_inner();
    Ok(verification)
}

/// Whether a coded tensor is further from the original than was recorded.
fn is_worse(error: &Error) -> bool {
    let Error::Tensor { source, .. } = error else {
        return false;
    };
    matches!(**source, TensorError::Worse { .. })
}

/// How much of what was written is read back.
#[derive(Debug)]
pub(crate) enum ReadBack<'a> {
    /// A sample of every coded tensor.
    Sample,
    /// Everything.
    Whole,
    /// Everything, compared with the original.
    Compared(Original<'a>),
}

/// Opens the folder that was written as a reader does, before it appears, and decodes what `read_back` says.
///
/// # Errors
/// [`Error::NotReadBack`] with the first thing that is wrong.
pub(crate) fn read_back(
    out: &OutputDir,
    read_back: &ReadBack<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    let wrong = |source| Error::NotReadBack {
        path: out.shown(""),
        source: Box::new(source),
    };
    let dir = out.file("");
    let compressed = Compressed::open(&dir, &DecodeOptions::default()).map_err(wrong)?;
    let verification = check_all(
        &dir,
        &compressed,
        progress,
        |shard, record| match read_back {
            ReadBack::Sample => compressed.reader(shard, record)?.check_sample(),
            ReadBack::Whole => decode_whole(&compressed, shard, record).map(drop),
            ReadBack::Compared(original) => original.compare(&compressed, shard, record)?,
        },
    )?;
    match verification.failures.into_iter().next() {
        Some(failure) => Err(wrong(failure)),
        None => Ok(()),
    }
}

/// The tensors of the checkpoint that was compressed.
#[derive(Debug)]
pub(crate) struct Original<'a> {
    by_name: HashMap<&'a str, (&'a SourceShard, &'a SourceTensor)>,
}

impl<'a> Original<'a> {
    pub(crate) fn of(source: &'a Source) -> Self {
        let tensors = source.tensors();
        Self {
            by_name: tensors
                .map(|(shard, tensor)| (tensor.name.as_str(), (shard, tensor)))
                .collect(),
        }
    }

    /// Compares what a tensor decoded to with what it was; the inner error says by what it differs.
    fn compare(
        &self,
        compressed: &Compressed,
        shard: &CompressedShard,
        record: &TensorRecord,
    ) -> Result<Result<()>> {
        let decoded = decode_whole(compressed, shard, record)?;
        let wrong = |e: TensorError| Error::tensor(shard.path(), &record.name, e);
        let mismatch = |what, found: &str, expected: &str| {
            wrong(TensorError::Record {
                what,
                found: found.into(),
                expected: expected.into(),
            })
        };
        let Some((home, tensor)) = self.by_name.get(record.name.as_str()) else {
            return Err(mismatch("tensor", "new", "one of the original"));
        };
        let bytes = home.bytes(tensor)?;
        let result = match &decoded {
            Decoded::Bytes(stored) if **stored == *bytes => Ok(()),
            Decoded::Bytes(_) => Err(mismatch("a kept tensor", "changed", "as in the original")),
            Decoded::Values(values) => {
                let weights = dtype::to_f32(tensor.dtype, &bytes).unwrap_or_default();
                if weights.len() != values.len() {
                    let expected = weights.len().to_string();
                    let found = values.len().to_string();
                    return Err(mismatch("number of decoded weights", &found, &expected));
                }
                let row = |values| ArrayView1::from(values).insert_axis(Axis(0));
                let (found, _) = distortion(row(&weights), row(values));
                let (_, measured) = compressed.untied(shard, record)?;
                match measured.nmse {
                    // Written so that an error which is no number is refused.
                    Some(recorded) if found <= recorded * (1.0 + TOLERANCE) + ROUNDING => Ok(()),
                    Some(recorded) => Err(wrong(TensorError::Worse { found, recorded })),
                    None => Err(mismatch("recorded error", "missing", "a number")),
                }
            }
        };
        home.forget(tensor);
        Ok(result)
    }
}
