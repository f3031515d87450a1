//! A compressed checkpoint back into a plain one.

use std::fs::OpenOptions;
use std::path::Path;

use nwc_format::{
    DType, Header, INDEX_FILE_NAME, Limits, ModelIndex, PlainWriter, plain_header_bytes,
};

use super::below::{each_checkpoint, listed};
use super::compressed::{Compressed, CompressedShard, elems, n_elems};
use crate::folder::pipeline::{IN_FLIGHT_ELEMS, process_in_order};
use crate::folder::{FOLDER_SHARD, OutputDir, carry, compressed_files};
use crate::options::{DecodeOptions, Job, Progress};
use crate::{Error, Result};

/// Decompresses the checkpoint in `dir`, and those in folders below that it lists, into the new folder `out`, an ordinary
/// Hugging Face folder.
///
/// The folder appears whole or not at all. Runs on the rayon pool of the caller.
///
/// # Errors
/// [`Error`] names the file and the tensor; nothing is left behind.
pub fn decompress(
    dir: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<()> {
    let out = OutputDir::create(out.as_ref())?;
    each_checkpoint(dir.as_ref(), |path| {
        decompress_one(
            &dir.as_ref().join(path),
            &out.below(path)?,
            options,
            progress,
        )
    })?;
    out.commit()
}

/// Decompresses the checkpoint of the folder itself; gives what checkpoints it lists below.
fn decompress_one(
    in_dir: &Path,
    out: &OutputDir,
    options: &DecodeOptions,
    progress: &dyn Progress,
) -> Result<Vec<String>> {
    let compressed = Compressed::open(in_dir, options)?;
    let n_weights = compressed.shards.iter().map(n_elems).sum();
    let job = Job::start(progress, "decompress", n_weights);
    let mut headers = Vec::new();
    for shard in &compressed.shards {
        carry::into_plain(in_dir, shard.metadata(), out)?;
        if shard.file_name == FOLDER_SHARD && shard.metadata().tensors.is_empty() {
            // It stands for no file of the original.
            continue;
        }
        let header = write_shard(&compressed, shard, out, &job)?;
        headers.push((shard.file_name.as_str(), header));
    }
    drop(job);
    let (_, index) = compressed_files(in_dir)?;
    if headers.len() > 1 || index.is_some() {
        let shards: Vec<(&str, &Header)> = headers.iter().map(|(name, h)| (*name, h)).collect();
        let index_path = out.shown(INDEX_FILE_NAME);
        let bytes = ModelIndex::from_shards(&shards)
            .and_then(|index| index.to_bytes())
            .map_err(|e| Error::container(&index_path, e))?;
        out.write(INDEX_FILE_NAME, &bytes)?;
    }
    Ok(listed(compressed.tables()))
}

fn write_shard(
    compressed: &Compressed,
    shard: &CompressedShard,
    out: &OutputDir,
    job: &Job<'_>,
) -> Result<Header> {
    let shown = out.shown(&shard.file_name);
    let wrong = |e| Error::container(&shown, e);
    let metadata = shard.metadata();
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
            job.check()?;
            let bytes = compressed.bytes(shard, record)?;
            job.advance(elems(&record.shape));
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
