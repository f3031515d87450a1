//! Writes the folders under `fixtures/v1` that every later version must decode.
//!
//! `cargo run -p nwc-tests --example write_fixtures`; once a version is released, its fixtures are never rewritten.

use std::fs;

use nwc::{CompressOptions, NoProgress};
use nwc_tests::{fixture_codecs, fixtures, llama_like, write_checkpoint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let original = scratch.path().join("original");
    write_checkpoint(&original, &[llama_like()]);
    for (name, codec) in fixture_codecs() {
        let out = fixtures().join("v1").join(name);
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        nwc::compress(&original, &out, &CompressOptions::new(codec), &NoProgress)?;
    }
    Ok(())
}
