//! Compares a checkpoint with what came back from its compressed form.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use nwc::{Checkpoint, DType, DecodeOptions, Inspection, NoProgress, TensorSummary};
use rayon::prelude::*;
use serde::Serialize;

/// Sums are taken in another order than when the matrix was coded.
const NMSE_TOLERANCE: f64 = 1e-6;

/// What was compared and found equal, and everything that was not.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct RoundTrip {
    /// Tensors that `nwc::verify` decoded, digests checked.
    pub(crate) n_verified: usize,
    /// Tensors stored as they are whose bytes came back.
    pub(crate) n_lossless: usize,
    /// Coded and tied tensors whose nMSE, worked out again, is the recorded one.
    pub(crate) n_coded: usize,
    /// Largest |nMSE worked out again / nMSE recorded − 1|.
    pub(crate) largest_deviation: f64,
    /// Files other than weights that came back byte for byte.
    pub(crate) n_files: usize,
    /// What is wrong, a line each; empty for a sound round trip.
    pub(crate) problems: Vec<String>,
}

/// Verifies `packed` and compares `restored` with `original`.
///
/// # Errors
/// Where one of the three cannot be read at all.
pub(super) fn check(
    original: &Path,
    packed: &Path,
    restored: &Path,
    inspection: &Inspection,
) -> Result<RoundTrip> {
    let mut found = RoundTrip::default();
    let verification = nwc::verify(packed, &DecodeOptions::default(), &NoProgress)?;
    found.n_verified = verification.n_tensors;
    found.problems = verification
        .failures
        .into_iter()
        .map(|failure| format!("{:#}", anyhow::Error::from(failure)))
        .collect();
    let before = Checkpoint::open(original)?;
    let after = Checkpoint::open(restored)?;
    let names = |checkpoint: &Checkpoint| -> BTreeSet<String> {
        checkpoint.names().map(ToOwned::to_owned).collect()
    };
    if names(&before) != names(&after) {
        found
            .problems
            .push("the names of the tensors differ".into());
    }
    let compared: Vec<Result<Compared>> = inspection
        .tensors
        .par_iter()
        .map(|summary| compare(&before, &after, summary, inspection))
        .collect();
    for (summary, compared) in inspection.tensors.iter().zip(compared) {
        match compared? {
            Compared::SameBytes => found.n_lossless += 1,
            Compared::SameNmse(deviation) => {
                found.n_coded += 1;
                found.largest_deviation = found.largest_deviation.max(deviation);
            }
            Compared::Differs(how) => found.problems.push(format!("{}: {how}", summary.name)),
        }
    }
    compare_files(original, restored, &mut found)?;
    Ok(found)
}

enum Compared {
    SameBytes,
    /// With its relative deviation.
    SameNmse(f64),
    Differs(String),
}

fn compare(
    before: &Checkpoint,
    after: &Checkpoint,
    summary: &TensorSummary,
    inspection: &Inspection,
) -> Result<Compared> {
    let name = &summary.name;
    let info = before.info(name)?;
    if after.info(name)? != info {
        return Ok(Compared::Differs("another shape or dtype".into()));
    }
    // A tied tensor came back as the one it is tied to.
    let stored = match summary.coding.strip_prefix("tied to ") {
        Some(other) => inspection.tensors.iter().find(|t| t.name == other),
        None => Some(summary),
    };
    let Some(recorded) = stored.and_then(|stored| stored.nmse) else {
        return Ok(if before.tensor_bytes(name)? == after.tensor_bytes(name)? {
            Compared::SameBytes
        } else {
            Compared::Differs("stored as it is, but its bytes differ".into())
        });
    };
    let (was, is) = (before.tensor(name)?, after.tensor(name)?);
    let (mut error, mut energy) = (0.0, 0.0);
    for (&w, &d) in was.iter().zip(&is) {
        error += f64::from(w - d).powi(2);
        energy += f64::from(w).powi(2);
    }
    let nmse = if energy > 0.0 { error / energy } else { 0.0 };
    // The recorded one is from before the weights were rounded to their dtype.
    let allowed = NMSE_TOLERANCE * recorded + rounding(info.dtype);
    let difference = (nmse - recorded).abs();
    // Not `>`: a NaN is no agreement.
    Ok(if difference <= allowed {
        Compared::SameNmse(difference / recorded.max(f64::MIN_POSITIVE))
    } else {
        Compared::Differs(format!("nMSE {nmse:e}, recorded {recorded:e}"))
    })
}

