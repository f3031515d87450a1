//! How long the headers will be, before anything is coded.

use std::collections::{BTreeMap, HashSet};

use nwc_format::{
    CodecRecord, Coding, Digest, ROLE_TENSOR, Section, ShardMetadata, ShardWriter, TensorRecord,
    section_name,
};

use crate::Result;
use crate::error::Error;
use crate::family::{GAINS, Layer, Layers, ROWS, Room, Sizes, TRANSPOSED, usual_rows};
use crate::survey::{Plan, Planned, Treatment};

/// What goes into the header as the writer's name.
const GENERATOR: &str = concat!("nwc ", env!("CARGO_PKG_VERSION"));

/// The tables of all shards as they will be, with lengths, digests and parameters of any value.
#[derive(Debug)]
pub(super) struct Expected {
    shards: Vec<ShardMetadata>,
    /// Bytes to leave for the header of each shard.
    reserves: Vec<usize>,
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
        let transposed: HashSet<&str> = layers
            .all()
            .iter()
            .filter(|layer| layer.is_transposed)
            .map(Layer::name)
            .collect();
        let record = |planned: &Planned<'_>| {
            let is_transposed = transposed.contains(planned.tensor.name.as_str());
            let mut record = record(planned, room);
            if let Coding::Coded { parameters, .. } = &mut record.coding
                && !is_transposed
            {
                parameters.remove(TRANSPOSED);
            }
            if !is_recovered {
                record.sections.retain(|section| section.role != GAINS);
            }
            record
        };
        let shards: Vec<ShardMetadata> = plan
            .shards
            .iter()
            .enumerate()
            .map(|(shard_idx, planned)| {
                let mut metadata = ShardMetadata::new(GENERATOR, plan.fingerprint);
                if let Some(first) = planned.first() {
                    metadata.extra.clone_from(&first.shard.metadata);
                }
                metadata.shard_idx = shard_idx;
                metadata.n_shards = n_shards;
                if shard_idx == 0 {
                    metadata.files.clone_from(files);
                    metadata.codecs = codecs(room);
                }
                metadata.tensors = planned.iter().map(record).collect();
                metadata
            })
            .collect();
        let reserves = shards
            .iter()
            .zip(&plan.shards)
            .map(|(metadata, planned)| {
                ShardWriter::<std::io::Cursor<Vec<u8>>>::header_reserve_for(metadata).map_err(|e| {
                    let path = planned.first().map(|p| p.shard.path().to_path_buf());
                    Error::container(&path.unwrap_or_default(), e)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { shards, reserves })
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
    pub(super) fn sizes(&self, plan: &Plan<'_>) -> Sizes {
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
        let n_params = all()
            .filter(|p| !matches!(p.treatment, Treatment::TiedTo { .. }))
            .map(|p| p.tensor.n_elems())
            .sum();
        let shards: Vec<_> = plan.shard_names().zip(self.shards.iter()).collect();
        let index = super::write::index_of(&shards, plan.has_index).map_or(0, |index| index.len());
        Sizes {
            other_bytes: (headers + kept + index) as u64,
            n_params,
        }
    }
}

/// Codec records as long as those of the family.
fn codecs(room: Room) -> Vec<CodecRecord> {
    let any = Digest::of(&[]);
    (0..room.n_codecs)
        .map(|idx| CodecRecord {
            id: codec_id(room, idx),
            bytes: u64::from(u32::MAX),
            digest: any,
        })
        .collect()
}

/// An id as long as those of codec files, which end in 12 digits.
fn codec_id(room: Room, idx: usize) -> String {
    format!("{}-{idx:012}", room.family)
}

/// The record of a tensor as long as it can get.
fn record(planned: &Planned<'_>, room: Room) -> TensorRecord {
    const LONG: f64 = -1.234_567_890_123_456_7e-100;
    let mut record = empty_record(planned);
    let roles: &[&str] = match planned.treatment {
        Treatment::Code { .. } => {
            let parameters: BTreeMap<String, f64> = room
                .parameters
                .iter()
                .map(|name| ((*name).to_owned(), LONG))
                .chain(rows_to_say(planned))
                .collect();
            record.coding = Coding::Coded {
                family: room.family.into(),
                codec: codec_id(room, 0),
                parameters,
            };
            room.roles
        }
        Treatment::Kept { .. } => &[ROLE_TENSOR],
        Treatment::TiedTo { .. } => &[],
    };
    let any = Digest::of(&[]);
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
        Treatment::Kept { reason } => (Coding::Lossless, Some(reason.clone())),
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
