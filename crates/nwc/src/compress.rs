//! A plain checkpoint into a compressed one.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use nwc_format::{
    Coding, Digest, INDEX_FILE_NAME, ModelIndex, ROLE_TENSOR, Section, ShardHeader, ShardMetadata,
    ShardWriter, TensorRecord, section_name,
};

use crate::coder::CodedMatrix;
use crate::coders::Coders;
use crate::options::{CompressOptions, Progress};
use crate::output::OutputDir;
use crate::pipeline::{IN_FLIGHT_ELEMS, process_in_order};
use crate::plan::{Plan, Planned, Treatment};
use crate::recovery::{LinearCoder, Recovered};
use crate::report::Inspection;
use crate::sink::CountingSink;
use crate::source::Source;
use crate::{Error, Result, carry};

/// What goes into the header as the writer's name.
const GENERATOR: &str = concat!("nwc ", env!("CARGO_PKG_VERSION"));

/// Matrices and tensors that somebody has worked on already, by tensor name; recovery makes them.
pub(crate) trait Prepared: Sync {
    /// A linear that is coded already.
    fn coded(&self, tensor: &str) -> Option<&CodedMatrix>;
    /// New values of a tensor that is stored as it is, or is still to be coded.
    fn values(&self, tensor: &str) -> Option<&[f32]>;
}

/// Nothing is prepared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NothingPrepared;

impl Prepared for NothingPrepared {
    fn coded(&self, _tensor: &str) -> Option<&CodedMatrix> {
        None
    }
    fn values(&self, _tensor: &str) -> Option<&[f32]> {
        None
    }
}

impl Prepared for Recovered {
    fn coded(&self, tensor: &str) -> Option<&CodedMatrix> {
        self.coded.get(tensor)
    }
    fn values(&self, tensor: &str) -> Option<&[f32]> {
        self.values.get(tensor).map(Vec::as_slice)
    }
}

/// Compresses the checkpoint in `in_dir` into the new folder `out_dir`.
///
/// The folder appears whole or not at all; with [`CompressOptions::dry_run`] it does not appear.
/// Runs on the rayon pool of the caller; the bytes do not depend on its size.
///
/// # Errors
/// [`Error`] names the file and the tensor; nothing is left behind.
pub fn compress(
    in_dir: &Path,
    out_dir: &Path,
    options: &CompressOptions,
    progress: &dyn Progress,
) -> Result<Inspection> {
    run(in_dir, out_dir, options, None, progress)
}

/// As [`compress`], with linears coded and other tensors tuned by `recover`, which codes through what it is given.
///
/// A size that was asked for is met without recovery first, which changes it little.
///
/// # Errors
/// As [`compress`], and [`Error::Recovery`] with what `recover` returns.
pub fn compress_recovered(
    in_dir: &Path,
    out_dir: &Path,
    options: &CompressOptions,
    recover: &mut Recover<'_>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    run(in_dir, out_dir, options, Some(recover), progress)
}

/// Tunes a model while its linears are coded.
pub type Recover<'r> =
    dyn FnMut(&LinearCoder<'_>) -> Result<Recovered, Box<dyn std::error::Error + Send + Sync>> + 'r;

fn run(
    in_dir: &Path,
    out_dir: &Path,
    options: &CompressOptions,
    recover: Option<&mut Recover<'_>>,
    progress: &dyn Progress,
) -> Result<Inspection> {
    let out = match options.dry_run {
        true => None,
        false => Some(OutputDir::create(out_dir)?),
    };
    let source = Source::open(in_dir)?;
    let plan = Plan::new(&source, options.embeddings, options.non_finite)?;
    let mut coders = Coders::new(options, &plan, progress)?;
    let recovered = match recover {
        Some(recover) => {
            coders = settle(&plan, coders, in_dir, progress)?;
            let coder = LinearCoder {
                coders: &coders,
                plan: &plan,
            };
            Some(recover(&coder).map_err(Error::Recovery)?)
        }
        None => None,
    };
    let prepared: &dyn Prepared = match &recovered {
        Some(recovered) => recovered,
        None => &NothingPrepared,
    };
    // A size that was asked for is met by measuring: a trellis' step is corrected until it fits.
    loop {
        let run = Run {
            plan: &plan,
            coders: &coders,
            prepared,
            progress,
            in_dir,
            out: out.as_ref(),
        };
        let inspection = run.write()?;
        let better = match recovered {
            None => coders.correct(&inspection.totals)?,
            Some(_) => None,
        };
        match better {
            Some(better) => coders = better,
            None => {
                if let Some(out) = out {
                    out.commit()?;
                }
                return Ok(inspection);
            }
        }
    }
}

/// Coders that meet the size asked for, found by coding everything as it is and writing nothing.
fn settle<'a>(
    plan: &Plan<'_>,
    mut coders: Coders<'a>,
    in_dir: &Path,
    progress: &dyn Progress,
) -> Result<Coders<'a>> {
    while coders.may_miss() {
        let run = Run {
            plan,
            coders: &coders,
            prepared: &NothingPrepared,
            progress,
            in_dir,
            out: None,
        };
        match coders.correct(&run.write()?.totals)? {
            Some(better) => coders = better,
            None => break,
        }
    }
    Ok(coders)
}

