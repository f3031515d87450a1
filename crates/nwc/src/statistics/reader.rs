//! Reading statistics, a layer at a time.

use std::collections::HashMap;
use std::path::Path;

use nwc_compensate::{CURVATURE_SHARE, Curvature, Hessian, LayerStatistics};
use nwc_format::{DType, Digest, Header, Limits};

use super::{STATISTICS_KEY, STATISTICS_VERSION, StatisticsInfo, curvature_key, row_curvature_key};
use crate::folder::MappedFile;
use crate::options::Curvature as Weighting;
use crate::{Error, Result};

/// A statistics file, mapped; layers are read when they are asked for.
#[derive(Debug)]
pub struct Statistics {
    file: MappedFile,
    info: StatisticsInfo,
    /// Byte range of each tensor.
    tensors: HashMap<String, std::ops::Range<usize>>,
    weighting: Weighting,
}

impl Statistics {
    /// The digest of the whole file.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.file)
    }

    /// Opens `path` and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Container`] where it is no safetensors file, [`Error::Statistics`] where it is one of
    /// something else or of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let wrong = |detail: String| Error::Statistics {
            path: path.into(),
            detail,
        };
        let header = Header::parse(&file, file.len() as u64, &Limits::default())
            .map_err(|e| Error::container(path, e))?;
        let json = header.metadata().get(STATISTICS_KEY).ok_or_else(|| {
            wrong(format!(
                "no {STATISTICS_KEY} entry: it holds something else"
            ))
        })?;
        let broken = |source| Error::Json {
            path: path.into(),
            source,
        };
        let mut json: serde_json::Value = serde_json::from_str(json).map_err(broken)?;
        let version = json.get("version").and_then(|v| v.as_u64()).unwrap_or(0);
        if !(1..=u64::from(STATISTICS_VERSION)).contains(&version) {
            return Err(wrong(format!(
                "version {version}, this nwc reads 1 to {STATISTICS_VERSION}"
            )));
        }
        ignore_moments(path, &mut json);
        let info = serde_json::from_value(json).map_err(broken)?;
        let mut tensors = HashMap::new();
        for entry in header.entries() {
            if entry.dtype != DType::F32 {
                return Err(wrong(format!(
                    "{} is {}, expected F32",
                    entry.name, entry.dtype
                )));
            }
            // The parser has checked that every range lies in the file, which is mapped.
            let range = entry.range.start as usize..entry.range.end as usize;
            tensors.insert(entry.name.clone(), range);
        }
        Ok(Self {
            file,
            info,
            tensors,
            weighting: Weighting::PerToken,
        })
    }

    /// The same statistics, with [`Statistics::layer`] weighing errors by `weighting`; at first it is
    /// [`crate::Curvature::PerToken`].
    #[must_use]
    pub(crate) fn weighed_by(mut self, weighting: Weighting) -> Self {
        self.weighting = weighting;
        self
    }

    /// What the file says about itself.
    pub fn info(&self) -> &StatisticsInfo {
        &self.info
    }

    /// Checks that the statistics were gathered on the model with this fingerprint.
    ///
    /// # Errors
    /// [`Error::Statistics`] names both fingerprints.
    pub(crate) fn check_model(&self, fingerprint: &Digest) -> Result<()> {
        let model = fingerprint.to_string();
        if self.info.fingerprint == model {
            return Ok(());
        }
        Err(self.wrong(format!(
            "gathered on the model with fingerprint {}, this one has {model}",
            self.info.fingerprint
        )))
    }

    /// Whether the weight tensor `name` is stored `[in, out]`.
    pub fn is_transposed(&self, name: &str) -> bool {
        self.info.linears.get(name).is_some_and(|e| e.transposed)
    }

    /// What is known about the linear whose weight tensor `[rows, cols]` is `name`; `None` if nothing. A transposed one
    /// counts as turned back: rows are outputs.
    ///
    /// # Errors
    /// [`Error::Statistics`] where the sizes do not fit or a value is not finite.
    pub fn layer(&self, name: &str, rows: usize, cols: usize) -> Result<Option<LayerStatistics>> {
        let entry = self.info.linears.get(name);
        let hessian = match entry {
            Some(entry) => {
                Some(self.packed(&format!("hessian.{}", entry.key), cols, entry.n_tokens)?)
            }
            None => None,
        };
        let key = format!("fisher.{name}");
        let output_fisher = match self.tensors.contains_key(&key) {
            true => Some(self.vector(&key, rows)?),
            false => None,
        };
        if hessian.is_none() && output_fisher.is_none() {
            return Ok(None);
        }
        let layer = LayerStatistics {
            hessian,
            output_fisher,
            curvature: self.curvature(name, rows, cols)?,
        };
        match self.weighting {
            Weighting::PerToken => Ok(Some(layer)),
            Weighting::PerSequence => layer
                .guided_by_curvature(CURVATURE_SHARE)
                .map(Some)
                .map_err(|e| self.wrong(format!("{name}: {e}"))),
        }
    }

    fn curvature(&self, name: &str, rows: usize, cols: usize) -> Result<Option<Curvature>> {
        let (cols_key, rows_key) = (curvature_key(name), row_curvature_key(name));
        if !self.tensors.contains_key(&cols_key) && !self.tensors.contains_key(&rows_key) {
            return Ok(None);
        }
        Ok(Some(Curvature {
            cols: self.packed(&cols_key, cols, self.info.n_fisher_tokens)?,
            rows: self.vector(&rows_key, rows)?,
        }))
    }

    fn wrong(&self, detail: String) -> Error {
        Error::Statistics {
            path: self.file.path().into(),
            detail,
        }
    }

    fn packed(&self, key: &str, n: usize, n_tokens: u64) -> Result<Hessian> {
        let triangle = self.vector(key, n * (n + 1) / 2)?;
        Hessian::from_packed_lower(&triangle, n, n_tokens)
            .map_err(|e| self.wrong(format!("{key}: {e}")))
    }

    fn vector(&self, key: &str, len: usize) -> Result<Vec<f32>> {
        let wrong = |detail: String| self.wrong(detail);
        let (range, bytes) = self
            .tensors
            .get(key)
            .and_then(|range| Some((range, self.file.get(range.clone())?)))
            .ok_or_else(|| wrong(format!("{key} is missing")))?;
        if bytes.len() != 4 * len {
            return Err(wrong(format!(
                "{key} has {} values, this model needs {len}",
                bytes.len() / 4
            )));
        }
        let values: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        self.file.forget(range.clone());
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(wrong(format!("{key} holds {} at {at}", values[at]))),
            None => Ok(values),
        }
    }
}

/// Takes the description of output moments out of a file's `info`: earlier versions wrote them for feedback between rows.
fn ignore_moments(path: &Path, info: &mut serde_json::Value) {
    let blocks = info
        .as_object_mut()
        .and_then(|fields| fields.remove("output_blocks"));
    let is_empty = |blocks: &serde_json::Value| blocks.as_object().is_some_and(|b| b.is_empty());
    if blocks.is_some_and(|blocks| !is_empty(&blocks)) {
        tracing::warn!(
            "{}: the output moments in these statistics are no longer used",
            path.display()
        );
    }
}
