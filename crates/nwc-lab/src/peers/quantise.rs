//! One type of llama.cpp: the model as it comes back from a file of that type.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use nwc_chunk::ndarray::ArrayView2;
use serde::Deserialize;

use super::{environment, gguf_file};
use crate::folder::Folder;
use crate::model;
use crate::model::gguf::Gguf;
use crate::model::llama::Llama;
use crate::model::permute::split_rotary_halves;
use crate::quality::Quantised;
use crate::quantisers::nmse;
use xtask::workspace;

const PROGRAM: &str = "crates/nwc-lab/python/quantise.py";
/// Lines of what llama.cpp says that are shown where it fails.
const SHOWN_LINES: usize = 8;

/// What the Python program says of a matrix.
#[derive(Debug, Deserialize)]
struct Stored {
    #[serde(rename = "type")]
    type_name: String,
    n_bytes: u64,
    n_weights: u64,
}

/// Writes `model` as llama.cpp's type `type_name` gives it back, as an ordinary Hugging Face folder, `to`.
///
/// Only the linear weights come from llama.cpp. Bits are those of the matrices in its file.
///
/// # Errors
/// Where the environment cannot be made, llama.cpp fails, or something cannot be read or written.
pub(crate) fn quantise(type_name: &str, model: &Path, to: &Path) -> Result<Quantised> {
    let python = environment::provide()?;
    let bytes = model::stored()?;
    let original = Gguf::parse(&bytes)?;
    // A fixed place, so that what an interrupted run leaves is taken away by the next.
    let between = super::dir().join("between");
    remove(&between)?;
    fs::create_dir_all(&between).with_context(|| format!("cannot make {}", between.display()))?;
    let quantised = have_quantised(&python, type_name, model, &original, &between)
        .and_then(|stored| put_back(&Llama::from_gguf(&original)?, &stored, &between, model, to));
    remove(&between)?;
    quantised
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

/// Has llama.cpp's matrices put into the folder `out`, and says how each is stored.
fn have_quantised(
    python: &Path,
    type_name: &str,
    model: &Path,
    original: &Gguf<'_>,
    out: &Path,
) -> Result<BTreeMap<String, Stored>> {
    let source = out.join("f32.gguf");
    gguf_file::write(model, original, &source)?;
    run(python, &source, type_name, out)?;
    let text = fs::read(out.join("tensors.json")).context("cannot read tensors.json")?;
    let stored: BTreeMap<String, Stored> =
        serde_json::from_slice(&text).context("cannot read what quantise.py wrote")?;
    let given = original
        .tensors
        .iter()
        .filter(|(name, info)| name.starts_with("blk.") && info.shape.len() == 2);
    ensure!(
        stored.keys().eq(given.map(|(name, _)| name)),
        "llama.cpp's file holds other matrices than it was given"
    );
    Ok(stored)
}

fn run(python: &Path, source: &Path, type_name: &str, out: &Path) -> Result<()> {
    let output = Command::new(python)
        .arg(workspace::root().join(PROGRAM))
        .args([source.as_os_str(), type_name.as_ref(), out.as_os_str()])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", python.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    bail!(
        "quantise.py failed ({}):\n{}",
        output.status,
        last.join("\n")
    )
}

