//! Matrices, row scales, column-wise chunks and back: the vocabulary that the other crates share.
//!
//! A weight matrix is `[out_features, in_features]`, row-major: a row is an output feature.
//! A *chunk* is [`ChunkLayout::chunk_len`] consecutive output rows of one input column, so a column of
//! `m` weights becomes `⌈m / chunk_len⌉` chunks (`docs/METHOD.md` 1.7).
//!
//! ```
//! use nwc_chunk::ndarray::{array, Array2};
//! use nwc_chunk::{ChunkLayout, denormalize_rows_in_place, normalize_rows, row_scales};
//!
//! # fn main() -> nwc_chunk::Result<()> {
//! let weights = array![[0.5_f32, -1.0, 0.25], [2.0, 4.0, -8.0]];
//! let scales = row_scales(weights.view());
//! let normalized = normalize_rows(weights.view(), scales.view())?;
//!
//! let layout = ChunkLayout::new(2, 3, 16)?;
//! let chunks = layout.gather(normalized.view())?;
//! assert_eq!(chunks.dim(), (3, 16)); // one padded chunk a column
//!
//! let mut restored = Array2::zeros((2, 3));
//! layout.scatter(chunks.view(), restored.view_mut())?;
//! assert_eq!(restored, normalized);
//! denormalize_rows_in_place(restored.view_mut(), scales.view())?;
//! assert!((restored - weights).iter().all(|d| d.abs() < 1e-6));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub use half;
pub use ndarray;

mod error;
mod kept;
mod layout;
mod scale;
mod vocabulary;
mod zero_mask;

pub use error::{Error, Result};
pub use kept::{KeptChunks, kept_row_scales};
pub use layout::{ChunkLayout, MAX_CHUNK_LEN};
pub use scale::{denormalize_rows_in_place, normalize_rows, normalize_rows_in_place, row_scales};
pub use vocabulary::{Parallelism, QualityLevel};
pub use zero_mask::ZeroMask;