struct Run<'a> {
    plan: &'a Plan<'a>,
    coders: &'a Coders<'a>,
    prepared: &'a dyn Prepared,
    progress: &'a dyn Progress,
    in_dir: &'a Path,
    out: Option<&'a OutputDir>,
}

impl Run<'_> {
    /// Writes all shards, the index and the carried files.
    fn write(&self) -> Result<Inspection> {
        let files = carry::into_compressed(self.in_dir, self.out)?;
        let n_weights: usize = self
            .plan
            .coded()
            .map(|(_, _, rows, cols)| rows * cols)
            .sum();
        self.progress.start("compress", n_weights as u64);
        let mut shards = Vec::new();
        let mut total_bytes = 0;
        for (shard_idx, planned) in self.plan.shards.iter().enumerate() {
            let Some(first) = planned.first() else {
                continue;
            };
            let mut metadata = ShardMetadata::new(GENERATOR, self.plan.fingerprint);
            metadata.extra.clone_from(&first.shard.metadata);
            metadata.shard_idx = shard_idx;
            metadata.n_shards = self.plan.shards.len();
            if shard_idx == 0 {
                metadata.files.clone_from(&files);
            }
            let file_name = &first.shard.file_name;
            let (metadata, n_bytes) = match self.out {
                Some(out) => {
                    let shown = out.shown(file_name);
                    let path = out.file(file_name);
                    let file = OpenOptions::new()
                        .read(true)
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .open(&path)
                        .map_err(|e| Error::io("create", &shown, e))?;
                    let (file, metadata) = self.write_shard(file, &shown, planned, metadata)?;
                    sync(&file, &shown)?;
                    (metadata, len(&path)?)
                }
                None => {
                    let (sink, metadata) = self.write_shard(
                        CountingSink::default(),
                        Path::new(file_name),
                        planned,
                        metadata,
                    )?;
                    (metadata, sink.len())
                }
            };
            total_bytes += n_bytes;
            shards.push((file_name.as_str(), metadata));
        }
        self.progress.finish();
        total_bytes += self.write_index(&shards)?;
        Ok(Inspection::new(
            shards.iter().map(|(_, metadata)| metadata),
            total_bytes,
        ))
    }

    fn write_shard<W: Read + Write + Seek + Send>(
        &self,
        file: W,
        shown: &Path,
        planned: &[Planned<'_>],
        mut metadata: ShardMetadata,
    ) -> Result<(W, ShardMetadata)> {
        let wrong = |e| Error::container(shown, e);
        let reserve = ShardWriter::<W>::header_reserve_for(&self.expected(planned, &metadata))
            .map_err(wrong)?;
        let mut writer = ShardWriter::new(file, reserve).map_err(wrong)?;
        if metadata.shard_idx == 0 {
            for (id, bytes) in self.coders.codec_files() {
                metadata
                    .codecs
                    .push(writer.codec(id, bytes).map_err(wrong)?);
            }
        }
        let mut records = Vec::with_capacity(planned.len());
        process_in_order(
            planned,
            |p| p.tensor.n_elems(),
            IN_FLIGHT_ELEMS,
            |p| self.work(p),
            |p, coded| {
                records.push(write_tensor(&mut writer, p, coded, self.prepared).map_err(wrong)?);
                Ok(())
            },
        )?;
        metadata.tensors = records;
        let file = writer.finish(metadata.clone()).map_err(wrong)?;
        Ok((file, metadata))
    }

    /// The part that runs on all cores: coding one matrix.
    fn work(&self, planned: &Planned<'_>) -> Result<Option<CodedMatrix>> {
        let Treatment::Code { role, rows, cols } = planned.treatment else {
            return Ok(None);
        };
        let name = &planned.tensor.name;
        if let Some(coded) = self.prepared.coded(name) {
            return Ok(Some(coded.clone()));
        }
        let weights = match self.prepared.values(name) {
            Some(values) => values.to_vec(),
            None => planned.weights(),
        };
        let coded = self.coders.code(planned, role, rows, cols, weights)?;
        self.progress.advance((rows * cols) as u64);
        Ok(Some(coded))
    }

    /// The table as it will be, with lengths and digests of any value: how much room the header needs.
    fn expected(&self, planned: &[Planned<'_>], metadata: &ShardMetadata) -> ShardMetadata {
        let mut expected = metadata.clone();
        let any = Digest::of(&[]);
        expected.codecs = self
            .coders
            .codec_files()
            .map(|(id, _)| nwc_format::CodecRecord {
                id: id.into(),
                bytes: u64::from(u32::MAX),
                digest: any,
            })
            .collect();
        expected.tensors = planned
            .iter()
            .map(|p| {
                let mut record = empty_record(p);
                let roles: &[&str] = match &p.treatment {
                    Treatment::Code { role, .. } => {
                        record.coding = self.coders.expected_coding(*role);
                        self.coders.expected_roles()
                    }
                    Treatment::Lossless { .. } => &[ROLE_TENSOR],
                    Treatment::TiedTo { .. } => &[],
                };
                record.sections = roles
                    .iter()
                    .map(|role| Section {
                        role: (*role).into(),
                        name: section_name(&record.name, role),
                        bytes: u64::from(u32::MAX),
                        digest: any,
                    })
                    .collect();
                record
            })
            .collect();
        expected
    }

    fn write_index(&self, shards: &[(&str, ShardMetadata)]) -> Result<u64> {
        if shards.len() < 2 {
            return Ok(0);
        }
        let mut index = ModelIndex::default();
        for (file, metadata) in shards {
            for section in metadata.sections() {
                index.weight_map.insert(section.name, (*file).into());
            }
        }
        let size: u64 = shards
            .iter()
            .flat_map(|(_, m)| m.sections())
            .map(|s| s.bytes)
            .sum();
        index.metadata.insert("total_size".into(), size.into());
        let bytes = index
            .to_bytes()
            .map_err(|e| Error::container(Path::new(INDEX_FILE_NAME), e))?;
        if let Some(out) = self.out {
            out.write(INDEX_FILE_NAME, &bytes)?;
        }
        Ok(bytes.len() as u64)
    }
}

fn write_tensor<W: Read + Write + Seek>(
    writer: &mut ShardWriter<W>,
    planned: &Planned<'_>,
    coded: Option<CodedMatrix>,
    prepared: &dyn Prepared,
) -> nwc_format::Result<TensorRecord> {
    let mut record = empty_record(planned);
    match (&planned.treatment, coded) {
        (Treatment::Code { .. }, Some(coded)) => {
            record.bits_estimated = Some(coded.bits_estimated);
            record.nmse = Some(coded.nmse);
            record.coding = Coding::Coded {
                family: coded.family.into(),
                codec: coded.codec,
                parameters: coded.parameters,
            };
            for section in coded.sections {
                record.sections.push(writer.coded_as(
                    &record.name,
                    section.role,
                    section.dtype,
                    &section.shape,
                    &section.bytes,
                )?);
            }
        }
        (Treatment::TiedTo { .. }, _) => {}
        _ => {
            let mut tuned = Vec::new();
            let bytes = match prepared.values(&record.name) {
                Some(values) if crate::dtype::extend_bytes(record.dtype, values, &mut tuned) => {
                    &tuned
                }
                _ => planned.bytes(),
            };
            record.sections.push(writer.lossless(
                &record.name,
                record.dtype,
                &record.shape,
                bytes,
            )?);
            planned.shard.forget(planned.tensor);
        }
    }
    Ok(record)
}

fn empty_record(planned: &Planned<'_>) -> TensorRecord {
    let tensor = planned.tensor;
    let (coding, reason) = match &planned.treatment {
        Treatment::TiedTo { name } => (Coding::TiedTo { name: name.clone() }, None),
        Treatment::Lossless { reason } => (Coding::Lossless, Some(reason.clone())),
        // Replaced once the matrix is coded.
        Treatment::Code { .. } => (Coding::Lossless, None),
    };
    TensorRecord {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        coding,
        bits_estimated: None,
        nmse: None,
        reason,
        sections: Vec::new(),
    }
}

fn sync(file: &File, shown: &Path) -> Result<()> {
    file.sync_all().map_err(|e| Error::io("write", shown, e))
}

fn len(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)
        .map_err(|e| Error::io("read", path, e))?
        .len())
}

/// Only the header of a shard is needed to list what is in it.
pub(crate) fn read_header(path: &Path) -> Result<(ShardHeader, u64)> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let n_bytes = len(path)?;
    let header = ShardHeader::read(file, n_bytes, &nwc_format::Limits::default())
        .map_err(|e| crate::checkpoint::header_error(path, e))?;
    Ok((header, n_bytes))
}
