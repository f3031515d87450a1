//! One folder of a checkpoint from its weights to its shards: plan, code, write, read back.

use nwc_format::{Digest, QuantizationEntry, ShardMetadata, ShardWriter};

use super::compress::Recover;
use super::hook::{LinearCoder, Recovered};
use super::room::{About, Expected, GENERATOR};
use super::sink::CountingSink;
use super::write::{Writer, synced_len};
use crate::classify::Overrides;
use crate::decode::{Original, ReadBack, read_back};
use crate::family::{self, Layer, Layers};
use crate::folder::{FOLDER_SHARD, Folder, OutputDir, Source, carry};
use crate::options::{Cancel, CodecChoice, CompressOptions, NonFinite, Progress};
use crate::provenance;
use crate::report::Inspection;
use crate::survey::{Guide, Plan, Scope};
use crate::{Error, Result};

/// A size that misses what was asked for by a larger share is warned about.
const TOLERANCE: f64 = 0.005;

/// Compresses the checkpoint of `folder`, whose weights are in `source`, into `out`; without `out` it only counts.
pub(super) fn compress_folder(
    folder: &Folder,
    source: &Source,
    out: Option<&OutputDir>,
    options: &CompressOptions,
    recover: Option<&mut Recover<'_>>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    let is_opened = folder.is_opened;
    let overrides = Overrides::new(&options.keep, &options.code)?;
    let non_finite = match options.codec {
        // Every bit comes back, whatever it says.
        CodecChoice::Lossless => NonFinite::Keep,
        _ => options.non_finite,
    };
    let plan = Plan::new(source, Scope::of(options), non_finite, &overrides)?;
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
    let about = About {
        files: carry::into_compressed(folder, is_opened, out)?,
        checkpoints: folder.below.clone(),
        provenance: provenance::of(
            options,
            guide.digest(),
            recover.is_some(),
            source.before.as_ref().map(|before| &before.provenance),
        ),
    };
    let room = family::room(options);
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
        out,
    };
    let inspection = writer.write()?;
    if let Some(missed_by) = coder.missed_by(&inspection.totals)
        && is_off(missed_by)
    {
        tracing::warn!(
            folder = %folder.dir.display(),
            missed_by = format!("{:+.2} %", 100.0 * missed_by),
            "the size differs from what was asked for"
        );
    }
    if let Some(out) = out {
        let bits = QuantizationEntry::hub_bits(inspection.totals.bpw_payload);
        carry::write_config(&folder.dir, out, bits, is_opened)?;
        let depth = match (options.verify, !has_recovered) {
            (false, _) => ReadBack::Sample,
            (true, true) => ReadBack::Compared(Original::of(source)),
            (true, false) => ReadBack::Whole,
        };
        read_back(out, &depth, progress)?;
    }
    Ok(inspection)
}

/// Writes the shard of a folder that has no weights itself: what it lists are the folder's files and checkpoints.
pub(super) fn list_folder(
    folder: &Folder,
    out: Option<&OutputDir>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    let mut metadata = ShardMetadata::new(GENERATOR, Digest::of(&[]));
    metadata.files = carry::into_compressed(folder, false, out)?;
    metadata.checkpoints.clone_from(&folder.below);
    let shown = folder.dir.join(FOLDER_SHARD);
    let wrong = |e| Error::container(&shown, e);
    let n_bytes = match out {
        Some(out) => {
            let file = out.create_file(FOLDER_SHARD.as_ref())?;
            let writer = ShardWriter::new(file, 0).map_err(wrong)?;
            let file = writer.finish(metadata.clone()).map_err(wrong)?;
            let n_bytes = synced_len(&file, &out.shown(FOLDER_SHARD))?;
            read_back(out, &ReadBack::Sample, progress)?;
            n_bytes
        }
        None => {
            let writer = ShardWriter::new(CountingSink::default(), 0).map_err(wrong)?;
            writer.finish(metadata.clone()).map_err(wrong)?.len()
        }
    };
    Ok(Inspection::new([&metadata], n_bytes))
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
