//! What compression knows about one linear layer.

use crate::{Curvature, Hessian};

/// Calibration statistics of one linear `[out, in]`; either part may be missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerStatistics {
    /// `E[x xᵀ]` of the layer's input, `[in, in]`, shared by the layers that share the input.
    pub hessian: Option<Hessian>,
    /// `E[g_i²]` for every output row, `[out]`: `g` is the gradient of the log-likelihood (in nats, labels drawn
    /// from the model) with respect to the layer's output at one token.
    pub output_fisher: Option<Vec<f32>>,
    /// What errors cost whole sequences; see [`LayerStatistics::guided_by_curvature`].
    pub curvature: Option<Curvature>,
}
