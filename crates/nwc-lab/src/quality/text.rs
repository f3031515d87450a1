//! Which texts are calibrated and evaluated on.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use xtask::workspace;

/// A text for each purpose, different ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) calibration: PathBuf,
    pub(crate) evaluation: PathBuf,
}

/// Folder and file names, the first that is there is taken; the last is in the repository.
const PLACES: [(&str, &str, &str); 2] = [
    (
        "../shared/data",
        "wikitext2-valid.txt",
        "wikitext2-test.txt",
    ),
    ("fixtures/text", "calibration.txt", "evaluation.txt"),
];

impl Texts {
    /// The given texts, else those beside the repository, else those in it.
    ///
    /// # Errors
    /// Where only one is given, one is not there, or both are the same file.
    pub(crate) fn find(calibration: Option<&Path>, evaluation: Option<&Path>) -> Result<Self> {
        Self::find_below(&workspace::root(), calibration, evaluation)
    }

    fn find_below(
        root: &Path,
        calibration: Option<&Path>,
        evaluation: Option<&Path>,
    ) -> Result<Self> {
        ensure!(
            calibration.is_some() == evaluation.is_some(),
            "--text and --calibration-text go together: what is evaluated must not be calibrated on"
        );
        let texts = match (calibration, evaluation) {
            (Some(calibration), Some(evaluation)) => Self {
                calibration: calibration.into(),
                evaluation: evaluation.into(),
            },
            _ => Self::default_below(root),
        };
        for file in [&texts.calibration, &texts.evaluation] {
            ensure!(file.is_file(), "{}: no such file", file.display());
        }
        ensure!(
            texts.calibration.canonicalize()? != texts.evaluation.canonicalize()?,
            "{} is both calibrated and evaluated on",
            texts.evaluation.display()
        );
        Ok(texts)
    }

    fn default_below(root: &Path) -> Self {
        let [first, last] = PLACES.map(|(folder, calibration, evaluation)| Self {
            calibration: root.join(folder).join(calibration),
            evaluation: root.join(folder).join(evaluation),
        });
        if first.calibration.is_file() && first.evaluation.is_file() {
            first
        } else {
            last
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_beside_the_repository_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repository");
        for (folder, calibration, evaluation) in PLACES.into_iter().rev() {
            fs::create_dir_all(&root).unwrap();
            fs::create_dir_all(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(calibration), "a").unwrap();
            fs::write(root.join(folder).join(evaluation), "b").unwrap();
            let texts = Texts::find_below(&root, None, None).unwrap();
            assert_eq!(texts.evaluation, root.join(folder).join(evaluation));
        }
        let text = root.join("fixtures/text/evaluation.txt");
        let error = Texts::find_below(&root, None, Some(&text)).unwrap_err();
        assert!(error.to_string().contains("go together"));
        let error = Texts::find_below(&root, Some(&text), Some(&text)).unwrap_err();
        assert!(error.to_string().contains("both"));
        let error = Texts::find_below(&root, Some(Path::new("nowhere")), Some(&text)).unwrap_err();
        assert_eq!(error.to_string(), "nowhere: no such file");
    }

    #[test]
    fn the_repository_ships_both() {
        let root = workspace::root();
        for name in ["calibration.txt", "evaluation.txt"] {
            let bytes = fs::metadata(root.join("fixtures/text").join(name))
                .unwrap()
                .len();
            assert!((50_000..200_000).contains(&bytes), "{name}: {bytes}");
        }
    }
}
