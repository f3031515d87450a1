//! The trellis codes: Ungerboeck's rate-1/2 codes as next-state and parity tables.
//!
//! A code joins the label bits of the integers `k = 2s + p`: `z0 = p`, the parity class that the
//! state dictates, and `z1 = s & 1`, the coset within it that the symbol picks. A sequence is a
//! code word when `h0(D) z0(D) + h1(D) z1(D) = 0` over GF(2). With `z0` solved for, the shift
//! register in observer form is one line: `next = state / 2 ⊕ z0·(h0 / 2) ⊕ z1·(h1 / 2)`, and
//! `p = state & 1`.
//!
//! Source: G. Ungerboeck, "Channel coding with multilevel/phase signals", IEEE Trans. Inf. Theory
//! 28 (1982), table I (amplitude modulation); for quantisation Marcellin and Fischer, IEEE Trans.
//! Commun. 38 (1990).

use super::{Error, Result};

/// Most states that a code of this version has.
const MAX_STATES: usize = 256;

/// Numbers of states that this version knows; one state is the entropy-coded scalar quantiser.
pub(crate) const N_STATES: [usize; 6] = [1, 4, 8, 16, 64, 256];

/// One rate-1/2 trellis code as tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrellisCode {
    n_states: usize,
    /// Parity polynomials without their lowest bit, `h0 / 2` and `h1 / 2`.
    taps: [usize; 2],
    /// `[state][symbol & 1]`; states beyond the last lead nowhere but to 0.
    next_state: Box<[[u8; 2]; MAX_STATES]>,
}

impl TrellisCode {
    /// The code with `n_states` states, one of [`N_STATES`].
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such code.
    pub(crate) fn new(n_states: usize) -> Result<Self> {
        let [h0, h1] = match n_states {
            // One state, no memory: always the even integers.
            1 => [0, 0],
            4 => [0o5, 0o2],
            8 => [0o13, 0o4],
            16 => [0o23, 0o4],
            64 => [0o103, 0o24],
            256 => [0o515, 0o362],
            _ => {
                return Err(Error::Config {
                    field: "n_states",
                    found: n_states.to_string(),
                    allowed: format!("{N_STATES:?}"),
                });
            }
        };
        let taps: [usize; 2] = [h0 >> 1, h1 >> 1];
        let mut next_state = Box::new([[0; 2]; MAX_STATES]);
        for (state, next) in next_state.iter_mut().enumerate().take(n_states) {
            let parity_taps = if state & 1 == 1 { taps[0] } else { 0 };
            let straight = (state >> 1) ^ parity_taps;
            // There are at most 256 states, so a state fits a byte.
            *next = [straight as u8, (straight ^ taps[1]) as u8];
        }
        Ok(Self {
            n_states,
            taps,
            next_state,
        })
    }

    /// Number of states.
    pub(crate) fn n_states(&self) -> usize {
        self.n_states
    }

    /// Parity class of the integers that `state` may use: 0 even, 1 odd.
    pub(crate) fn parity(&self, state: u8) -> u8 {
        state & 1
    }

    /// `[state][symbol & 1]`: the state after a symbol.
    #[cfg(test)]
    pub(crate) fn next_states(&self) -> &[[u8; 2]; MAX_STATES] {
        &self.next_state
    }

    /// The state after `symbol` in `state`.
    #[inline(always)]
    pub(crate) fn next(&self, state: u8, symbol: i32) -> u8 {
        self.next_state[usize::from(state)][(symbol & 1) as usize]
    }

    /// The state before `state`, when its parity was `parity` and its symbol's lowest bit `bit`.
    pub(super) fn previous(&self, state: usize, parity: usize, bit: usize) -> usize {
        let shifted = state ^ (self.taps[0] * parity) ^ (self.taps[1] * bit);
        (shifted << 1) | parity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(n_states: usize) {
        let code = TrellisCode::new(n_states).unwrap();
        let mut n_into = vec![0; n_states];
        for state in 0..n_states {
            let [a, b] = code.next_states()[state];
            assert!(n_states == 1 || a != b, "the coset bit must matter");
            for (bit, next) in [a, b].into_iter().enumerate() {
                n_into[usize::from(next)] += 1;
                let parity = usize::from(code.parity(state as u8));
                assert_eq!(code.previous(usize::from(next), parity, bit), state);
                if n_states > 1 {
                    // What the Viterbi search relies on: the top bit of a state is the parity
                    // of both states before it.
                    assert_eq!(usize::from(next) >= n_states / 2, parity == 1);
                }
            }
        }
        assert!(n_into.iter().all(|&n| n == 2), "two branches enter a state");
    }

    #[test]
    fn tables_are_reversible_and_two_branches_enter_each_state() {
        N_STATES.into_iter().for_each(check);
    }

    /// More states, more distance; without the code it is 4 at most, that of parallel branches 16.
    #[test]
    fn free_distance_grows_with_the_states() {
        for (n_states, expected) in [(4, 9), (8, 10), (16, 11), (64, 14), (256, 17)] {
            assert_eq!(free_distance(n_states), expected, "{n_states} states");
        }
    }

    /// Least squared distance, in steps, of two code sequences that part at a state and meet again.
    ///
    /// The code is linear, so error sequences are code sequences; the least squared distance of
    /// points whose labels differ by `z1 z0` is 0, 1, 4, 1 for 00, 01, 10, 11.
    fn free_distance(n_states: usize) -> u32 {
        let code = TrellisCode::new(n_states).unwrap();
        let weight = |parity: u8, bit: usize| match (parity, bit) {
            (0, 0) => 0,
            (0, _) => 4,
            _ => 1,
        };
        let mut best = vec![u32::MAX; n_states];
        let mut todo = vec![(usize::from(code.next_states()[0][1]), 4)];
        let mut free = u32::MAX;
        while let Some((state, distance)) = todo.pop() {
            if distance >= best[state].min(free) {
                continue;
            }
            if state == 0 {
                free = distance;
                continue;
            }
            best[state] = distance;
            for bit in 0..2 {
                let next = usize::from(code.next_states()[state][bit]);
                todo.push((next, distance + weight(code.parity(state as u8), bit)));
            }
        }
        free
    }

    #[test]
    fn unknown_number_of_states_is_refused() {
        for n_states in [0, 2, 3, 32, 512] {
            assert!(matches!(
                TrellisCode::new(n_states),
                Err(Error::Config {
                    field: "n_states",
                    ..
                })
            ));
        }
    }
}
