//! `cargo xtask peers`: llama.cpp's quantisers on the harness of `cargo xtask quality`.
//!
//! For every type the model is written as a GGUF file of f32, llama.cpp quantises that (through the package
//! `llama-cpp-python`, without importance matrix), the package `gguf` reads it back, and the linear weights go over
//! those of a copy of the folder, which is evaluated like every other row. Embeddings and norms stay as they were.
//! Rows are kept in `target/peers/rows/`, so an interrupted run goes on where it was; `target/peers/peers.json` has
//! the shape of `quality.json`, and the report of `cargo xtask quality` shows what it holds.

mod environment;
mod gguf_file;
mod quantise;

use std::path::PathBuf;

use anyhow::{Result, ensure};

pub(crate) use self::environment::packages;
pub(crate) use self::quantise::quantise;
use crate::flags::PeersFlags;
use crate::quality::{self, Inputs, Texts};
use crate::{model, optimized, workspace};

/// Where the rows are written together.
pub(crate) fn results() -> PathBuf {
    dir().join("peers.json")
}

/// Where everything of this command lies.
fn dir() -> PathBuf {
    workspace::store().join("peers")
}

/// Makes everything ready, measures, and writes `peers.json`.
pub(crate) fn run(flags: &PeersFlags) -> Result<()> {
    let texts = match &flags.text {
        // Nothing is calibrated here, so a text alone is enough.
        Some(text) => Texts {
            calibration: text.clone(),
            evaluation: text.clone(),
        },
        None => Texts::find(None, None)?,
    };
    let text = &texts.evaluation;
    ensure!(text.is_file(), "{}: no such file", text.display());
    quality::check_windows(flags.ctx, flags.max_tokens)?;
    quality::check_peers(&flags.only)?;
    // Before the long build: what is missing here is missing for good.
    environment::provide()?;
    if !optimized::is_running() {
        return optimized::build_and_go_on(true);
    }
    quality::measure_peers(&Inputs {
        model: model::provide()?,
        cli: optimized::cli()?,
        texts,
        lambdas: Vec::new(),
        ctx: flags.ctx,
        max_tokens: flags.max_tokens,
        only: flags.only.clone(),
        full: false,
        peers: results(),
        out: dir(),
    })
}
