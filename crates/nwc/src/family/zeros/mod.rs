//! Weights that are exactly zero and come back as zeros, whatever a codec makes of them.
//!
//! Where few are zero but for whole rows and columns, these are listed and the matrix is coded as any other. Where more
//! are, a mask says which, and a family codes the others alone.

mod lanes;

use std::sync::Arc;

use nwc_chunk::{Parallelism, ZeroMask};
use nwc_format::Payload;

#[cfg(feature = "encode")]
use super::coded::NewSection;
use super::matrix::StoredSections;
use crate::error::TensorError;

pub(crate) use lanes::ZeroLanes;

/// Role of what says which weights are exactly zero; its layout is in `docs/FORMAT.md`.
pub(crate) const ZEROS: &str = nwc_format::ROLE_ZEROS;

/// First byte of a section that lists rows and columns.
const LANES: u8 = 1;
/// First byte of a section that has a bit a weight, coded.
const MASK: u8 = 2;

/// Whether a matrix in which so many of `of` weights are zero, whole rows and columns left out, gets a mask.
///
/// A mask costs the entropy of its density, up to a bit a weight, and saves the zeros' own bits. At independent zeros
/// it pays from a fifth on at 4 bits; a few per cent cost 0.1 to 0.2 bit, which is the price of zeros that are exact.
#[cfg(feature = "encode")]
pub(crate) fn is_sparse(n_zeros: usize, of: usize) -> bool {
    n_zeros as f64 > 0.03 * of as f64
}

/// Whether the section with these bytes is a mask.
#[cfg(feature = "encode")]
pub(crate) fn is_mask(section: &[u8]) -> bool {
    section.first() == Some(&MASK)
}

/// The section that stores `lanes`.
#[cfg(feature = "encode")]
pub(super) fn lanes_section(lanes: &ZeroLanes) -> NewSection {
    let mut bytes = vec![LANES];
    bytes.extend(lanes.to_bytes());
    NewSection::bytes(ZEROS, bytes)
}

/// The section that stores `mask`.
///
/// # Errors
/// Those of the entropy coder.
#[cfg(feature = "encode")]
pub(super) fn mask_section(mask: &ZeroMask) -> Result<NewSection, TensorError> {
    let parts = nwc_codec::zeros::encode(mask, Parallelism::Rayon)?;
    let mut bytes = vec![MASK];
    bytes.extend(nwc_format::encode_payload(&parts));
    Ok(NewSection::bytes(ZEROS, bytes))
}

/// The rows and columns of zeros of a stored `rows` × `cols` matrix, for which memory was taken already; `None` where
/// none are listed.
///
/// # Errors
/// [`TensorError::Record`] for bytes that do not describe such a matrix.
pub(super) fn stored_lanes(
    stored: &StoredSections<'_>,
    rows: usize,
    cols: usize,
) -> Result<Option<ZeroLanes>, TensorError> {
    match section(stored)? {
        Some((LANES, bytes)) => {
            let lanes = ZeroLanes::from_bytes(bytes, rows, cols);
            let wrong = || TensorError::Record {
                what: ZEROS,
                found: format!("{} bytes that do not fit", bytes.len()),
                expected: format!("runs of {rows} rows and {cols} columns"),
            };
            lanes.map(Some).ok_or_else(wrong)
        }
        _ => Ok(None),
    }
}

/// The mask of a stored `rows` × `cols` matrix; `None` where it has none.
///
/// Memory is taken once the section is known to be as long as such a mask's.
///
/// # Errors
/// [`TensorError::Record`] for a section of another kind, those of [`nwc_codec::zeros::decode`].
pub(super) fn stored_mask(
    stored: &StoredSections<'_>,
    rows: usize,
    cols: usize,
) -> Result<Option<Arc<ZeroMask>>, TensorError> {
    match section(stored)? {
        Some((MASK, bytes)) => {
            let parts = Payload::parse(bytes)?;
            let mask = nwc_codec::zeros::decode(&parts, rows, cols, Parallelism::Rayon)?;
            Ok(Some(Arc::new(mask)))
        }
        _ => Ok(None),
    }
}

/// Kind and content of the section, where there is one.
fn section<'a>(stored: &StoredSections<'a>) -> Result<Option<(u8, &'a [u8])>, TensorError> {
    let Some(&bytes) = stored.by_role.get(ZEROS) else {
        return Ok(None);
    };
    match bytes.split_first() {
        Some((&kind @ (LANES | MASK), rest)) => Ok(Some((kind, rest))),
        found => Err(TensorError::Record {
            what: "kind of zeros",
            found: match found {
                Some((kind, _)) => kind.to_string(),
                None => "missing".into(),
            },
            expected: "1 or 2".into(),
        }),
    }
}

/// No section of a `rows` × `cols` matrix is longer.
#[cfg(feature = "encode")]
pub(crate) fn most_zeros_bytes(rows: usize, cols: usize) -> usize {
    let lanes = rows.saturating_add(cols).saturating_mul(4);
    (rows.saturating_mul(cols) / 4)
        .saturating_add(lanes)
        .saturating_add(8192)
}
