//! The search for the cheapest path where the error of a row is felt by the rows after it.
//!
//! With `E = Mᵀ`-weighted errors the cost of a row depends on the errors of all rows before it, so on the path: every
//! survivor keeps its own errors ("per-survivor processing"). Errors of rows that lie far back are nearly always the same
//! for all survivors and are summed up once.
//! Source: R. Raheli, A. Polydoros, C.-K. Tzou, "Per-survivor processing", IEEE Trans. Commun. 43 (1995).

use ndarray::{Array2, ArrayView1};

use super::points::MAX_POINT;
use super::{Error, Result, TrellisCodec};

/// How errors of earlier rows weigh in later ones: `E_i = e_i + Σ_{k<i} M_ik e_k`.
///
/// For a cost `eᵀ H e` with `H = U D Uᵀ`, `U` unit upper-triangular, `M = Uᵀ`: the cost is then `Σ D_i E_i²`.
/// `M` is block-diagonal, so that tall matrices stay affordable.
#[derive(Debug, Clone, PartialEq)]
pub struct RowFeedback {
    /// Strictly lower triangles matter, `[n, n]` each, from the first row on; together as many as there are rows.
    blocks: Vec<Array2<f32>>,
}

impl RowFeedback {
    /// Feedback within consecutive blocks of rows; of each matrix `[n, n]` the part left of the diagonal counts.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] for a block that is not square; [`Error::NotFinite`].
    pub fn new(blocks: Vec<Array2<f32>>) -> Result<Self> {
        for block in &blocks {
            if block.nrows() != block.ncols() {
                return Err(Error::ShapeMismatch {
                    what: "columns of a block of row feedback",
                    found: block.ncols(),
                    expected: block.nrows(),
                });
            }
            if let Some(((row, col), &value)) = block.indexed_iter().find(|(_, m)| !m.is_finite()) {
                return Err(Error::NotFinite { row, col, value });
            }
        }
        let blocks = blocks
            .into_iter()
            .map(|block| block.as_standard_layout().into_owned())
            .collect();
        Ok(Self { blocks })
    }

    /// Rows of all blocks.
    pub fn n_rows(&self) -> usize {
        self.blocks.iter().map(Array2::nrows).sum()
    }

    /// First row of the block of each row, and `M` of that row from there on.
    fn rows(&self) -> impl Iterator<Item = (usize, ArrayView1<'_, f32>)> {
        let mut start = 0;
        self.blocks.iter().flat_map(move |block| {
            let first = start;
            start += block.nrows();
            block.rows().into_iter().map(move |row| (first, row))
        })
    }
}

/// One column to be coded, all slices equally long, everything finite.
pub(super) struct Column<'a> {
    /// In weight units.
    pub(super) targets: &'a [f32],
    pub(super) steps: &'a [f32],
    /// First table of each row's bucket.
    pub(super) first_tables: &'a [u16],
}

/// Rows that the longest window of survivors' own errors moves by; it holds at most twice as many.
const MAX_DELAY: usize = 32;

/// A metric that no real path reaches; for states that the start cannot lead to.
const UNREACHABLE: f32 = 1e30;

/// Rows between two subtractions of the least path metric, so that f32 keeps its precision.
const ROWS_PER_NORMALISATION: usize = 64;

/// The search; keeps its memory between calls.
#[derive(Debug, Clone, Default)]
pub(super) struct FeedbackSearch {
    /// Survivor's state before each row and its symbol, `[n_rows][n_states]`.
    from: Vec<u8>,
    symbols: Vec<i32>,
    /// Errors of the survivors in the rows that are not decided yet, `[row][n_states]`, weight units.
    window: Vec<f32>,
    /// Errors of the decided rows, weight units.
    decided: Vec<f32>,
    /// What the decided rows feed into the next ones.
    fed: Vec<f32>,
}

impl FeedbackSearch {
    /// Writes the symbols of a path, cheap in squared steps plus Lagrangian times bits, that starts in state 0.
    ///
    /// Each survivor knows its own errors of the last 16 to 64 rows; what lies further back is taken from the survivor
    /// that was cheapest then. Mostly that is their common past; where it is not, a survivor is priced a little wrong.
    /// Ties go to the lower state.
    pub(super) fn search(
        &mut self,
        codec: &TrellisCodec,
        column: &Column<'_>,
        feedback: &RowFeedback,
        symbols: &mut [i32],
    ) {
        match codec.code().n_states() {
            1 => self.search_in::<1, 16>(codec, column, feedback, symbols),
            4 => self.search_in::<4, 16>(codec, column, feedback, symbols),
            8 => self.search_in::<8, 16>(codec, column, feedback, symbols),
            16 => self.search_in::<16, 16>(codec, column, feedback, symbols),
            64 => self.search_in::<64, 24>(codec, column, feedback, symbols),
            _ => self.search_in::<256, MAX_DELAY>(codec, column, feedback, symbols),
        }
    }

