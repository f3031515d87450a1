//! How long the headers will be, before anything is coded.

use std::collections::{BTreeMap, HashSet};

use nwc_format::{Coding, Digest, HeaderPlan, ModelIndex, ShardMetadata, TensorRecord};

use crate::Result;
use crate::error::Error;
use crate::family::{
    EXPONENTS, GAINS, Layer, Layers, ROWS, Room, Sizes, TRANSPOSED, ZEROS, usual_rows,
};
use crate::planes;
use crate::survey::{Plan, Planned, Treatment};

/// What goes into the header as the writer's name.
pub(super) const GENERATOR: &str = concat!("nwc ", env!("CARGO_PKG_VERSION"));

/// Bytes by which the header's entry of a packed tensor may be longer than that of the tensor itself: its role's name and
/// a digit of its length.
const PACKED_ENTRY_EXTRA: usize = 8;

/// No codec file is larger.
const MAX_CODEC_BYTES: usize = 9_999_999;

/// What the first shard says of the whole folder.
#[derive(Debug)]
pub(super) struct About {
    /// Digests of carried files.
    pub(super) files: BTreeMap<String, Digest>,
    /// Folders below that are checkpoints of their own.
    pub(super) checkpoints: Vec<String>,
    /// How the folder came about.
    pub(super) provenance: BTreeMap<String, String>,
}

/// The tables of all shards as they will be, with lengths, digests and parameters of any value.
#[derive(Debug)]
pub(super) struct Expected {
    n_params: usize,
    shards: Vec<ShardMetadata>,
    /// Bytes to leave for the header of each shard.
    reserves: Vec<usize>,
}

impl Expected {
    /// Expects what `plan` says, with what the first shard says `about` the folder and `room` for what a family may say of a coded matrix.
    ///
    /// Without recovery no matrix has gains.
    pub(super) fn new(
        plan: &Plan<'_>,
        about: &About,
        layers: &Layers<'_>,
        room: Room,
        is_recovered: bool,
    ) -> Result<Self> {
        let transposed: HashSet<&str> = layers
            .all()
            .iter()
            .filter(|layer| layer.is_transposed)
            .map(Layer::name)
            .collect();
        let mut expected = Self {
            n_params: n_params(plan),
            shards: Vec::new(),
            reserves: Vec::new(),
        };
        for (shard_idx, planned) in plan.shards.iter().enumerate() {
            let Some(first) = planned.first() else {
                continue;
            };
            let mut headers = HeaderPlan::new();
            let mut metadata = ShardMetadata::new(GENERATOR, plan.fingerprint);
            metadata.extra.clone_from(&first.shard.metadata);
            metadata.shard_idx = shard_idx;
            metadata.n_shards = plan.shards.len();
            if metadata.n_shards == 1 {
                metadata.total_parameters = Some(expected.n_params as u64);
            }
            if shard_idx == 0 {
                metadata.files.clone_from(&about.files);
                metadata.checkpoints.clone_from(&about.checkpoints);
                metadata.provenance.clone_from(&about.provenance);
                metadata.codecs = (0..room.n_codecs)
                    .map(|idx| headers.codec(&codec_id(room, idx), MAX_CODEC_BYTES))
                    .collect();
            }
            for p in planned {
                let is_transposed = transposed.contains(p.tensor.name.as_str());
                let room = RecordRoom {
                    room,
                    is_transposed,
                    is_recovered,
                };
                metadata.tensors.push(room.record(p, &mut headers));
            }
            let n_packed = planned.iter().filter(|p| may_be_packed(p)).count();
            let reserve = headers
                .reserve(&metadata)
                .map_err(|e| Error::container(first.shard.path(), e))?
                + PACKED_ENTRY_EXTRA * n_packed;
            expected.shards.push(metadata);
            expected.reserves.push(reserve);
        }
        Ok(expected)
    }

    /// Parameters of the checkpoint, tied ones once.
    pub(super) fn n_params(&self) -> usize {
        self.n_params
    }

    /// The table of a shard without tensors and codecs, to be filled, and the bytes to leave for its header.
    pub(super) fn empty_shard(&self, shard_idx: usize) -> (ShardMetadata, usize) {
        let expected = &self.shards[shard_idx];
        let metadata = ShardMetadata {
            tensors: Vec::new(),
            codecs: Vec::new(),
            ..expected.clone()
        };
        (metadata, self.reserves[shard_idx])
    }

