//! A compressed checkpoint back into a plain one.

use std::fs::OpenOptions;
use std::path::Path;

use nwc_format::{
    DType, Header, INDEX_FILE_NAME, Limits, ModelIndex, PlainWriter, plain_header_bytes,
};

use crate::checkpoint::{Compressed, CompressedShard};
use crate::options::{DecodeOptions, Progress};
use crate::output::OutputDir;
use crate::pipeline::{IN_FLIGHT_ELEMS, process_in_order};
use crate::{Error, Result, carry};

/// Decompresses the checkpoint in `in_dir` into the new folder `out_dir`, an ordinary Hugging Face folder.
///
/// The folder appears whole or not at all. Runs on the rayon pool of the caller.
///
/// # Errors
/// [`Error`] names the file and the tensor; nothing is left behind.
pub fn decompress(in_dir: &Path, out_dir: &Path, progress: &dyn Progress) -> Result<()> {
    decompress_with(in_dir, out_dir, &DecodeOptions::default(), progress)
}

/// As [`decompress`], with a say in how tensors are decoded.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_with(
    in_dir: &Path,
    out_dir: &Path,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let out = OutputDir::create(out_dir)?;
    let compressed = Compressed::open(in_dir, options)?;
    let n_weights: usize = compressed.shards.iter().map(n_elems).sum();
    progress.start("decompress", n_weights as u64);
    let mut headers = Vec::new();
    for shard in &compressed.shards {
        headers.push((
            shard.file_name.as_str(),
            write_shard(&compressed, shard, &out, progress)?,
        ));
        carry::into_plain(in_dir, &shard.header.metadata().files, &out)?;
    }
    progress.finish();
    if headers.len() > 1 {
        let shards: Vec<(&str, &Header)> = headers.iter().map(|(name, h)| (*name, h)).collect();
        let index_path = out.shown(INDEX_FILE_NAME);
        let bytes = ModelIndex::from_shards(&shards)
            .and_then(|index| index.to_bytes())
            .map_err(|e| Error::container(&index_path, e))?;
        out.write(INDEX_FILE_NAME, &bytes)?;
    }
    out.commit()
}

/// Elements of all tensors of a shard.
pub(crate) fn n_elems(shard: &CompressedShard) -> usize {
    let tensors = &shard.header.metadata().tensors;
    tensors.iter().map(|t| elems(&t.shape)).sum()
}

/// Elements of a tensor; the header was checked for overflow.
pub(crate) fn elems(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d))
}

fn write_shard(
    compressed: &Compressed,
    shard: &CompressedShard,
    out: &OutputDir,
    progress: &dyn Progress,
) -> Result<Header> {
    let shown = out.shown(&shard.file_name);
    let wrong = |e| Error::container(&shown, e);
    let metadata = shard.header.metadata();
    let tensors: Vec<(String, DType, Vec<usize>)> = metadata
        .tensors
        .iter()
        .map(|t| (t.name.clone(), t.dtype, t.shape.clone()))
        .collect();
    let reserve = plain_header_bytes(&tensors, &metadata.extra).map_err(wrong)?;
    let path = out.file(&shard.file_name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|e| Error::io("create", &shown, e))?;
    let mut writer = PlainWriter::new(file, reserve).map_err(wrong)?;
    process_in_order(
        &metadata.tensors,
        |t| elems(&t.shape),
        IN_FLIGHT_ELEMS,
        |record| {
            let bytes = compressed.bytes(shard, record)?;
            progress.advance(elems(&record.shape) as u64);
            Ok(bytes)
        },
        |t, bytes| {
            writer
                .tensor(&t.name, t.dtype, &t.shape, &bytes)
                .map_err(wrong)
        },
    )?;
    let file = writer.finish(&metadata.extra).map_err(wrong)?;
    file.sync_all().map_err(|e| Error::io("write", &shown, e))?;
    let n_bytes = file
        .metadata()
        .map_err(|e| Error::io("read", &shown, e))?
        .len();
    let file = std::fs::File::open(&path).map_err(|e| Error::io("open", &shown, e))?;
    Header::read(file, n_bytes, &Limits::default()).map_err(wrong)
}
