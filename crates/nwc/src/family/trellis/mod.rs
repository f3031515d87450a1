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
#[cfg(all(test, feature = "encode"))]
mod tests;

#[cfg(feature = "encode")]
use nwc_format::{DType, ROLE_PAYLOAD};

#[cfg(feature = "encode")]
use super::matrix::{GAINS, NMSE_NORMALIZED, TRANSPOSED};
#[cfg(feature = "encode")]
use super::{EXPONENTS, Room, ZEROS, most_payload_bytes, most_zeros_bytes};

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
            (ROLE_PAYLOAD, DType::U8, most_payload_bytes(rows, cols)),
            // Four exponents and a few bytes more.
            (SCALES, DType::U8, 64 + 2 * 2 * (rows + cols)),
            (GAINS, DType::F16, rows.max(cols)),
            (EXPONENTS, DType::I16, rows.max(cols)),
            (ZEROS, DType::U8, most_zeros_bytes(rows, cols)),
        ]
    },
    n_codecs: 1,
};
