//! The trellis as a family: one step for the whole model, tables fitted to a sample of it.

#[cfg(feature = "encode")]
mod coder;
mod decoder;
#[cfg(feature = "encode")]
mod plan;
#[cfg(feature = "encode")]
mod rows;
#[cfg(feature = "encode")]
mod sample;
#[cfg(feature = "encode")]
mod search;

#[cfg(feature = "encode")]
use nwc_format::{DType, ROLE_PAYLOAD};

#[cfg(feature = "encode")]
use super::matrix::{GAINS, NMSE_NORMALIZED, TRANSPOSED};
#[cfg(feature = "encode")]
use super::{Room, payload_bytes};

pub(super) use decoder::TrellisDecoder;
#[cfg(feature = "encode")]
pub(super) use plan::{Request, plan};

/// Name of the family in records.
#[cfg(feature = "encode")]
const FAMILY: &str = "trellis";
/// Role of the steps and predicted scales.
const SCALES: &str = nwc_format::ROLE_SCALES;

#[cfg(feature = "encode")]
pub(super) const ROOM: Room = Room {
    family: FAMILY,
    parameters: &[NMSE_NORMALIZED, TRANSPOSED],
    sections: |rows, cols| {
        vec![
            (ROLE_PAYLOAD, DType::U8, payload_bytes(rows, cols)),
            // Two entries a row and a column, a byte each or less, but for escapes.
            (SCALES, DType::U8, (4 * (rows + cols)).max(999)),
            (GAINS, DType::F16, rows),
        ]
    },
    n_codecs: 1,
};
