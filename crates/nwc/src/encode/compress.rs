//! From a checkpoint folder to a compressed one, with the checkpoints in the folders below it.

use std::path::Path;

use super::hook::{LinearCoder, Recovered};
use super::one::{compress_folder, list_folder};
use super::shares::Shares;
use crate::card;
use crate::classify::Overrides;
use crate::decode::open_source;
use crate::folder::{Folder, Open, OutputDir, Source, carry, tree};
use crate::options::{CompressOptions, Progress};
use crate::report::Inspection;
use crate::{Error, Result};

/// Compresses the checkpoint in `model` into the new folder `out`.
///
/// Folders below that hold a configuration and safetensors weights (the parts of a diffusers pipeline, the dense layer of
/// a sentence-transformers model) are compressed too, each a checkpoint of its own with the same options: without
/// statistics, at the rate of payload that was asked for all, and in as many bytes as a size in bytes leaves. All other
/// files are carried along.
///
/// A compressed checkpoint is decoded and coded anew, as at a lower rate; statistics of the original apply to it.
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
    mut recover: Option<&mut Recover<'_>>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    options.check()?;
    let out = match options.dry_run {
        true => None,
        false => Some(OutputDir::create(out)?),
    };
    // Below a plain checkpoint a compressed one is carried as it is.
    let open: &Open<'_> = match Source::open(model) {
        Err(Error::AlreadyCompressed { .. }) => {
            tracing::warn!(folder = %model.display(), "is compressed already: what it decodes to is coded anew");
            &open_source
        }
        _ => &Source::open,
    };
    let mut folders = tree(model, open)?;
    if options.dequantize {
        dequantize(&mut folders)?;
    }
    let names = folders.iter().flat_map(Folder::tensors);
    let overrides = Overrides::new(&options.keep, &options.code)?;
    overrides.check_used(names.map(|tensor| tensor.name.as_str()))?;
    check_guided(&folders, options, recover.is_some())?;
    let shares = Shares::new(options, &folders);
    let mut inspections: Vec<Option<Inspection>> = folders.iter().map(|_| None).collect();
    let mut n_spent = 0;
    for idx in shares.order() {
        let folder = &folders[idx];
        let out = match &out {
            Some(out) => Some(out.below(&folder.path)?),
            None => None,
        };
        let inspection = match &folder.source {
            None => list_folder(folder, out.as_ref(), progress)?,
            Some(source) => {
                let options = shares.options(idx, n_spent);
                let recover = recover.take_if(|_| idx == 0);
                compress_folder(folder, source, out.as_ref(), &options, recover, progress)?
            }
        };
        n_spent += inspection.totals.total_bytes;
        inspections[idx] = Some(inspection);
    }
    let paths = folders.iter().map(|folder| folder.path.as_path());
    let all = paths.zip(inspections.into_iter().flatten());
    let inspection = Inspection::joined(all);
    if let (Some(out), Some(about)) = (&out, &options.card) {
        let base = about.base_model.as_deref();
        let title = base.and_then(|id| id.rsplit('/').next()).map(str::to_owned);
        let title = title.unwrap_or_else(|| title_of(model));
        carry::write_card(out, |original| {
            card::write(&title, base, &inspection, original)
        })?;
    }
    if let Some(out) = out {
        out.commit()?;
    }
    Ok(inspection)
}

/// What a model in a folder without further name is called.
fn title_of(model: &Path) -> String {
    let name = std::path::absolute(model).ok();
    let name = name.as_deref().and_then(Path::file_name);
    name.map_or_else(
        || "A model".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Opens the quantised weights of every folder that has some.
fn dequantize(folders: &mut [Folder]) -> Result<()> {
    let mut n_opened = 0;
    for folder in &mut *folders {
        if let Some(source) = &mut folder.source
            && source.is_quantized()
        {
            source.dequantize()?;
            folder.is_opened = true;
            n_opened += 1;
        }
    }
    let first = folders.iter_mut().find_map(|folder| folder.source.as_mut());
    match first {
        // There is nothing to open, which this one says.
        Some(source) if n_opened == 0 => source.dequantize(),
        _ => Ok(()),
    }
}

/// Statistics and recovery are of the checkpoint in the folder itself.
fn check_guided(folders: &[Folder], options: &CompressOptions, is_recovered: bool) -> Result<()> {
    let Some(root) = folders.first() else {
        return Ok(());
    };
    let is_guided = options.statistics.is_some() || is_recovered;
    if is_guided && root.source.is_none() {
        return Err(Error::Argument {
            argument: "statistics or recovery",
            found: format!(
                "given for {}, which has no weights but in folders below",
                root.dir.display()
            ),
            allowed: "a model with weights of its own, such as one of those folders".into(),
        });
    }
    if is_guided {
        for folder in folders.iter().skip(1) {
            tracing::warn!(folder = %folder.dir.display(), "is coded without statistics, which are of the model above");
        }
    }
    Ok(())
}
