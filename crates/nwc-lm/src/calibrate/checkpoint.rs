//! Calibration from a checkpoint folder to a statistics file.

use std::path::Path;

use nwc::{StatisticsInfo, StatisticsWriter};
use serde_json::json;

use super::{CalibrationOptions, CalibrationReport, CalibrationStep, calibrate};
use crate::checkpoint::CheckpointWeights;
use crate::device::Device;
use crate::error::Result;
use crate::generate::generate;
use crate::model::{LanguageModel, ModelOptions, Residency};

/// The text that a model is calibrated on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationText<'a> {
    /// This text.
    Given(&'a str),
    /// This many windows that the model writes itself.
    SelfGenerated(usize),
}

/// Calibrates the checkpoint in `dir` and writes its statistics to the file `out`.
///
/// One block's weights are in memory at a time, except while the model writes text itself. An interrupted run leaves its
/// parts beside `out`, and the same call continues from them.
///
/// # Errors
/// As [`calibrate`]; [`crate::Error::Checkpoint`] where the folder cannot be read, the file cannot be written, or parts of
/// a run with other settings are in the way; errors of config.json, of tokenizer.json and of tokenisation.
pub fn calibrate_checkpoint(
    dir: &Path,
    out: &Path,
    text: CalibrationText<'_>,
    options: &CalibrationOptions,
    device: Device,
    progress: &mut dyn FnMut(CalibrationStep),
) -> Result<CalibrationReport> {
    let weights = CheckpointWeights::open(dir)?;
    let model_with = |residency| weights.model(ModelOptions { device, residency });
    let model = model_with(Residency::PerBlock)?;
    let fingerprint = nwc::fingerprint(dir)?;
    let (tokens, text) = match text {
        CalibrationText::SelfGenerated(n_windows) => {
            let whole = model_with(Residency::Whole)?;
            let (window, seed) = (options.hessian_window, options.seed);
            let mut progress = |done, of| progress(CalibrationStep::Generation(done, of));
            let windows = generate(&whole, n_windows, window, seed, &mut progress)?;
            (windows.concat(), "self-generated".to_owned())
        }
        CalibrationText::Given(text) => {
            let tokenizer = weights.tokenizer()?;
            let tokens = tokenizer.encode(text, model.config().vocab_size)?;
            (tokens, StatisticsInfo::digest_of(text))
        }
    };
    let run = json!({
        "fingerprint": fingerprint,
        "text": text,
        "hessian_window": options.hessian_window,
        "hessian_windows": options.hessian_n_windows,
        "fisher_window": options.fisher_window,
        "fisher_windows": options.fisher_n_windows,
        "seed": options.seed,
        "curvature": options.curvature,
    });
    let mut writer = StatisticsWriter::create(out, &run)?;
    writer.set_transposed(transposed(&model)?);
    let report = calibrate(&model, &tokens, options, &mut writer, progress)?;
    let (n_tokens, n_fisher_tokens) = (report.hessian_n_tokens, report.fisher_n_tokens);
    writer.finish(fingerprint, text, n_tokens, n_fisher_tokens)?;
    Ok(report)
}

/// Weight names of the linears that are stored `[in, out]`.
fn transposed(model: &LanguageModel<'_>) -> Result<impl Iterator<Item = String>> {
    let linears = model.linears()?.into_iter();
    Ok(linears
        .filter(|linear| linear.transposed)
        .map(|linear| linear.weight_name))
}
