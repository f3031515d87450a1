//! Statistics of the right shapes for a model, where none were gathered: speed does not depend on their values.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use nwc::ndarray::Array2;
use nwc::{Checkpoint, StatisticsWriter};
use serde_json::json;

/// Correlation of neighbouring inputs: `H_ij = CORRELATION^|i-j|` is positive definite.
const CORRELATION: f32 = 0.9;
/// Tokens that the statistics claim to be means over.
const N_TOKENS: u64 = 1 << 14;

/// Writes statistics for every linear of the plain checkpoint in `model` to the new file `path`.
///
/// # Errors
/// Where the model cannot be read or the file not be written.
pub(super) fn write(model: &Path, path: &Path) -> Result<()> {
    let checkpoint = Checkpoint::open(model)?;
    // Linears of the same width share an input, as far as the cost of coding them goes.
    let mut by_width: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut writer = StatisticsWriter::create(path, &json!({"made by": "cargo xtask bench"}))?;
    for name in checkpoint.names().filter(|name| name.contains(".layers.")) {
        if let [out_features, in_features] = checkpoint.info(name)?.shape[..] {
            by_width.entry(in_features).or_default().push(name.into());
            writer.output_fisher(name, &vec![1.0; out_features])?;
        }
    }
    for (width, linears) in by_width {
        let powers: Vec<f32> = (0..width as i32).map(|k| CORRELATION.powi(k)).collect();
        let hessian = Array2::from_shape_fn((width, width), |(i, j)| powers[i.abs_diff(j)]);
        writer.hessian(
            &format!("width {width}"),
            &linears,
            N_TOKENS,
            hessian.view(),
        )?;
    }
    writer.finish(
        nwc::fingerprint(model)?,
        "synthetic".into(),
        N_TOKENS,
        N_TOKENS,
    )?;
    Ok(())
}