/// Puts the matrices of the folder `from`, under their GGUF names, into a copy of `model`.
fn put_back(
    llama: &Llama,
    stored: &BTreeMap<String, Stored>,
    from: &Path,
    model: &Path,
    to: &Path,
) -> Result<Quantised> {
    let (originals, quantised) = (nwc::Checkpoint::open(model)?, nwc::Checkpoint::open(from)?);
    let mut folder = Folder::copy(model, to)?;
    let (mut n_bytes, mut n_weights, mut weighted_nmse) = (0, 0, 0.0);
    let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
    for (name, tensor) in stored {
        let counterpart = llama.counterpart(name)?;
        let found = quantised.info(name)?.shape;
        ensure!(
            found == counterpart.shape && counterpart.shape.len() == 2,
            "{name} is {found:?}, expected the matrix {:?}",
            counterpart.shape
        );
        let (rows, cols) = (found[0], found[1]);
        let mut values = quantised.tensor(name)?;
        if let Some(head_dim) = counterpart.rotary_head_dim {
            values = split_rotary_halves(&values, head_dim, cols);
        }
        let reconstruction = ArrayView2::from_shape((rows, cols), &values)?;
        folder.put(&counterpart.name, reconstruction)?;
        let original = originals.tensor(&counterpart.name)?;
        let original = ArrayView2::from_shape((rows, cols), &original)?;
        n_bytes += tensor.n_bytes;
        n_weights += tensor.n_weights;
        weighted_nmse += tensor.n_weights as f64 * nmse(original, reconstruction);
        *by_type.entry(tensor.type_name.clone()).or_default() += tensor.n_weights;
    }
    folder.finish()?;
    let (bits, n_weights) = (8.0 * n_bytes as f64, n_weights.max(1) as f64);
    let shares = by_type
        .into_iter()
        .map(|(name, n)| (name, n as f64 / n_weights));
    Ok(Quantised {
        bpw_payload: bits / n_weights,
        bpw_total: (bits + folder.bits_kept()) / folder.n_params().max(1) as f64,
        nmse: weighted_nmse / n_weights,
        stored_as: shares.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::llama::tests::llama;
    use crate::model::permute::interleave_rotary_halves;
    use crate::shard;

    const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";
    const UP: &str = "model.layers.1.mlp.up_proj.weight";
    const NORM: &str = "model.norm.weight";

    fn folder(dir: &Path, tensors: &[(&str, &[usize], &[f32])]) {
        shard::write_f32(&dir.join("model.safetensors"), tensors);
        fs::write(dir.join("config.json"), "{}").unwrap();
    }

    fn stored(type_name: &str, n_bytes: u64, n_weights: u64) -> Stored {
        Stored {
            type_name: type_name.into(),
            n_bytes,
            n_weights,
        }
    }

    #[test]
    fn matrices_go_where_they_came_from() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [model, between, to] = dirs.each_ref().map(|dir| dir.path());
        let query: Vec<f32> = (1_u8..=64).map(f32::from).collect();
        let up: Vec<f32> = vec![1.0; 96];
        folder(
            model,
            &[
                (QUERY, &[8, 8], &query),
                (UP, &[12, 8], &up),
                (NORM, &[8], &[2.0; 8]),
            ],
        );
        let (in_rotary_order, halved) = (interleave_rotary_halves(&query, 4, 8), vec![0.5; 96]);
        folder(
            between,
            &[
                ("blk.0.attn_q.weight", &[8, 8], &in_rotary_order),
                ("blk.1.ffn_up.weight", &[12, 8], &halved),
            ],
        );
        let types = BTreeMap::from([
            ("blk.0.attn_q.weight".to_string(), stored("Q8_0", 68, 64)),
            ("blk.1.ffn_up.weight".to_string(), stored("Q4_0", 54, 96)),
        ]);
        let to = &to.join("made");
        let cost = put_back(&llama(), &types, between, model, to).unwrap();
        let made = nwc::Checkpoint::open(to).unwrap();
        assert_eq!(made.tensor(QUERY).unwrap(), query);
        assert_eq!(made.tensor(UP).unwrap(), halved);
        assert_eq!(made.tensor(NORM).unwrap(), [2.0; 8]);
        assert_eq!(cost.bpw_payload, 8.0 * 122.0 / 160.0);
        assert_eq!(cost.bpw_total, (8.0 * 122.0 + 8.0 * 32.0) / 168.0);
        // Nothing is lost of the one, a quarter of the other's energy.
        assert!((cost.nmse - 0.25 * 0.6).abs() < 1e-12, "{}", cost.nmse);
        assert_eq!(
            cost.stored_as,
            BTreeMap::from([("Q4_0".into(), 0.6), ("Q8_0".into(), 0.4)])
        );
    }

    #[test]
    fn a_matrix_of_another_shape_is_an_error() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [model, between, to] = dirs.each_ref().map(|dir| dir.path());
        folder(model, &[(QUERY, &[8, 8], &[1.0; 64])]);
        folder(between, &[("blk.0.attn_q.weight", &[4, 16], &[1.0; 64])]);
        let types = BTreeMap::from([("blk.0.attn_q.weight".to_string(), stored("Q8_0", 68, 64))]);
        let error = put_back(&llama(), &types, between, model, &to.join("made")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "blk.0.attn_q.weight is [4, 16], expected the matrix [8, 8]"
        );
    }

    #[test]
    fn a_failing_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = run(Path::new("false"), dir.path(), "Q4_0", dir.path()).unwrap_err();
        assert!(
            error.to_string().starts_with("quantise.py failed"),
            "{error}"
        );
    }
}
