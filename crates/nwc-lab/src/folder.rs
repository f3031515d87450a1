//! A copy of a Hugging Face folder in which some matrices have other values.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use half::{bf16, f16};
use nwc_chunk::ndarray::ArrayView2;
use nwc_format::DType;

use crate::shard;

/// The copy: shape, dtype and place of a tensor are those of the original, so values are written over values.
#[derive(Debug)]
pub(crate) struct Folder {
    tensors: BTreeMap<String, Place>,
    files: BTreeMap<PathBuf, BufWriter<File>>,
}

/// Where a tensor lies.
#[derive(Debug)]
struct Place {
    file: PathBuf,
    dtype: DType,
    n_weights: usize,
    offset: u64,
    n_bytes: u64,
    /// Whether its values are those of the original.
    is_kept: bool,
}

impl Folder {
    /// Copies every file of `from` to the folder `to`, which is made anew.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or is no safetensors file by its header.
    pub(crate) fn copy(from: &Path, to: &Path) -> Result<Self> {
        if to.exists() {
            fs::remove_dir_all(to).with_context(|| format!("cannot replace {}", to.display()))?;
        }
        fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
        let mut folder = Self {
            tensors: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let entries =
            fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        for entry in entries {
            let path = entry?.path();
            let (Some(name), true) = (path.file_name(), path.is_file()) else {
                continue;
            };
            let copy = to.join(name);
            let copied = fs::copy(&path, &copy);
            copied.with_context(|| format!("cannot copy {}", path.display()))?;
            if copy.extension().is_some_and(|ext| ext == "safetensors") {
                let added = folder.add_shard(&copy);
                added.with_context(|| path.display().to_string())?;
            }
        }
        Ok(folder)
    }

    fn add_shard(&mut self, path: &Path) -> Result<()> {
        for entry in shard::header(path)?.entries() {
            self.tensors.insert(
                entry.name.clone(),
                Place {
                    file: path.into(),
                    dtype: entry.dtype,
                    n_weights: entry.shape.iter().product(),
                    offset: entry.range.start,
                    n_bytes: entry.n_bytes(),
                    is_kept: true,
                },
            );
        }
        let file = OpenOptions::new().write(true).open(path)?;
        self.files.insert(path.into(), BufWriter::new(file));
        Ok(())
    }

    /// Gives the tensor `name` other values, rounded to its dtype.
    ///
    /// # Errors
    /// Where there is no such tensor, it has another number of values or is of a dtype that is no float.
    pub(crate) fn put(&mut self, name: &str, values: ArrayView2<'_, f32>) -> Result<()> {
        let place = self.tensors.get_mut(name);
        let place = place.with_context(|| format!("no tensor {name}"))?;
        ensure!(
            place.n_weights == values.len(),
            "{} values for {name}, which has {}",
            values.len(),
            place.n_weights
        );
        let bytes = to_bytes(place.dtype, values)?;
        place.is_kept = false;
        let file = self.files.get_mut(&place.file).context("no such shard")?;
        file.seek(SeekFrom::Start(place.offset))
            .and_then(|_| file.write_all(&bytes))
            .with_context(|| format!("cannot write {}", place.file.display()))
    }

    /// Ends writing.
    ///
    /// # Errors
    /// Where what was put cannot be written.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for (path, file) in &mut self.files {
            let flushed = file.flush();
            flushed.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Parameters of all tensors.
    pub(crate) fn n_params(&self) -> usize {
        self.tensors.values().map(|place| place.n_weights).sum()
    }

    /// Bits of the tensors whose values are those of the original.
    pub(crate) fn bits_kept(&self) -> f64 {
        let kept = self.tensors.values().filter(|place| place.is_kept);
        kept.map(|place| place.n_bytes as f64 * 8.0).sum()
    }
}

/// Values row by row, little-endian, rounded to nearest even.
fn to_bytes(dtype: DType, values: ArrayView2<'_, f32>) -> Result<Vec<u8>> {
    Ok(match dtype {
        DType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::BF16 => values
            .iter()
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
            .collect(),
        DType::F16 => values
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
        _ => bail!("a tensor of {dtype:?} cannot be given other values"),
    })
}

#[cfg(test)]
mod tests {
    use nwc_chunk::ndarray::array;

    use super::*;

    #[test]
    fn values_are_written_over_values() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = [1.0_f32; 6].map(f32::to_le_bytes).concat();
        let two = [bf16::ONE; 4].map(|x| x.to_le_bytes()).concat();
        let specs = [
            ("a".to_string(), DType::F32, vec![2, 3]),
            ("b".to_string(), DType::BF16, vec![2, 2]),
        ];
        let all = [one.clone(), two];
        let path = from.path().join("model.safetensors");
        shard::write(&path, &specs, |idx| Ok(all[idx].clone())).unwrap();
        fs::write(from.path().join("config.json"), "{}").unwrap();
        let to = to.path().join("copy");
        let mut folder = Folder::copy(from.path(), &to).unwrap();
        let values = array![[0.5, -2.0], [1.5, 1e-3]];
        folder.put("b", values.view()).unwrap();
        folder.finish().unwrap();
        assert_eq!(folder.n_params(), 10);
        assert_eq!(folder.bits_kept(), 6.0 * 32.0);
        let copy = nwc::Checkpoint::open(&to).unwrap();
        assert_eq!(copy.tensor_bytes("a").unwrap(), one);
        let expected = values
            .iter()
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
            .collect::<Vec<_>>();
        assert_eq!(copy.tensor_bytes("b").unwrap(), expected);
        assert!(to.join("config.json").is_file());
        for (name, message) in [("a", "4 values for a, which has 6"), ("c", "no tensor c")] {
            let error = folder.put(name, values.view()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
