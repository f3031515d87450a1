//! Safetensors files as the laboratory writes and reads them: with the product's own writer and reader.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::{Context as _, Result};
use nwc_format::{DType, Header, Limits, PlainWriter, plain_header_bytes};

/// Name, element type and shape of a tensor.
pub(crate) type Spec = (String, DType, Vec<usize>);

/// Writes the new file `path` with the tensors `specs`, whose bytes are asked for by index, one after the other.
///
/// # Errors
/// Where the file is there, cannot be written, or bytes do not fit their tensor; whatever `bytes_of` returns.
pub(crate) fn write(
    path: &Path,
    specs: &[Spec],
    mut bytes_of: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let mut writer = PlainWriter::new(file, plain_header_bytes(specs, &metadata)?)?;
    for (idx, (name, dtype, shape)) in specs.iter().enumerate() {
        writer.tensor(name, *dtype, shape, &bytes_of(idx)?)?;
    }
    writer.finish(&metadata)?;
    Ok(())
}

/// What the header of `path` says, checked.
///
/// # Errors
/// Where it cannot be read or is not safetensors'.
pub(crate) fn header(path: &Path) -> Result<Header> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let n_bytes = file.metadata()?.len();
    Header::read(file, n_bytes, &Limits::default()).with_context(|| path.display().to_string())
}

/// For tests: a file of f32 tensors.
#[cfg(test)]
pub(crate) fn write_f32(path: &Path, tensors: &[(&str, &[usize], &[f32])]) {
    let spec = |(name, shape, _): &(&str, &[usize], &[f32])| {
        (name.to_string(), DType::F32, shape.to_vec())
    };
    let specs: Vec<Spec> = tensors.iter().map(spec).collect();
    let bytes = |idx: usize| {
        Ok(tensors[idx]
            .2
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect())
    };
    write(path, &specs, bytes).unwrap();
}
