//! Coding every tensor and writing shards and index, each once.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use nwc_format::{
    Coding, DType, INDEX_FILE_NAME, ROLE_PAYLOAD, ShardMetadata, ShardWriter, TensorRecord,
};

use super::hook::Recovered;
use super::room::{Expected, empty_record, index_of, packed_coding, rows_to_say};
use super::sink::CountingSink;
use crate::family::{CodedMatrix, Layer, Layers, MatrixCoder};
use crate::folder::pipeline::{IN_FLIGHT_ELEMS, process_in_order};
use crate::folder::{OutputDir, dtype};
use crate::options::{Job, Progress};
use crate::planes;
use crate::report::Inspection;
use crate::survey::{Plan, Planned, Treatment};
use crate::{Error, Result, TensorError};

/// One walk over a planned checkpoint.
pub(super) struct Writer<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) expected: &'a Expected,
    pub(super) coder: &'a dyn MatrixCoder,
    pub(super) layers: &'a Layers<'a>,
    pub(super) recovered: &'a Recovered,
    pub(super) progress: &'a dyn Progress,
    /// `None` only counts.
    pub(super) out: Option<&'a OutputDir>,
}

/// What becomes of one tensor.
enum Outcome {
    /// Coded.
    Coded(CodedMatrix),
    /// Stored as it is in the checkpoint.
    Kept,
    /// Coded without loss: its payload.
    Packed(Vec<u8>),
    /// Stored in its dtype with values that recovery tuned.
    Tuned(Vec<u8>),
    /// Another tensor's.
    Tied,
}

impl Writer<'_> {
    /// Writes all shards and the index.
    pub(super) fn write(&self) -> Result<Inspection> {
        let n_weights = self.layers.all().iter().map(Layer::n_weights).sum();
        let job = Job::start(self.progress, "compress", n_weights);
        let mut shards = Vec::new();
        let mut total_bytes = 0;
        for (shard_idx, (file_name, planned)) in
            self.plan.shard_names().zip(&self.plan.shards).enumerate()
        {
            let (metadata, n_bytes) = match self.out {
                Some(out) => {
                    let shown = out.shown(file_name);
                    let file = OpenOptions::new()
                        .read(true)
                        .write(true)
                        .create_new(true)
                        .open(out.file(file_name))
                        .map_err(|e| Error::io("create", &shown, e))?;
                    let (file, metadata) =
                        self.write_shard(file, &shown, shard_idx, planned, &job)?;
                    (metadata, synced_len(&file, &shown)?)
                }
                None => {
                    let sink = CountingSink::default();
                    let shown = Path::new(file_name);
                    let (sink, metadata) =
                        self.write_shard(sink, shown, shard_idx, planned, &job)?;
                    (metadata, sink.len())
                }
            };
            total_bytes += n_bytes;
            shards.push((file_name, metadata));
        }
        let tables: Vec<_> = shards.iter().map(|(name, m)| (*name, m)).collect();
        if let Some(index) = index_of(&tables, self.expected.n_params(), self.plan.has_index) {
            total_bytes += index.len() as u64;
            if let Some(out) = self.out {
                out.write(INDEX_FILE_NAME, &index)?;
            }
        }
        let metadata = shards.iter().map(|(_, metadata)| metadata);
        Ok(Inspection::new(metadata, total_bytes))
    }

    fn write_shard<W: Read + Write + Seek + Send>(
        &self,
        file: W,
        shown: &Path,
        shard_idx: usize,
        planned: &[Planned<'_>],
        job: &Job<'_>,
    ) -> Result<(W, ShardMetadata)> {
        let wrong = |e| Error::container(shown, e);
        let (mut metadata, reserve) = self.expected.empty_shard(shard_idx);
        let mut writer = ShardWriter::new(file, reserve).map_err(wrong)?;
        if shard_idx == 0 {
            for codec in self.coder.codecs() {
                let record = writer.codec(&codec.id, &codec.bytes).map_err(wrong)?;
                metadata.codecs.push(record);
            }
        }
        let mut records = Vec::with_capacity(planned.len());
        process_in_order(
            planned,
            |p| p.tensor.n_elems(),
            IN_FLIGHT_ELEMS,
            |p| self.work(p, job),
            |p, outcome| {
                records.push(write_tensor(&mut writer, shown, p, outcome)?);
                Ok(())
            },
        )?;
        metadata.tensors = records;
        let file = writer.finish(metadata.clone()).map_err(wrong)?;
        Ok((file, metadata))
    }

    /// The part that runs on all cores: what becomes of one tensor.
    fn work(&self, planned: &Planned<'_>, job: &Job<'_>) -> Result<Outcome> {
        job.check()?;
        let tensor = planned.tensor;
        let tuned = self.recovered.values.get(&tensor.name);
        let (role, shape) = match planned.treatment {
            Treatment::TiedTo { .. } => return Ok(Outcome::Tied),
            Treatment::Kept { .. } => {
                let packed = |bytes: &[u8]| planes::pack(tensor.dtype, bytes).map(Outcome::Packed);
                return Ok(match tuned {
                    Some(values) => {
                        let bytes = tuned_bytes(planned, values)?;
                        packed(&bytes).unwrap_or(Outcome::Tuned(bytes))
                    }
                    None if planes::is_candidate(tensor.dtype, tensor.n_bytes()) => {
                        let outcome = packed(&planned.bytes()?).unwrap_or(Outcome::Kept);
                        planned.shard.forget(tensor);
                        outcome
                    }
                    None => Outcome::Kept,
                });
            }
            Treatment::Code { role, rows, cols } => (role, (rows, cols)),
        };
        if let Some(coded) = self.recovered.coded.get(&tensor.name) {
            return Ok(Outcome::Coded(coded.clone()));
        }
        let layer = Layer::new(planned, role, shape, self.layers.guide());
        let weights = match tuned {
            Some(values) => layer.matrix_of(values.clone())?,
            None => layer.weights()?,
        };
        let (coded, _) = self.layers.code(self.coder, &layer, weights.view())?;
        job.advance(layer.n_weights());
        Ok(Outcome::Coded(coded))
    }
}