/// How far rounding to `dtype` may move an nMSE: twice the square of the largest relative error.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 | DType::F64 => 0.0,
        DType::F16 => (-21.0_f64).exp2(),
        _ => (-15.0_f64).exp2(),
    }
}

/// Every file of `restored` that is no shard and no index against `original`.
fn compare_files(original: &Path, restored: &Path, found: &mut RoundTrip) -> Result<()> {
    for name in file_names(restored)? {
        let read = |dir: &Path| fs::read(dir.join(&name));
        match (read(original), read(restored)) {
            (Ok(was), Ok(is)) if was == is => found.n_files += 1,
            _ => found
                .problems
                .push(format!("{name}: not the file that it was")),
        }
    }
    if !restored.join("config.json").is_file() {
        found.problems.push("config.json: did not come back".into());
    }
    Ok(())
}

fn file_names(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".safetensors") && name != "model.safetensors.index.json" {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The first file in which the folders `a` and `b` differ.
///
/// # Errors
/// Where a file cannot be read.
pub(super) fn first_difference(a: &Path, b: &Path) -> Result<Option<String>> {
    let names = |dir: &Path| -> Result<BTreeSet<_>> {
        let entries =
            fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    let (in_a, in_b) = (names(a)?, names(b)?);
    if let Some(name) = in_a.symmetric_difference(&in_b).next() {
        return Ok(Some(name.to_string_lossy().into_owned()));
    }
    for name in in_a {
        if fs::read(a.join(&name))? != fs::read(b.join(&name))? {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use nwc::{CodecChoice, CompressOptions};
    use nwc_tests::{llama_like, write_checkpoint};

    use super::*;

    /// Compresses a small checkpoint, restores it, lets `damage` work on what came back, and compares.
    fn check_after(damage: impl FnOnce(&Path)) -> RoundTrip {
        let dir = tempfile::tempdir().unwrap();
        let [original, packed, restored] = ["a", "b", "c"].map(|name| dir.path().join(name));
        write_checkpoint(&original, &[llama_like()]);
        let options = CompressOptions::new(CodecChoice::Pretrained { lambda: 30.0 });
        let inspection = nwc::compress(&original, &packed, &options, &NoProgress).unwrap();
        nwc::decompress(&packed, &restored, &DecodeOptions::default(), &NoProgress).unwrap();
        damage(&restored);
        check(&original, &packed, &restored, &inspection).unwrap()
    }

    #[test]
    fn a_sound_round_trip_has_no_problems() {
        let found = check_after(|_| ());
        assert_eq!(found.problems, [""; 0]);
        assert_eq!(found.n_verified, found.n_lossless + found.n_coded);
        assert!(
            found.n_lossless >= 3 && found.n_coded >= 5 && found.n_files == 2,
            "{found:?}"
        );
    }

    #[test]
    fn what_differs_is_named() {
        let found = check_after(|restored| {
            let path = restored.join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 0x40;
            fs::write(&path, bytes).unwrap();
            fs::write(restored.join("tokenizer.json"), "{}").unwrap();
        });
        assert_eq!(found.problems.len(), 2, "{found:?}");
        assert!(found.problems[1].starts_with("tokenizer.json"), "{found:?}");
    }

    #[test]
    fn folders_are_compared_byte_for_byte() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let differ = || first_difference(a.path(), b.path()).unwrap();
        assert_eq!(differ(), None);
        fs::write(a.path().join("x"), "1").unwrap();
        assert_eq!(differ().as_deref(), Some("x"));
        fs::write(b.path().join("x"), "2").unwrap();
        assert_eq!(differ().as_deref(), Some("x"));
        fs::write(b.path().join("x"), "1").unwrap();
        assert_eq!(differ(), None);
    }
}
