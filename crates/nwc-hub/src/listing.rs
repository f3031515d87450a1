//! What a repository holds, and what of it a checkpoint needs.

use serde::Deserialize;

/// Ends of names of weights in formats other than safetensors.
const OTHER_FORMATS: [&str; 12] = [
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".gguf",
    ".ggml",
    ".onnx",
    ".onnx_data",
    ".ot",
    ".tflite",
];
const SAFETENSORS: &str = ".safetensors";

/// The server's answer about a repository.
#[derive(Debug, Deserialize)]
pub(crate) struct Repository {
    /// The commit of the revision that was asked for.
    pub(crate) sha: String,
    #[serde(default)]
    pub(crate) siblings: Vec<RemoteFile>,
}

/// A file of the repository.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RemoteFile {
    /// Its path.
    pub(crate) rfilename: String,
    /// Its length, where the server says it.
    pub(crate) size: Option<u64>,
    /// What is known of a large file.
    pub(crate) lfs: Option<LargeFile>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LargeFile {
    /// SHA-256 of its bytes, in hexadecimal.
    pub(crate) sha256: Option<String>,
}

impl Repository {
    /// The files that a checkpoint needs, and the names of those that it does not: other formats of the weights, where
    /// there are safetensors files.
    pub(crate) fn split(&self) -> (Vec<&RemoteFile>, Vec<String>) {
        let has_safetensors = self
            .siblings
            .iter()
            .any(|f| f.rfilename.ends_with(SAFETENSORS));
        let is_other = |file: &RemoteFile| {
            has_safetensors
                && OTHER_FORMATS
                    .iter()
                    .any(|end| file.rfilename.ends_with(end))
        };
        let (others, needed): (Vec<_>, Vec<_>) = self.siblings.iter().partition(|f| is_other(f));
        let others = others.into_iter().map(|file| file.rfilename.clone());
        (needed, others.collect())
    }
}

impl RemoteFile {
    /// Whether its path stays below the repository, on every system.
    pub(crate) fn is_below(&self) -> bool {
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']);
        self.rfilename.split('/').all(is_part)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn file(name: &str) -> RemoteFile {
        RemoteFile {
            rfilename: name.into(),
            size: None,
            lfs: None,
        }
    }

    #[test]
    fn other_formats_are_left_out_where_there_are_safetensors() {
        let mut repository = Repository {
            sha: "0".into(),
            siblings: ["config.json", "pytorch_model.bin", "onnx/model.onnx"]
                .map(file)
                .into(),
        };
        let (needed, others) = repository.split();
        assert_eq!((needed.len(), others.len()), (3, 0));
        repository.siblings.push(file("model.safetensors"));
        let (needed, others) = repository.split();
        let needed: Vec<_> = needed.iter().map(|f| f.rfilename.as_str()).collect();
        assert_eq!(needed, ["config.json", "model.safetensors"]);
        assert_eq!(others, ["pytorch_model.bin", "onnx/model.onnx"]);
    }

    #[test]
    fn names_stay_below() {
        for good in ["a", "a/b.json", "..a/b"] {
            assert!(file(good).is_below(), "{good}");
        }
        for bad in ["", "/a", "a//b", "../a", "a/../b", "a\\b", "c:a", "."] {
            assert!(!file(bad).is_below(), "{bad}");
        }
    }
}
