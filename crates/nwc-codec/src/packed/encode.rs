//! The bytes of a tensor in, substreams out.

use nwc_chunk::Parallelism;
use nwc_entropy::{StreamEncoder, TableSet};

use super::choice::{Choice, Counts, choose};
use super::format::{Plan, write};
use super::split::split;
use super::{PIECE_ELEMS, PackedType, SUBSTREAM_ELEMS, bits};
use crate::parallel::map_each;

/// What the container spends on a substream beside its bytes, rounded up: its length.
const SUBSTREAM_OVERHEAD: usize = 8;

/// A tensor's bytes, coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// How the planes are stored ([`super::Tables`]).
    pub tables: Vec<u8>,
    /// Those of the first [`SUBSTREAM_ELEMS`] elements first, one for each plane that is not constant.
    pub substreams: Vec<Vec<u8>>,
}

impl Packed {
    /// Bytes that this takes in a container, with the lengths of the substreams.
    pub fn n_bytes(&self) -> usize {
        let substreams = self.substreams.iter();
        self.tables.len()
            + substreams
                .map(|s| s.len() + SUBSTREAM_OVERHEAD)
                .sum::<usize>()
    }
}

/// Codes the bytes of a tensor of `kind`, little endian; `None` if that is not smaller, or they are no whole elements.
///
/// Every bit comes back, those of NaNs too. The result depends on `bytes` alone.
pub fn encode(kind: PackedType, bytes: &[u8], parallelism: Parallelism) -> Option<Packed> {
    let element_bytes = kind.n_bytes();
    if bytes.is_empty() || !bytes.len().is_multiple_of(element_bytes) {
        return None;
    }
    let groups: Vec<&[u8]> = bytes.chunks(SUBSTREAM_ELEMS * element_bytes).collect();
    let of_groups = map_each(groups.clone(), parallelism, |(), group| {
        Counts::of(kind, group)
    });
    let mut counts = Counts::default();
    for of_group in &of_groups {
        counts.merge(of_group);
    }
    let choice = choose(kind, &counts)?;
    if choice.bits >= 8.0 * bytes.len() as f64 {
        return None;
    }
    let tables: Vec<Option<TableSet>> = choice.plans.iter().map(table_set).collect();
    let parts = map_each(groups, parallelism, |scratch: &mut Scratch, group| {
        encode_group(kind, &choice, &tables, group, scratch)
    });
    let packed = Packed {
        tables: write(choice.alphabet, &choice.plans),
        substreams: parts.into_iter().collect::<Option<Vec<_>>>()?.concat(),
    };
    (packed.n_bytes() < bytes.len()).then_some(packed)
}

/// The set of the one table of a coded plane.
fn table_set(plan: &Plan) -> Option<TableSet> {
    match plan {
        Plan::Coded(table) => TableSet::new(vec![table.clone()]).ok(),
        Plan::Raw | Plan::Constant(_) => None,
    }
}

/// Planes of a piece.
type Scratch = [Vec<u8>; 4];

/// The substreams of one group; `None` only if a symbol is not in its table, which was made of all of them.
fn encode_group(
    kind: PackedType,
    choice: &Choice,
    tables: &[Option<TableSet>],
    elements: &[u8],
    planes: &mut Scratch,
) -> Option<Vec<Vec<u8>>> {
    let mut encoders: Vec<_> = tables
        .iter()
        .map(|tables| tables.as_ref().map(StreamEncoder::new))
        .collect();
    let mut raw = vec![Vec::new(); choice.plans.len()];
    for piece in elements.chunks(PIECE_ELEMS * kind.n_bytes()) {
        split(kind, choice.alphabet, piece, planes);
        for (place, plane) in planes.iter().enumerate().take(choice.plans.len()) {
            let n_high = choice.alphabet.n_mantissa_bits;
            match &mut encoders[place] {
                Some(encoder) => encoder.push_bytes(0, plane).ok()?,
                None if choice.plans[place] != Plan::Raw => (),
                None if place == 1 && n_high > 0 => bits::pack(plane, n_high, &mut raw[place]),
                None => raw[place].extend_from_slice(plane),
            }
        }
    }
    let stored = encoders.into_iter().zip(raw).zip(&choice.plans);
    let substreams = stored.filter_map(|((encoder, raw), plan)| match (encoder, plan) {
        (Some(encoder), _) => Some(encoder.finish()),
        (None, Plan::Raw) => Some(raw),
        (None, _) => None,
    });
    Some(substreams.collect())
}
