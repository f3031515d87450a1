//! Writing statistics as calibration finds them: one Hessian in memory at a time, nothing lost on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_compensate::Hessian;
use nwc_format::{DType, Digest, PlainWriter, plain_header_bytes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    HessianEntry, STATISTICS_KEY, STATISTICS_VERSION, StatisticsInfo, curvature_key,
    row_curvature_key,
};
use crate::folder::{temp_file_in, write_file};
use crate::{Error, Result};

/// Name of the file that says which calibration a folder of parts belongs to.
const RUN_NAME: &str = "run.json";

/// A statistics file under construction.
///
/// Parts lie in the folder `PATH.partial` until [`StatisticsWriter::finish`] puts them together; a calibration
/// that was interrupted finds them there and goes on.
#[derive(Debug)]
pub struct StatisticsWriter {
    path: PathBuf,
    dir: PathBuf,
    parts: Vec<Part>,
    transposed: BTreeSet<String>,
}

/// One tensor of the file to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    name: String,
    len: usize,
    /// Names of the linears' weight tensors, for a Hessian.
    linears: Vec<String>,
    n_tokens: u64,
}

impl StatisticsWriter {
    /// Starts the file that will be `path`, or goes on with what an interrupted run with the same `run` has left;
    /// `run` is JSON that says everything the statistics depend on.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Statistics`] where parts of another run are in the way.
    pub fn create(path: &Path, run: &Value) -> Result<Self> {
        let mut dir = path.as_os_str().to_owned();
        dir.push(".partial");
        let dir = PathBuf::from(dir);
        let run_path = dir.join(RUN_NAME);
        if dir.exists() {
            let found: Option<Value> = fs::read(&run_path)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if found.as_ref() != Some(run) {
                return Err(Error::Statistics {
                    path: path.into(),
                    detail: format!(
                        "{} holds parts of another run ({}), this one is {run}; remove it to start anew",
                        dir.display(),
                        found.map_or_else(|| "unreadable".into(), |v| v.to_string())
                    ),
                });
            }
        } else {
            fs::create_dir(&dir).map_err(|e| Error::io("create", &dir, e))?;
            write_file(&run_path, run.to_string().as_bytes())?;
        }
        let mut parts = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|e| Error::io("read the folder", &dir, e))? {
            let file = entry
                .map_err(|e| Error::io("read the folder", &dir, e))?
                .path();
            if file.extension().is_some_and(|e| e == "part") {
                let bytes = fs::read(&file).map_err(|e| Error::io("read", &file, e))?;
                let part = serde_json::from_slice(&bytes)
                    .map_err(|source| Error::Json { path: file, source })?;
                parts.push(part);
            }
        }
        Ok(Self {
            path: path.into(),
            dir,
            parts,
            transposed: BTreeSet::new(),
        })
    }

    /// Says which weight tensors are stored `[in, out]`, as GPT-2's are; statistics are of `[out, in]` always.
    pub fn set_transposed(&mut self, tensors: impl IntoIterator<Item = String>) {
        self.transposed = tensors.into_iter().collect();
    }

    /// Whether the Hessian of this input is there already.
    pub fn has_hessian(&self, key: &str) -> bool {
        self.has(&format!("hessian.{key}"))
    }

    /// Whether the output Fisher of this linear is there already.
    pub fn has_output_fisher(&self, linear: &str) -> bool {
        self.has(&format!("fisher.{linear}"))
    }

    /// Adds `E[x xᵀ]`, `[in, in]`, of the input that all of `linears` (weight tensors' names) share.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk refuses; [`Error::Argument`] where it is not square.
    pub fn hessian(
        &mut self,
        key: &str,
        linears: &[String],
        n_tokens: u64,
        hessian: ArrayView2<'_, f32>,
    ) -> Result<()> {
        let triangle = triangle("shape of the Hessian", hessian)?;
        let part = Part {
            name: format!("hessian.{key}"),
            len: triangle.len(),
            linears: linears.to_vec(),
            n_tokens,
        };
        self.add(part, triangle.into_iter())
    }

    /// The Hessian of this input, if it is there already: `[in, in]`.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Statistics`] where the part is damaged.
    pub fn stored_hessian(&self, key: &str) -> Result<Option<Array2<f32>>> {
        let name = format!("hessian.{key}");
        if !self.has(&name) {
            return Ok(None);
        }
        let path = self.file(&name, "f32");
        let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let packed = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
        let packed: Vec<f32> = packed.collect();
        // n (n + 1) / 2 values
        let dim = ((8.0 * packed.len() as f64 + 1.0).sqrt() as usize).saturating_sub(1) / 2;
        let hessian =
            Hessian::from_packed_lower(&packed, dim, 0).map_err(|e| Error::Statistics {
                path,
                detail: format!("{name}: {e}"),
            })?;
        Ok(Some(hessian.values().to_owned()))
    }

    /// Adds `E[g²]` of each output of the linear whose weight tensor is `linear`, `[out]`.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk refuses.
    pub fn output_fisher(&mut self, linear: &str, fisher: &[f32]) -> Result<()> {
        self.add_vector(format!("fisher.{linear}"), fisher)
    }

    /// Whether the curvature of this linear is there already.
    pub fn has_curvature(&self, linear: &str) -> bool {
        self.has(&curvature_key(linear)) && self.has(&row_curvature_key(linear))
    }

    /// Adds the curvature of the linear whose weight tensor is `linear`: `cols` `[in, in]`, `rows` `[out]`; see
    /// [`nwc_compensate::Curvature`].
    ///
    /// # Errors
    /// [`Error::Io`] where the disk refuses; [`Error::Argument`] where `cols` is not square.
    pub fn curvature(
        &mut self,
        linear: &str,
        cols: ArrayView2<'_, f32>,
        rows: &[f32],
    ) -> Result<()> {
        let triangle = triangle("shape of the curvature", cols)?;
        self.add_vector(curvature_key(linear), &triangle)?;
        self.add_vector(row_curvature_key(linear), rows)
    }

    /// Puts the file under its name and removes the parts.
    ///
    /// `fingerprint`, `text` and the token counts are what [`StatisticsInfo`] says of them.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk refuses.
    pub fn finish(
        mut self,
        fingerprint: String,
        text: String,
        n_tokens: u64,
        n_fisher_tokens: u64,
    ) -> Result<()> {
        // The order that parts were found in differs from run to run.
        self.parts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut linears = BTreeMap::new();
        for part in &self.parts {
            for linear in &part.linears {
                let entry = HessianEntry {
                    key: part.name.trim_start_matches("hessian.").to_owned(),
                    n_tokens: part.n_tokens,
                    transposed: self.transposed.contains(linear),
                };
                linears.insert(linear.clone(), entry);
            }
        }
        let info = StatisticsInfo {
            version: STATISTICS_VERSION,
            fingerprint,
            text,
            n_tokens,
            n_fisher_tokens,
            linears,
        };
        let metadata = BTreeMap::from([(STATISTICS_KEY.to_owned(), json!(info).to_string())]);
        self.assemble(&metadata)?;
        fs::remove_dir_all(&self.dir).map_err(|e| Error::io("remove", &self.dir, e))
    }

    fn assemble(&self, metadata: &BTreeMap<String, String>) -> Result<()> {
        let wrong = |e| Error::container(&self.path, e);
        let io = |e| Error::io("write", &self.path, e);
        let tensors: Vec<(String, DType, Vec<usize>)> = self
            .parts
            .iter()
            .map(|part| (part.name.clone(), DType::F32, vec![part.len]))
            .collect();
        let reserve = plain_header_bytes(&tensors, metadata).map_err(wrong)?;
        let file = temp_file_in(&self.dir).map_err(io)?;
        let mut writer = PlainWriter::new(file, reserve).map_err(wrong)?;
        for (name, dtype, shape) in &tensors {
            let path = self.file(name, "f32");
            let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
            writer.tensor(name, *dtype, shape, &bytes).map_err(wrong)?;
        }
        let file = writer.finish(metadata).map_err(wrong)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(&self.path).map_err(|e| io(e.error))?;
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.name == name)
    }

    /// The file of a part; names of tensors may hold what names of files may not.
    fn file(&self, name: &str, extension: &str) -> PathBuf {
        let digest = Digest::of(name.as_bytes()).to_string();
        self.dir.join(format!("{digest}.{extension}"))
    }

    fn add_vector(&mut self, name: String, values: &[f32]) -> Result<()> {
        let part = Part {
            name,
            len: values.len(),
            linears: Vec::new(),
            n_tokens: 0,
        };
        self.add(part, values.iter().copied())
    }

    fn add(&mut self, part: Part, values: impl Iterator<Item = f32>) -> Result<()> {
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        write_file(&self.file(&part.name, "f32"), &bytes)?;
        // A part counts once this is there.
        write_file(
            &self.file(&part.name, "part"),
            json!(part).to_string().as_bytes(),
        )?;
        self.parts.push(part);
        Ok(())
    }
}

