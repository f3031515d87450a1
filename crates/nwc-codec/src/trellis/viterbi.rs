//! The search for the cheapest path through a trellis, whatever its costs come from.
//!
//! A row offers four branches, one per parity class and coset; the search picks one branch a row
//! such that the sequence is a path of the code and the sum of the costs is least. It knows nothing
//! of weights: scaled weights, latents of a transform, anything real that a caller can price.

use super::TrellisCode;

/// The four branches that a row offers; index `2 * parity + (symbol & 1)`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Branches {
    /// Cost of each branch, in any one unit; finite.
    pub(crate) cost: [f32; 4],
    /// Symbol that each branch stands for; its lowest bit is the branch index's.
    pub(crate) symbol: [i32; 4],
}

/// A metric that no real path reaches; for states that the start cannot lead to.
const UNREACHABLE: f32 = 1e30;

/// Rows between two subtractions of the least path metric, so that f32 keeps its precision.
const ROWS_PER_NORMALISATION: usize = 64;

/// Viterbi search over one code; keeps its memory between calls.
#[derive(Debug, Clone)]
pub(crate) struct Viterbi {
    code: TrellisCode,
    /// Surviving branch of each state, one byte each, `[n_rows][n_states]`.
    decisions: Vec<u8>,
}

impl Viterbi {
    /// A search over `code`.
    pub(crate) fn new(code: TrellisCode) -> Self {
        Self {
            code,
            decisions: Vec::new(),
        }
    }

    /// Writes the symbols of the cheapest path that starts in state 0 and may end in any.
    ///
    /// `branches` and `symbols` have one entry a row; where one is longer its rest is left alone.
    /// Ties go to the lower branch, so the result is the same everywhere.
    pub(crate) fn search(&mut self, branches: &[Branches], symbols: &mut [i32]) {
        // The constants are `h0 / 2` without its top bit and `h1 / 2` (see `TrellisCode`).
        match self.code.n_states() {
            4 => self.search_in::<2, 0o0, 0o1>(branches, symbols),
            8 => self.search_in::<4, 0o1, 0o2>(branches, symbols),
            16 => self.search_in::<8, 0o1, 0o2>(branches, symbols),
            64 => self.search_in::<32, 0o1, 0o12>(branches, symbols),
            256 => self.search_in::<128, 0o46, 0o171>(branches, symbols),
            _ => {
                for (row, symbol) in branches.iter().zip(symbols) {
                    *symbol = row.symbol[usize::from(row.cost[1] < row.cost[0])];
                }
            }
        }
    }

    fn search_in<const HALF: usize, const G0: usize, const G1: usize>(
        &mut self,
        branches: &[Branches],
        symbols: &mut [i32],
    ) {
        let n_rows = branches.len().min(symbols.len());
        self.decisions.clear();
        self.decisions.resize(n_rows * 2 * HALF, 0);
        // Metrics of the even and of the odd states, apart: they are different parity classes.
        let mut even = [UNREACHABLE; HALF];
        let mut odd = [UNREACHABLE; HALF];
        even[0] = 0.0;
        let rows = branches
            .iter()
            .zip(self.decisions.chunks_exact_mut(2 * HALF));
        for (row, (branch, decisions)) in rows.enumerate() {
            if row % ROWS_PER_NORMALISATION == 0 {
                normalise(&mut even, &mut odd);
            }
            let (low, high) = decisions.split_at_mut(HALF);
            let next_low = select::<HALF, 0, G1>(&even, branch.cost[0], branch.cost[1], low);
            let next_high = select::<HALF, G0, G1>(&odd, branch.cost[2], branch.cost[3], high);
            for pair in 0..HALF / 2 {
                even[pair] = next_low[2 * pair];
                odd[pair] = next_low[2 * pair + 1];
                even[HALF / 2 + pair] = next_high[2 * pair];
                odd[HALF / 2 + pair] = next_high[2 * pair + 1];
            }
        }
        let mut state = cheapest_state(&even, &odd);
        for row in (0..n_rows).rev() {
            let parity = usize::from(state >= HALF);
            let bit = usize::from(self.decisions[row * 2 * HALF + state]);
            symbols[row] = branches[row].symbol[2 * parity + bit];
            state = self.code.previous(state, parity, bit);
        }
    }
}

