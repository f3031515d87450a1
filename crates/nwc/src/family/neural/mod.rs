//! The learned codec as a family: row scales, chunks down the columns, quality levels.

mod chunks;
#[cfg(feature = "encode")]
mod coder;
mod decoder;
mod levels;
#[cfg(feature = "encode")]
mod plan;
#[cfg(feature = "encode")]
mod states;

#[cfg(feature = "encode")]
use nwc_format::{DType, ROLE_PAYLOAD};

#[cfg(feature = "encode")]
use super::matrix::{GAINS, NMSE_NORMALIZED, TRANSPOSED};
#[cfg(feature = "encode")]
use super::{EXPONENTS, Room, ZEROS, most_payload_bytes, most_zeros_bytes};

pub(super) use decoder::NeuralDecoder;
#[cfg(feature = "encode")]
pub(super) use plan::plan;

/// Name of the family in records.
#[cfg(feature = "encode")]
const FAMILY: &str = "neural";
/// Role of the row scales, f16.
const SCALES: &str = nwc_format::ROLE_SCALES;
/// Role of the columns' quality levels, packed little end first; absent where all are the same.
const LEVELS: &str = nwc_format::ROLE_LEVELS;
/// Parameter: the level of all columns, where there is only one.
const UNIFORM_LEVEL: &str = "level";

#[cfg(feature = "encode")]
pub(super) const ROOM: Room = Room {
    family: FAMILY,
    parameters: &[NMSE_NORMALIZED, UNIFORM_LEVEL, TRANSPOSED],
    sections: |rows, cols| {
        vec![
            (ROLE_PAYLOAD, DType::U8, most_payload_bytes(rows, cols)),
            (SCALES, DType::F16, rows.max(cols)),
            (LEVELS, DType::U8, rows.max(cols)),
            (GAINS, DType::F16, rows.max(cols)),
            (EXPONENTS, DType::I16, rows.max(cols)),
            (ZEROS, DType::U8, most_zeros_bytes(rows, cols)),
        ]
    },
    n_codecs: 2,
};
