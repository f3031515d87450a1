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
//! use nwc_chunk::ndarray::{Array2, array};
//! use nwc_compensate::{Hessian, LdlFactor, PAPER_DAMPING, RoundToNearest, ldlq, proxy_loss};
//!
//! # fn main() -> nwc_compensate::Result<()> {
//! let hessian = Hessian::new(array![[2.0_f32, 1.8], [1.8, 2.0]].into(), 64)?;
//! let weights: Array2<f32> = array![[0.4, 0.4], [-0.3, 0.8]];
//! let factor = LdlFactor::new(&hessian, PAPER_DAMPING)?;
//! let mut quantizer = RoundToNearest::new(vec![1.0, 1.0], 2)?;
//! let reconstruction = ldlq(weights.view(), &factor, 1, &mut quantizer)?;
//! // Plain rounding gives [0, 0]; the error of column 1 is made up for in column 0.
//! assert_eq!(reconstruction.row(0), array![1.0, 0.0]);
//! assert!(proxy_loss(weights.view(), reconstruction.view(), hessian.values())? < 0.7); // 1.69 without
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod curvature;
mod entropy_scalar;
mod error;
mod factor;
mod feedback;
mod hessian;
mod importance;
mod proxy;
mod quantizer;
mod round_to_nearest;
mod statistics;

pub use curvature::{CURVATURE_SHARE, Curvature};
pub use entropy_scalar::{Centroids, EntropyScalar};
pub use error::{Error, Result};
pub use factor::{ColumnOrder, LdlFactor, MAX_DAMPING, PAPER_DAMPING, damp};
pub use feedback::{ldlq, no_feedback};
pub use hessian::Hessian;
pub use importance::quality_levels;
pub use proxy::proxy_loss;
pub use quantizer::{BlockQuantizer, QuantizerError};
pub use round_to_nearest::RoundToNearest;
pub use statistics::LayerStatistics;