    fn search_in<const STATES: usize, const DELAY: usize>(
        &mut self,
        codec: &TrellisCodec,
        column: &Column<'_>,
        feedback: &RowFeedback,
        symbols: &mut [i32],
    ) {
        let n_rows = symbols.len();
        let rows: Vec<_> = feedback.rows().collect();
        self.reset(n_rows, STATES);
        let next_states = codec.code().next_states();
        let mut metrics = [UNREACHABLE; STATES];
        metrics[0] = 0.0;
        // What the undecided rows of each survivor feed into the next row.
        let mut own = [0.0_f32; STATES];
        let mut n_decided = 0;
        for row in 0..n_rows {
            let (target, step) = (column.targets[row], column.steps[row]);
            let common = target - self.fed[row];
            let mut best = [f32::INFINITY; STATES];
            let mut from = [0_u8; STATES];
            let mut symbol = [0_i32; STATES];
            let mut error = [0.0_f32; STATES];
            for state in 0..STATES {
                if metrics[state] >= UNREACHABLE {
                    continue;
                }
                let value = ((common - own[state]) / step).clamp(-MAX_POINT, MAX_POINT);
                let parity = if STATES == 1 { 0 } else { state & 1 };
                let branches = codec.pair(value, column.first_tables[row], parity);
                for (bit, branch) in branches.into_iter().enumerate() {
                    let next = usize::from(next_states[state][bit]);
                    let metric = metrics[state] + branch.cost;
                    if metric < best[next] {
                        best[next] = metric;
                        from[next] = state as u8;
                        symbol[next] = branch.symbol;
                        error[next] = branch.point * step - target;
                    }
                }
            }
            metrics = best.map(|metric| metric.min(UNREACHABLE));
            self.from[row * STATES..][..STATES].copy_from_slice(&from);
            self.symbols[row * STATES..][..STATES].copy_from_slice(&symbol);
            own = self.advance::<STATES>(row, n_decided, &from, &error, rows.get(row + 1));
            if row + 1 == n_decided + 2 * DELAY {
                let best = cheapest(&metrics);
                for (idx, decided) in self.decided[n_decided..][..DELAY].iter_mut().enumerate() {
                    *decided = self.window[idx * STATES + best];
                }
                self.window
                    .copy_within(DELAY * STATES..2 * DELAY * STATES, 0);
                n_decided += DELAY;
                for (row, (first, weights)) in rows.iter().enumerate().skip(row + 1).take(DELAY) {
                    self.fed[row] = match n_decided > *first {
                        true => dot(
                            &weights.as_slice().unwrap_or_default()[..n_decided - first],
                            &self.decided[*first..n_decided],
                        ),
                        false => 0.0,
                    };
                }
                // The rows just decided are no longer the survivors' own.
                own = self.own::<STATES>(row + 1, n_decided, rows.get(row + 1));
            }
            if row % ROWS_PER_NORMALISATION == 0 {
                let least = metrics[cheapest(&metrics)];
                for metric in metrics.iter_mut().filter(|metric| **metric < UNREACHABLE) {
                    *metric -= least;
                }
            }
        }
        let mut state = cheapest(&metrics);
        for (row, out) in symbols.iter_mut().enumerate().rev() {
            *out = self.symbols[row * STATES + state];
            state = usize::from(self.from[row * STATES + state]);
        }
    }

    fn reset(&mut self, n_rows: usize, n_states: usize) {
        self.from.resize(n_rows * n_states, 0);
        self.symbols.resize(n_rows * n_states, 0);
        self.window.clear();
        self.window.resize(2 * MAX_DELAY * n_states, 0.0);
        self.decided.clear();
        self.decided.resize(n_rows, 0.0);
        self.fed.clear();
        self.fed.resize(n_rows, 0.0);
    }

    /// Carries the survivors' errors over to their next states, adds those of `row`, and sums up what they feed into
    /// the row after it.
    fn advance<const STATES: usize>(
        &mut self,
        row: usize,
        n_decided: usize,
        from: &[u8; STATES],
        error: &[f32; STATES],
        next: Option<&(usize, ArrayView1<'_, f32>)>,
    ) -> [f32; STATES] {
        let n_before = row - n_decided;
        for errors in self.window[..n_before * STATES].as_chunks_mut::<STATES>().0 {
            *errors = from.map(|state| errors[usize::from(state) % STATES]);
        }
        self.window[n_before * STATES..][..STATES].copy_from_slice(error);
        self.own(row + 1, n_decided, next)
    }

    /// What the survivors' undecided errors feed into row `row`, whose part of `M` is `weights`.
    fn own<const STATES: usize>(
        &self,
        row: usize,
        n_decided: usize,
        weights: Option<&(usize, ArrayView1<'_, f32>)>,
    ) -> [f32; STATES] {
        let mut own = [0.0; STATES];
        let Some((first, weights)) = weights else {
            return own;
        };
        let start = n_decided.max(*first);
        let errors = self.window[(start - n_decided) * STATES..(row - n_decided) * STATES]
            .as_chunks::<STATES>()
            .0;
        for (errors, &weight) in errors.iter().zip(weights.iter().skip(start - first)) {
            for (own, error) in own.iter_mut().zip(errors) {
                *own += weight * error;
            }
        }
        own
    }
}

fn cheapest<const STATES: usize>(metrics: &[f32; STATES]) -> usize {
    let mut best = 0;
    for (state, metric) in metrics.iter().enumerate() {
        if *metric < metrics[best] {
            best = state;
        }
    }
    best
}

/// A dot product in sixteen sums: the same bits everywhere, and as fast as vectors get without choosing them.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests;