    /// The sizes that a rate is reckoned from. With `is_exact` kept tensors count as they will be stored, which takes the
    /// time of coding them, else as they are.
    pub(super) fn sizes(&self, plan: &Plan<'_>, is_exact: bool) -> Result<Sizes> {
        const LENGTH_BYTES: usize = 8;
        let headers: usize = self
            .reserves
            .iter()
            .map(|reserve| LENGTH_BYTES + reserve.next_multiple_of(8))
            .sum();
        let all = || plan.shards.iter().flatten();
        let mut kept = 0;
        for p in all().filter(|p| matches!(p.treatment, Treatment::Kept { .. })) {
            kept += match is_exact {
                true => stored_bytes(p)?,
                false => p.tensor.n_bytes(),
            };
        }
        let shards: Vec<_> = plan.shard_names().zip(self.shards.iter()).collect();
        let index = index_of(&shards, self.n_params, plan.has_index).map_or(0, |index| index.len());
        Ok(Sizes {
            other_bytes: (headers + kept + index) as u64,
            n_params: self.n_params,
        })
    }
}

/// Whether it is known only later if a tensor is coded without loss.
fn may_be_packed(planned: &Planned<'_>) -> bool {
    let tensor = planned.tensor;
    matches!(planned.treatment, Treatment::Kept { .. })
        && planes::is_candidate(tensor.dtype, tensor.n_bytes())
}

/// Bytes that a kept tensor will take.
fn stored_bytes(planned: &Planned<'_>) -> Result<usize> {
    let tensor = planned.tensor;
    if !may_be_packed(planned) {
        return Ok(tensor.n_bytes());
    }
    let packed = planes::pack(tensor.dtype, &planned.bytes()?);
    planned.shard.forget(tensor);
    Ok(packed.map_or(tensor.n_bytes(), |payload| payload.len()))
}

/// The coding of a tensor that is coded without loss.
pub(super) fn packed_coding() -> Coding {
    Coding::Packed {
        method: planes::METHOD.into(),
        base: false,
        parameters: BTreeMap::new(),
    }
}

/// Parameters of the checkpoint, tied ones once.
fn n_params(plan: &Plan<'_>) -> usize {
    plan.tensors()
        .filter(|p| !matches!(p.treatment, Treatment::TiedTo { .. }))
        .map(|p| p.tensor.n_elems())
        .sum()
}

/// The index of several shards; one shard needs none, unless the checkpoint had one.
pub(super) fn index_of(
    shards: &[(&str, &ShardMetadata)],
    n_params: usize,
    had_one: bool,
) -> Option<Vec<u8>> {
    if shards.len() < 2 && !had_one {
        return None;
    }
    let index = ModelIndex::from_tables(shards, n_params as u64).ok()?;
    index.to_bytes().ok()
}

/// An id as long as those of codec files, which end in 12 digits.
fn codec_id(room: Room, idx: usize) -> String {
    format!("{}-{idx:012}", room.family)
}

/// What the record of one tensor may say.
struct RecordRoom {
    room: Room,
    is_transposed: bool,
    is_recovered: bool,
}

impl RecordRoom {
    /// The record as long as it can get.
    fn record(&self, planned: &Planned<'_>, headers: &mut HeaderPlan) -> TensorRecord {
        let mut record = empty_record(planned);
        let name = record.name.clone();
        match planned.treatment {
            Treatment::TiedTo { .. } => {}
            Treatment::Kept { .. } => {
                if may_be_packed(planned) {
                    record.coding = packed_coding();
                }
                record.sections = vec![headers.raw(&name, record.dtype, &record.shape)];
            }
            Treatment::Code { rows, cols, .. } => {
                let parameters = self.room.parameters.iter();
                record.coding = Coding::Coded {
                    family: self.room.family.into(),
                    codec: codec_id(self.room, 0),
                    parameters: parameters
                        .filter(|name| self.is_transposed || **name != TRANSPOSED)
                        .map(|name| ((*name).to_owned(), 0.0))
                        .chain(rows_to_say(planned))
                        .collect(),
                    base: false,
                };
                record.sections = (self.room.sections)(rows, cols)
                    .into_iter()
                    .filter(|(role, ..)| match *role {
                        GAINS => self.is_recovered,
                        EXPONENTS => planned.values.has_unsafe_rows,
                        ZEROS => planned.values.has_zero_lanes || planned.values.is_sparse,
                        _ => true,
                    })
                    .map(|(role, dtype, n)| headers.coded(&name, role, dtype, &[n]))
                    .collect();
            }
        }
        record
    }
}

/// The parameter that tells the rows of a convolution's kernel.
pub(super) fn rows_to_say(planned: &Planned<'_>) -> Option<(String, f64)> {
    match planned.treatment {
        Treatment::Code { rows, .. } if usual_rows(&planned.tensor.shape) != Some(rows) => {
            Some((ROWS.into(), rows as f64))
        }
        _ => None,
    }
}

/// A record that says what is known of a tensor beforehand.
pub(super) fn empty_record(planned: &Planned<'_>) -> TensorRecord {
    let tensor = planned.tensor;
    let (coding, reason) = match &planned.treatment {
        Treatment::TiedTo { name } => (Coding::TiedTo { name: name.clone() }, None),
        Treatment::Kept { reason } => (Coding::Raw, Some(reason.clone())),
        Treatment::Code { .. } => (Coding::Raw, None),
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
