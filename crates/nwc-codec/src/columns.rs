//! Panels of whole columns that are coded by themselves.

use std::ops::Range;

use nwc_entropy::LANES;

/// Number of panels of a `rows × cols` matrix that are whole groups of 32 columns and have about `min_weights` weights
/// or more; none where the matrix is empty.
pub(crate) fn n_column_panels(rows: usize, cols: usize, min_weights: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    let groups_each = min_weights.div_ceil(rows.saturating_mul(LANES));
    (cols.div_ceil(LANES) / groups_each).max(1)
}

/// The columns of each panel, in order.
pub(crate) fn column_panels(rows: usize, cols: usize, min_weights: usize) -> Vec<Range<usize>> {
    let n_groups = cols.div_ceil(LANES);
    let n_panels = n_column_panels(rows, cols, min_weights);
    let start = |idx: usize| (idx * n_groups / n_panels * LANES).min(cols);
    (0..n_panels)
        .map(|idx| start(idx)..start(idx + 1))
        .collect()
}
