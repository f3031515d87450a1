//! Reorders of channels that leave the model's function exactly as it is.

/// An order of `len` channels: position `i` takes what was at `source[i]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permutation {
    source: Vec<usize>,
}

impl Permutation {
    /// Everything stays.
    pub(crate) fn identity(len: usize) -> Self {
        Self {
            source: (0..len).collect(),
        }
    }

    /// A random order that depends on nothing but `seed` and `len` (Fisher and Yates' shuffle).
    pub(crate) fn seeded(len: usize, seed: u64) -> Self {
        let mut source: Vec<usize> = (0..len).collect();
        let mut state = seed;
        for last in (1..len).rev() {
            // The high half of a 64 × 64-bit product is a number below `last + 1`.
            let other = ((u128::from(next_random(&mut state)) * (last as u128 + 1)) >> 64) as usize;
            source.swap(last, other);
        }
        Self { source }
    }

    /// Reorders the rows of a row-major matrix; a vector is a matrix of one column.
    pub(crate) fn rows(&self, values: &[f32], n_cols: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(values.len());
        for &row in &self.source {
            out.extend_from_slice(&values[row * n_cols..(row + 1) * n_cols]);
        }
        out
    }

    /// Reorders the columns of a row-major matrix of `self.len()` columns.
    pub(crate) fn cols(&self, values: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(values.len());
        for row in values.chunks_exact(self.source.len().max(1)) {
            out.extend(self.source.iter().map(|&col| row[col]));
        }
        out
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): written out so that the order never changes with a crate's version.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Undoes GGUF's order of the query and key rows.
///
/// GGUF's Llama layout interleaves the two halves of a head for rotary embeddings of neighbours: its row 2·j + s of
/// a head is row s·(head_dim/2) + j here. `values` is `[n_heads * head_dim, n_cols]`, row-major.
pub(crate) fn split_rotary_halves(values: &[f32], head_dim: usize, n_cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * n_cols) {
        for half in 0..2 {
            for pair in 0..head_dim / 2 {
                let row = 2 * pair + half;
                out.extend_from_slice(&head[row * n_cols..(row + 1) * n_cols]);
            }
        }
    }
    out
}

/// Puts query and key rows in GGUF's order: what [`split_rotary_halves`] undoes.
pub(crate) fn interleave_rotary_halves(values: &[f32], head_dim: usize, n_cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * n_cols) {
        for pair in 0..head_dim / 2 {
            for half in 0..2 {
                let row = half * (head_dim / 2) + pair;
                out.extend_from_slice(&head[row * n_cols..(row + 1) * n_cols]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_the_published_ones() {
        // First outputs of the reference implementation for seed 1234567.
        let mut state = 1_234_567;
        let numbers = [next_random(&mut state), next_random(&mut state)];
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn a_seeded_order_holds_every_channel_once() {
        for len in [0, 1, 2, 576] {
            let mut source = Permutation::seeded(len, 7).source;
            source.sort_unstable();
            assert_eq!(source, (0..len).collect::<Vec<_>>());
        }
        assert_ne!(Permutation::seeded(576, 7), Permutation::seeded(576, 8));
        assert_ne!(Permutation::seeded(576, 7), Permutation::identity(576));
    }

    #[test]
    fn rows_and_columns_move_as_said() {
        let order = Permutation {
            source: vec![2, 0, 1],
        };
        assert_eq!(
            order.rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2),
            [5.0, 6.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(
            order.cols(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]
        );
    }

    #[test]
    fn a_product_does_not_depend_on_the_order_of_its_inner_channels() {
        let order = Permutation::seeded(4, 3);
        let (down, up) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        assert_eq!(
            product(&order.cols(&down), &order.rows(&up, 1)),
            product(&down, &up)
        );
    }

    #[test]
    fn rotary_halves_are_put_back() {
        // Two heads of four rows, one column: what the converter makes of rows 0..8.
        let interleaved = [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0];
        assert_eq!(
            split_rotary_halves(&interleaved, 4, 1),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
        );
    }

    #[test]
    fn rotary_halves_are_interleaved_as_they_are_split() {
        // Two heads of four rows, two columns.
        let values: Vec<f32> = (0_u8..16).map(f32::from).collect();
        let interleaved = interleave_rotary_halves(&values, 4, 2);
        assert_eq!(interleaved[..8], [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(split_rotary_halves(&interleaved, 4, 2), values);
    }
}