fn write_tensor<W: Read + Write + Seek>(
    writer: &mut ShardWriter<W>,
    shown: &Path,
    planned: &Planned<'_>,
    outcome: Outcome,
) -> Result<TensorRecord> {
    let wrong = |e| Error::container(shown, e);
    let mut record = empty_record(planned);
    let mut store = |record: &mut TensorRecord, bytes: &[u8]| {
        let (name, shape) = (&record.name, &record.shape);
        let section = writer
            .raw(name, record.dtype, shape, bytes)
            .map_err(wrong)?;
        record.sections.push(section);
        Ok(())
    };
    match outcome {
        Outcome::Tied => {}
        Outcome::Kept => {
            store(&mut record, &planned.bytes()?)?;
            planned.shard.forget(planned.tensor);
        }
        Outcome::Tuned(bytes) => store(&mut record, &bytes)?,
        Outcome::Packed(payload) => {
            record.coding = packed_coding();
            let name = &record.name;
            let section =
                writer.coded_as(name, ROLE_PAYLOAD, DType::U8, &[payload.len()], &payload);
            record.sections.push(section.map_err(wrong)?);
        }
        Outcome::Coded(coded) => {
            let mut parameters = coded.parameters;
            parameters.extend(rows_to_say(planned));
            record.bits_estimated = Some(coded.bits_estimated);
            record.nmse = Some(coded.nmse);
            record.coding = Coding::Coded {
                family: coded.family.into(),
                codec: coded.codec,
                parameters,
                base: false,
            };
            for section in coded.sections {
                let section = writer.coded_as(
                    &record.name,
                    section.role,
                    section.dtype,
                    &section.shape,
                    &section.bytes,
                );
                record.sections.push(section.map_err(wrong)?);
            }
        }
    }
    Ok(record)
}

fn tuned_bytes(planned: &Planned<'_>, values: &[f32]) -> Result<Vec<u8>> {
    let tensor = planned.tensor;
    let wrong = |what, found: String, expected: String| {
        let source = TensorError::Record {
            what,
            found,
            expected,
        };
        Error::tensor(planned.shard.path(), &tensor.name, source)
    };
    if values.len() != tensor.n_elems() {
        let expected = tensor.n_elems().to_string();
        return Err(wrong(
            "number of tuned values",
            values.len().to_string(),
            expected,
        ));
    }
    let mut bytes = Vec::new();
    match dtype::extend_bytes(tensor.dtype, values, &mut bytes) {
        true => Ok(bytes),
        false => Err(wrong(
            "dtype of a tuned tensor",
            tensor.dtype.to_string(),
            "F32, F16 or BF16".into(),
        )),
    }
}

pub(super) fn synced_len(file: &File, shown: &Path) -> Result<u64> {
    file.sync_all()
        .and_then(|()| file.metadata())
        .map(|metadata| metadata.len())
        .map_err(|e| Error::io("write", shown, e))
}
