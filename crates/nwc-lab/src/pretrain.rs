//! `cargo xtask pretrain`: trains codec sets with `nwc-cli train`, for a report or for the repository.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xtask::fixtures::{self, CODEC_SET};
use xtask::workspace;

use crate::child::{self, Usage};
use crate::flags::PretrainFlags;
use crate::progress::Steps;
use crate::{model, program};

/// What training one codec takes.
const TRAIN_S: f64 = 100.0;

/// A codec file with what it took to make it.
#[derive(Debug)]
pub(crate) struct Trained {
    pub(crate) lambda: f64,
    pub(crate) file: PathBuf,
    pub(crate) usage: Usage,
}

/// Trains the repository's set anew and writes the digests of the fixtures.
///
/// # Errors
/// As [`train`], and where the manifest cannot be written; the set changes only when all of it is trained.
pub(crate) fn run(flags: &PretrainFlags) -> Result<()> {
    let lambdas = model::checked_lambdas(&flags.lambdas)?;
    let model = model::given_or_provided(flags.model.as_deref())?;
    let made_in = workspace::store().join("pretrain");
    let set = workspace::root().join(CODEC_SET);
    for trained in train(&program::path()?, &model, &lambdas, &made_in)? {
        let curve = trained.file.with_extension("json");
        for from in [trained.file, curve] {
            let to = set.join(from.file_name().unwrap_or_default());
            // Beside its place first, so that it is there whole or not at all.
            let part = to.with_extension("part");
            fs::copy(&from, &part)
                .and_then(|_| fs::rename(&part, &to))
                .with_context(|| format!("cannot write {}", to.display()))?;
            eprintln!("    wrote {}", to.display());
        }
    }
    fixtures::update()
}

/// Trains a codec of the preset `small` on `model` for each λ, into `dir`, with its learning curve beside it.
///
/// # Errors
/// Where the folder cannot be made or a training fails.
pub(crate) fn train(cli: &Path, model: &Path, lambdas: &[f64], dir: &Path) -> Result<Vec<Trained>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut steps = Steps::new(lambdas.iter().map(|_| TRAIN_S));
    let mut made = Vec::new();
    for &lambda in lambdas {
        let file = dir.join(file_name(lambda));
        let arguments: [OsString; 6] = [
            "train".into(),
            model.into(),
            "--lambda".into(),
            lambda.to_string().into(),
            "--out".into(),
            file.clone().into(),
        ];
        steps.begin(&format!("train, λ = {lambda}"), TRAIN_S);
        let usage = child::run(cli, &arguments)?;
        eprintln!("    {:.0} s", usage.wall_s);
        made.push(Trained {
            lambda,
            file,
            usage,
        });
    }
    Ok(made)
}

/// As the facade looks for them: `small-lambda300.safetensors`.
fn file_name(lambda: f64) -> String {
    format!("small-lambda{lambda}.safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_set() {
        for &lambda in nwc::PRETRAINED_LAMBDAS {
            let set = workspace::root().join(CODEC_SET);
            let file = set.join(file_name(lambda.into()));
            assert!(file.is_file(), "{}", file.display());
        }
    }
}