/// The lower triangle, row by row.
fn triangle(argument: &'static str, matrix: ArrayView2<'_, f32>) -> Result<Vec<f32>> {
    let (n, m) = matrix.dim();
    if n != m {
        return Err(Error::Argument {
            argument,
            found: format!("[{n}, {m}]"),
            allowed: "a square".into(),
        });
    }
    let rows = matrix.rows().into_iter().enumerate();
    Ok(rows
        .flat_map(|(i, row)| row.into_iter().take(i + 1).copied())
        .collect())
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::arr2;

    use super::super::Statistics;
    use super::*;

    #[test]
    fn an_interrupted_run_goes_on_and_gives_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let run = json!({"seed": 1});
        let hessian = arr2(&[[2.0, 0.5], [0.5, 1.0]]);
        let write = |path: &Path, interrupted: bool| {
            let mut writer = StatisticsWriter::create(path, &run).unwrap();
            writer
                .hessian("a", &["w".into()], 10, hessian.view())
                .unwrap();
            if interrupted {
                drop(writer);
                writer = StatisticsWriter::create(path, &run).unwrap();
                assert!(writer.has_hessian("a") && !writer.has_output_fisher("w"));
            }
            assert_eq!(writer.stored_hessian("a").unwrap().unwrap(), hessian);
            assert_eq!(writer.stored_hessian("b").unwrap(), None);
            writer.output_fisher("w", &[1.0, 2.0, 3.0]).unwrap();
            let rows = [3.0, 4.0, 5.0];
            writer.curvature("w", hessian.view(), &rows).unwrap();
            writer.finish("f".into(), "t".into(), 10, 20).unwrap();
            fs::read(path).unwrap()
        };
        let path = dir.path().join("b");
        assert_eq!(write(&dir.path().join("a"), false), write(&path, true));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            2,
            "no parts left"
        );
        let layer = Statistics::open(&path)
            .unwrap()
            .layer("w", 3, 2)
            .unwrap()
            .unwrap();
        assert_eq!(layer.hessian.unwrap().values(), hessian);
        assert_eq!(layer.output_fisher.unwrap(), [1.0, 2.0, 3.0]);
        let curvature = layer.curvature.unwrap();
        assert_eq!(curvature.cols.values(), hessian);
        assert_eq!(curvature.rows, [3.0, 4.0, 5.0]);
    }

    #[test]
    fn parts_of_another_run_are_not_mixed_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        drop(StatisticsWriter::create(&path, &json!({"seed": 1})).unwrap());
        let err = StatisticsWriter::create(&path, &json!({"seed": 2})).unwrap_err();
        assert!(err.to_string().contains("another run"), "{err}");
    }

    #[test]
    fn output_moments_of_an_earlier_version_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let tensors = [
            ("fisher.w".to_owned(), DType::F32, vec![2]),
            ("moments.w".to_owned(), DType::F32, vec![3]),
        ];
        let info = |blocks: Value| {
            let info = json!({"version": 2, "fingerprint": "f", "text": "t", "n_tokens": 1, "n_fisher_tokens": 1,
                "linears": {}, "output_blocks": blocks});
            BTreeMap::from([(STATISTICS_KEY.to_owned(), info.to_string())])
        };
        for blocks in [json!({"w": [2]}), json!({}), json!(null), json!("anything")] {
            let metadata = info(blocks);
            let reserve = plain_header_bytes(&tensors, &metadata).unwrap();
            let file = fs::File::create(&path).unwrap();
            let mut writer = PlainWriter::new(file, reserve).unwrap();
            for (name, dtype, shape) in &tensors {
                let bytes = vec![0u8; 4 * shape[0]];
                writer.tensor(name, *dtype, shape, &bytes).unwrap();
            }
            writer.finish(&metadata).unwrap();
            let statistics = Statistics::open(&path).unwrap();
            let layer = statistics.layer("w", 2, 5).unwrap().unwrap();
            assert_eq!(layer.output_fisher.unwrap(), [0.0, 0.0]);
        }
    }
}
