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
use crate::quality::{self, Inputs, Texts, Windows};
use crate::{model, program};
use xtask::workspace;

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
    environment::provide()?;
    quality::measure_peers(&Inputs {
        model: model::provide()?,
        cli: program::path()?,
        texts,
        lambdas: Vec::new(),
        ctx: flags.ctx,
        max_tokens: flags.max_tokens,
        only: flags.only.clone(),
        full: false,
        windows: Windows::FULL,
        prompt: None,
        peers: results(),
        out: dir(),
    })
}
