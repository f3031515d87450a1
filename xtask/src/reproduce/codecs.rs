//! Trains codec sets with `nwc-cli train`, for a report or for the repository.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::child::{self, Usage};
use crate::flags::FixturesFlags;
use crate::{fixtures, workspace};

/// A codec file with what it took to make it.
#[derive(Debug)]
pub(super) struct Trained {
    pub(super) lambda: f64,
    pub(super) file: PathBuf,
    pub(super) usage: Usage,
}

/// Trains a codec of the preset `small` on `model` for each λ, into `dir`, with its learning curve beside it.
///
/// # Errors
/// Where the folder cannot be made or a training fails.
pub(super) fn train(cli: &Path, model: &Path, lambdas: &[f64], dir: &Path) -> Result<Vec<Trained>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
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
        workspace::title(&format!("train, λ = {lambda}"));
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

/// Trains the repository's set and writes the digests of `fixtures/` and `codecs/` anew.
///
/// # Errors
/// As [`train`], and where the manifest cannot be written; the set changes only when all of it is trained.
pub(super) fn replace_set(cli: &Path, model: &Path, lambdas: &[f64]) -> Result<()> {
    let made_in = workspace::store().join("pretrain");
    let set = workspace::root().join("codecs");
    for trained in train(cli, model, lambdas, &made_in)? {
        let curve = trained.file.with_extension("json");
        for from in [trained.file, curve] {
            let to = set.join(from.file_name().unwrap_or_default());
            let bytes =
                fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            nwc::write_file(&to, &bytes)?;
            workspace::readable(&to, 0o644)?;
            eprintln!("    wrote {}", to.display());
        }
    }
    fixtures::run(&FixturesFlags { check: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_set() {
        for lambda in nwc::PRETRAINED_LAMBDAS {
            let file = workspace::root()
                .join("codecs")
                .join(file_name(lambda.into()));
            assert!(file.is_file(), "{}", file.display());
        }
    }
}
