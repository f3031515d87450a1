//! How long the headers will be, before anything is coded.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use nwc_format::{Coding, Digest, HeaderPlan, INDEX_FILE_NAME, ShardMetadata, TensorRecord};

use crate::Result;
use crate::error::Error;
use crate::family::{GAINS, Layer, Layers, Room, Sizes, TRANSPOSED};
use crate::survey::{Plan, Planned, Treatment};

/// What goes into the header as the writer's name.
const GENERATOR: &str = concat!("nwc ", env!("CARGO_PKG_VERSION"));

/// What a codec file may have without the header growing.
const CODEC_BYTES: usize = 9_999_999;

/// The tables of all shards as they will be, with lengths, digests and parameters of any value.
#[derive(Debug)]
pub(super) struct Expected {
    shards: Vec<ShardMetadata>,
    /// Bytes to leave for the header of each shard.
    reserves: Vec<usize>,
    /// Parameters of the checkpoint, tied ones once.
    n_params: usize,
}

impl Expected {
    /// Expects what `plan` says, with carried `files` and `room` for what a family may say of a coded matrix.
    ///
    /// Without recovery no matrix has gains.
    pub(super) fn new(
        plan: &Plan<'_>,
        files: &BTreeMap<String, Digest>,
        layers: &Layers<'_>,
        room: Room,
        is_recovered: bool,
    ) -> Result<Self> {
        let n_shards = plan.shards.len();
        let n_params = n_params(plan);
        let layers: HashMap<&str, &Layer<'_>> = layers
            .all()
            .iter()
            .map(|layer| (layer.name(), layer))
            .collect();
        let mut shards = Vec::new();
        let mut reserves = Vec::new();
        for (shard_idx, planned) in plan.shards.iter().enumerate() {
            let mut metadata = ShardMetadata::new(GENERATOR, plan.fingerprint);
            if let Some(first) = planned.first() {
                metadata.extra.clone_from(&first.shard.metadata);
            }
            metadata.shard_idx = shard_idx;
            metadata.n_shards = n_shards;
            metadata.total_parameters = (n_shards == 1).then_some(n_params as u64);
            let mut header = HeaderPlan::new();
            if shard_idx == 0 {
                metadata.files.clone_from(files);
                metadata.codecs = (0..room.n_codecs)
                    .map(|idx| header.codec(&codec_id(room, idx), CODEC_BYTES))
                    .collect();
            }
            metadata.tensors = planned
                .iter()
                .map(|planned| {
                    let layer = layers.get(planned.tensor.name.as_str());
                    record(planned, layer.copied(), room, is_recovered, &mut header)
                })
                .collect();
            let reserve = header.reserve(&metadata).map_err(|e| {
                let path = planned.first().map(|p| p.shard.path().to_path_buf());
                Error::container(&path.unwrap_or_default(), e)
            })?;
            shards.push(metadata);
            reserves.push(reserve);
        }
        Ok(Self {
            shards,
            reserves,
            n_params,
        })
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

    /// The sizes that a rate is reckoned from.
    pub(super) fn sizes(&self, plan: &Plan<'_>) -> Result<Sizes> {
        const LENGTH_BYTES: usize = 8;
        let headers: usize = self
            .reserves
            .iter()
            .map(|reserve| LENGTH_BYTES + reserve.next_multiple_of(8))
            .sum();
        let all = || plan.shards.iter().flatten();
        let kept: usize = all()
            .filter(|p| matches!(p.treatment, Treatment::Kept { .. }))
            .map(|p| p.tensor.n_bytes())
            .sum();
        let shards: Vec<_> = plan.shard_names().zip(self.shards.iter()).collect();
        let index = super::write::index_of(&shards, self.n_params)
            .map_err(|e| Error::container(Path::new(INDEX_FILE_NAME), e))?;
        let index = index.map_or(0, |index| index.len());
        Ok(Sizes {
            other_bytes: (headers + kept + index) as u64,
            n_params: self.n_params,
        })
    }
}

/// Parameters of the checkpoint, tied ones once.
fn n_params(plan: &Plan<'_>) -> usize {
    let planned = plan.shards.iter().flatten();
    planned
        .filter(|p| !matches!(p.treatment, Treatment::TiedTo { .. }))
        .map(|p| p.tensor.n_elems())
        .sum()
}

/// An id as long as those of codec files, which end in 12 digits.
fn codec_id(room: Room, idx: usize) -> String {
    format!("{}-{idx:012}", room.family)
}

/// The record of a tensor with all that `room` says of it, its sections planned in `header`.
fn record(
    planned: &Planned<'_>,
    layer: Option<&Layer<'_>>,
    room: Room,
    is_recovered: bool,
    header: &mut HeaderPlan,
) -> TensorRecord {
    let mut record = empty_record(planned);
    let name = record.name.clone();
    match (&planned.treatment, layer) {
        (Treatment::Code { .. }, Some(layer)) => {
            let parameters = room.parameters.iter();
            let parameters = parameters
                .filter(|&&name| name != TRANSPOSED || layer.is_transposed)
                .map(|&name| (name.to_owned(), 0.0));
            record.coding = Coding::Coded {
                family: room.family.into(),
                codec: codec_id(room, 0),
                parameters: parameters.collect(),
                base: false,
            };
            let sections = (room.sections)(layer.rows, layer.cols).into_iter();
            record.sections = sections
                .filter(|(role, ..)| *role != GAINS || is_recovered)
                .map(|(role, dtype, n)| header.coded(&name, role, dtype, &[n]))
                .collect();
        }
        (Treatment::TiedTo { .. }, _) => {}
        _ => record.sections = vec![header.raw(&name, record.dtype, &record.shape)],
    }
    record
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
