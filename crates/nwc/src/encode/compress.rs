//! From a checkpoint folder to a compressed one: survey, plan, code, write.

use std::path::Path;

use nwc_format::QuantizationEntry;

use super::hook::{LinearCoder, Recovered};
use super::room::{About, Expected};
use super::write::Writer;
use crate::classify::Overrides;
use crate::decode::{Original, ReadBack, read_back};
use crate::family::{self, Layer, Layers};
use crate::folder::{OutputDir, Source, carry};
use crate::options::{Cancel, CodecChoice, CompressOptions, NonFinite, Progress};
use crate::provenance;
use crate::report::Inspection;
use crate::survey::{Guide, Plan, Scope};
use crate::{Error, Result};

/// A size that misses what was asked for by a larger share is warned about.
const TOLERANCE: f64 = 0.005;

/// Compresses the checkpoint in `model` into the new folder `out`.
///
/// The folder appears whole or not at all; with [`CompressOptions::dry_run`] it does not appear.
/// Runs on the rayon pool of the caller; the bytes do not depend on its size.
///
/// # Errors
/// [`Error`] names the file and the tensor; nothing is left behind.
pub fn compress(
    model: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &CompressOptions,
    progress: &dyn Progress,
) -> Result<Inspection> {
    let result = run(model.as_ref(), out.as_ref(), options, None, progress);
    result.map_err(|e| cancelled(progress, e))
}

/// As [`compress`], with linears coded and other tensors tuned by `recover`, which codes through what it is given.
///
/// A size that was asked for is met without recovery, which changes it little.
///
/// # Errors
/// As [`compress`], and [`Error::Recovery`] with what `recover` returns.
pub fn compress_recovered(
    model: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &CompressOptions,
    recover: &mut Recover<'_>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    let recover = Some(recover);
    let result = run(model.as_ref(), out.as_ref(), options, recover, progress);
    result.map_err(|e| cancelled(progress, e))
}

/// What stopped inside a matrix names the matrix; the caller only asked to stop.
fn cancelled(progress: &dyn Progress, error: Error) -> Error {
    match progress.is_cancelled() {
        true => Error::Cancelled,
        false => error,
    }
}

/// Tunes a model while its linears are coded.
pub type Recover<'r> =
    dyn FnMut(&LinearCoder<'_>) -> Result<Recovered, Box<dyn std::error::Error + Send + Sync>> + 'r;

fn run(
    model: &Path,
    out: &Path,
    options: &CompressOptions,
    recover: Option<&mut Recover<'_>>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    options.check()?;
    let out = match options.dry_run {
        true => None,
        false => Some(OutputDir::create(out)?),
    };
    let mut source = Source::open(model)?;
    if options.dequantize {
        source.dequantize()?;
    }
    let is_opened = options.dequantize;
    let overrides = Overrides::new(&options.keep, &options.code)?;
    let non_finite = match options.codec {
        // Every bit comes back, whatever it says.
        CodecChoice::Lossless => NonFinite::Keep,
        _ => options.non_finite,
    };
    let plan = Plan::new(&source, Scope::of(options), non_finite, &overrides)?;
    let guide = Guide::open(
        options.statistics.as_deref(),
        options.ablation.curvature,
        options.ablation.feedback,
        &plan.fingerprint,
    )?;
    let layers = plan
        .coded()
        .map(|(planned, role, shape)| Layer::new(planned, role, shape, &guide));
    let layers = Layers::new(layers.collect(), &guide, Cancel(progress));
    let files = carry::into_compressed(model, &source.weights, is_opened, out.as_ref())?;
    let room = family::room(options);
    let about = About {
        files,
        provenance: provenance::of(options, guide.digest(), recover.is_some()),
    };
    let expected = Expected::new(&plan, &about, &layers, room, recover.is_some())?;
    let sizes = expected.sizes(&plan, options.codec.aims_at_total())?;
    let coder = family::plan(options, &layers, sizes, progress)?;
    let has_recovered = recover.is_some();
    let recovered = match recover {
        Some(recover) => {
            let linears = LinearCoder::new(&*coder, &layers, &plan);
            recover(&linears).map_err(Error::Recovery)?
        }
        None => Recovered::default(),
    };
    let writer = Writer {
        plan: &plan,
        expected: &expected,
        coder: &*coder,
        layers: &layers,
        recovered: &recovered,
        progress,
        out: out.as_ref(),
    };
    let inspection = writer.write()?;
    if let Some(missed_by) = coder.missed_by(&inspection.totals)
        && is_off(missed_by)
    {
        tracing::warn!(
            missed_by = format!("{:+.2} %", 100.0 * missed_by),
            "the size differs from what was asked for"
        );
    }
    if let Some(out) = out {
        let bits = QuantizationEntry::hub_bits(inspection.totals.bpw_payload);
        carry::write_config(model, &out, bits, is_opened)?;
        let depth = match (options.verify, !has_recovered) {
            (false, _) => ReadBack::Sample,
            (true, true) => ReadBack::Compared(Original::of(&source)),
            (true, false) => ReadBack::Whole,
        };
        read_back(&out, &depth, progress)?;
        out.commit()?;
    }
    Ok(inspection)
}

/// Whether a size that is off by this share is worth a warning.
fn is_off(missed_by: f64) -> bool {
    missed_by.abs() > TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_be_off_by_half_a_percent_either_way() {
        assert!([0.0, 0.0049, -0.0049].iter().all(|&share| !is_off(share)));
        assert!([0.0051, -0.0051].iter().all(|&share| is_off(share)));
    }
}