/// Adds and compares the two branches into each of the states that one parity class leads to.
fn select<const HALF: usize, const G0: usize, const G1: usize>(
    metrics: &[f32; HALF],
    cost_0: f32,
    cost_1: f32,
    decisions: &mut [u8],
) -> [f32; HALF] {
    let mut next = [0.0; HALF];
    for (state, (next, decision)) in next.iter_mut().zip(decisions).enumerate() {
        let path_0 = metrics[state ^ G0] + cost_0;
        let path_1 = metrics[state ^ G0 ^ G1] + cost_1;
        *decision = u8::from(path_1 < path_0);
        *next = if path_1 < path_0 { path_1 } else { path_0 };
    }
    next
}

fn normalise<const HALF: usize>(even: &mut [f32; HALF], odd: &mut [f32; HALF]) {
    let least = even
        .iter()
        .chain(odd.iter())
        .copied()
        .fold(f32::MAX, f32::min);
    for metric in even.iter_mut().chain(odd.iter_mut()) {
        *metric -= least;
    }
}

fn cheapest_state<const HALF: usize>(even: &[f32; HALF], odd: &[f32; HALF]) -> usize {
    let mut best = (f32::MAX, 0);
    for (pair, (&even, &odd)) in even.iter().zip(odd).enumerate() {
        for (metric, state) in [(even, 2 * pair), (odd, 2 * pair + 1)] {
            if metric < best.0 {
                best = (metric, state);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trellis::code::N_STATES;
    use rand::{Rng, SeedableRng};

    /// Cost of the cheapest path by trying all of them.
    fn exhaustive(code: &TrellisCode, branches: &[Branches], state: u8) -> f32 {
        let Some((branch, rest)) = branches.split_first() else {
            return 0.0;
        };
        let parity = usize::from(code.parity(state));
        (0..2)
            .map(|bit| {
                let next = code.next_states()[usize::from(state)][bit];
                branch.cost[2 * parity + bit] + exhaustive(code, rest, next)
            })
            .fold(f32::MAX, f32::min)
    }

    fn cost_of(code: &TrellisCode, branches: &[Branches], symbols: &[i32]) -> f32 {
        let mut state = 0;
        let mut cost = 0.0;
        for (branch, &symbol) in branches.iter().zip(symbols) {
            let bit = (symbol & 1) as usize;
            let idx = 2 * usize::from(code.parity(state)) + bit;
            assert_eq!(branch.symbol[idx], symbol, "symbol of another branch");
            cost += branch.cost[idx];
            state = code.next_states()[usize::from(state)][bit];
        }
        cost
    }

    #[test]
    fn finds_the_cheapest_path() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for n_states in N_STATES {
            let code = TrellisCode::new(n_states).unwrap();
            let mut viterbi = Viterbi::new(code.clone());
            for n_rows in [0, 1, 2, 5, 12] {
                let branches: Vec<_> = (0..n_rows)
                    .map(|_| Branches {
                        cost: std::array::from_fn(|_| rng.random::<f32>()),
                        symbol: std::array::from_fn(|idx| {
                            2 * rng.random_range(-9..9) + (idx as i32 & 1)
                        }),
                    })
                    .collect();
                let mut symbols = vec![0; n_rows];
                viterbi.search(&branches, &mut symbols);
                let found = cost_of(&code, &branches, &symbols);
                let least = exhaustive(&code, &branches, 0);
                assert!((found - least).abs() < 1e-4, "{n_states}: {found} {least}");
            }
        }
    }
}
