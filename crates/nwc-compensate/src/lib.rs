//! Hessian, damping, LDL, LDLQ feedback, importance to quality level.
//!
//! Orientation, once for the crate: weights are `[out, in]`, a layer computes `W x`, `H = E[x xᵀ]` is `[in, in]`,
//! `Δ = Ŵ − W`, and the proxy loss `tr(Δ H Δᵀ)` is the expected squared error of the layer's output.
//! With `H = L D Lᵀ` (unit lower `L`) and columns coded last to first, feeding errors back through `L` makes the
//! proxy loss `Σ_j D_j ‖e_j‖²`, where `e_j` is only the quantiser's own error on what it was given:
//!
//! ```text
//!   statistics ──► Hessian ──► LdlFactor { L, D } ──► ldlq ──► Ŵ
//!                     │                              ▲    │ target, block by block
//!                     ▼                              │    ▼
//!               quality_levels ───────────────► BlockQuantizer ──► symbols (kept by the quantiser)
//! ```
//!
//! ```
//! use nwc_chunk::ndarray::{Array2, ArrayView2, ArrayViewMut2, array};
//! use nwc_compensate::{
//!     BlockQuantizer, Hessian, LdlFactor, PAPER_DAMPING, QuantizerError, ldlq, proxy_loss,
//! };
//!
//! /// Rounds to whole numbers.
//! struct Rounding;
//!
//! impl BlockQuantizer for Rounding {
//!     fn quantize(
//!         &mut self,
//!         target: ArrayView2<'_, f32>,
//!         _cols: &[usize],
//!         mut reconstruction: ArrayViewMut2<'_, f32>,
//!     ) -> Result<(), QuantizerError> {
//!         reconstruction.assign(&target.mapv(f32::round));
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> nwc_compensate::Result<()> {
//! let hessian = Hessian::new(array![[2.0_f32, 1.8], [1.8, 2.0]].into(), 64)?;
//! let weights: Array2<f32> = array![[0.4, 0.4], [-0.3, 0.8]];
//! let factor = LdlFactor::new(&hessian, PAPER_DAMPING)?;
//! let reconstruction = ldlq(weights.view(), &factor, 1, &mut Rounding)?;
//! // Plain rounding gives [0, 0]; the error of column 1 is made up for in column 0.
//! assert_eq!(reconstruction.row(0), array![1.0, 0.0]);
//! assert!(proxy_loss(weights.view(), reconstruction.view(), hessian.values())? < 0.7); // 1.69 without
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod curvature;
mod error;
mod factor;
mod feedback;
mod hessian;
mod importance;
mod proxy;
mod quantizer;
mod statistics;
#[cfg(test)]
mod testing;

pub use curvature::{CURVATURE_SHARE, Curvature};
pub use error::{Error, Result};
pub use factor::{ColumnOrder, LdlFactor, MAX_DAMPING, PAPER_DAMPING};
pub use feedback::{ldlq, no_feedback};
pub use hessian::Hessian;
pub use importance::quality_levels;
pub use proxy::proxy_loss;
pub use quantizer::{BlockQuantizer, QuantizerError};
pub use statistics::LayerStatistics;
