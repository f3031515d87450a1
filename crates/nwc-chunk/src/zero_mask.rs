//! Which weights of a matrix are exactly zero.

use ndarray::ArrayView2;

/// Columns in a group: the bits of a word.
const GROUP: usize = u32::BITS as usize;

/// Which weights of a matrix `[rows, cols]` are exactly zero, of either sign: a bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZeroMask {
    rows: usize,
    cols: usize,
    /// `[groups of 32 columns][rows]`, the group's first column in the lowest bit; bits beyond the last column are 0.
    words: Vec<u32>,
}

impl ZeroMask {
    /// Columns whose bits share a word.
    pub const GROUP: usize = GROUP;

    /// No zeros in a matrix `[rows, cols]`.
    ///
    /// Takes memory: `rows · cols / 8` bytes.
    pub fn none(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            words: vec![0; cols.div_ceil(GROUP) * rows],
        }
    }

    /// The zeros of `weights`, `[rows, cols]`.
    pub fn of(weights: ArrayView2<'_, f32>) -> Self {
        let mut mask = Self::none(weights.nrows(), weights.ncols());
        for (i, row) in weights.rows().into_iter().enumerate() {
            for (j, &w) in row.iter().enumerate() {
                mask.words[j / GROUP * mask.rows + i] |= u32::from(w == 0.0) << (j % GROUP);
            }
        }
        mask
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of zeros.
    pub fn n_zeros(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Number of weights that are not zero.
    pub fn n_kept(&self) -> usize {
        self.rows * self.cols - self.n_zeros()
    }

    /// Whether the weight at (row, col) is zero; false outside of the matrix.
    pub fn is_zero(&self, row: usize, col: usize) -> bool {
        row < self.rows
            && col < self.cols
            && self.words[col / GROUP * self.rows + row] >> (col % GROUP) & 1 == 1
    }

    /// The words of the columns `GROUP · group ..`, one a row; none beyond the matrix.
    pub fn group(&self, group: usize) -> &[u32] {
        let start = group.saturating_mul(self.rows);
        self.words.get(start..start + self.rows).unwrap_or_default()
    }

    /// As [`ZeroMask::group`], to be set; bits beyond the last column must stay 0.
    pub fn group_mut(&mut self, group: usize) -> &mut [u32] {
        let start = group.saturating_mul(self.rows);
        self.words
            .get_mut(start..start + self.rows)
            .unwrap_or_default()
    }

    /// The rows of column `col` that are not zero, in order; none beyond the matrix.
    pub fn kept_rows(&self, col: usize) -> impl Iterator<Item = usize> + '_ {
        let words = match col < self.cols {
            true => self.group(col / GROUP),
            false => &[],
        };
        let is_kept = move |word: &u32| word >> (col % GROUP) & 1 == 0;
        words
            .iter()
            .enumerate()
            .filter(move |(_, word)| is_kept(word))
            .map(|(row, _)| row)
    }

    /// Weights of each row that are not zero.
    pub fn kept_in_rows(&self) -> Vec<usize> {
        let mut kept = vec![self.cols; self.rows];
        for words in self.words.chunks(self.rows.max(1)) {
            for (kept, word) in kept.iter_mut().zip(words) {
                *kept -= word.count_ones() as usize;
            }
        }
        kept
    }

    /// Weights of each column that are not zero.
    pub fn kept_in_cols(&self) -> Vec<usize> {
        let mut kept = vec![self.rows; self.cols];
        for (kept, words) in kept
            .chunks_mut(GROUP)
            .zip(self.words.chunks(self.rows.max(1)))
        {
            for (bit, kept) in kept.iter_mut().enumerate() {
                *kept -= words.iter().filter(|&&word| word >> bit & 1 == 1).count();
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_mask_says_what_is_zero(rows in 0_usize..9, cols in 0_usize..70, seed in any::<u32>()) {
            let value = |i: usize, j: usize| match (i as u32 * 71 + j as u32).wrapping_mul(seed | 1) >> 30 {
                0 => 0.0_f32,
                1 => -0.0,
                _ => f32::from_bits(1),
            };
            let weights = Array2::from_shape_fn((rows, cols), |(i, j)| value(i, j));
            let mask = ZeroMask::of(weights.view());
            prop_assert_eq!((mask.rows(), mask.cols()), (rows, cols));
            let (mut in_rows, mut in_cols) = (vec![0; rows], vec![0; cols]);
            for ((i, j), &w) in weights.indexed_iter() {
                prop_assert_eq!(mask.is_zero(i, j), w == 0.0);
                in_rows[i] += usize::from(w != 0.0);
                in_cols[j] += usize::from(w != 0.0);
            }
            prop_assert_eq!(mask.n_kept(), in_rows.iter().sum::<usize>());
            prop_assert_eq!(mask.n_zeros() + mask.n_kept(), rows * cols);
            for (col, &n) in in_cols.iter().enumerate() {
                prop_assert_eq!(mask.kept_rows(col).count(), n);
                prop_assert!(mask.kept_rows(col).all(|row| !mask.is_zero(row, col)));
            }
            prop_assert_eq!(mask.kept_in_rows(), in_rows);
            prop_assert_eq!(mask.kept_in_cols(), in_cols);
            prop_assert!(!mask.is_zero(rows, 0) && !mask.is_zero(0, cols));
            prop_assert_eq!(mask.kept_rows(cols).count(), 0);
        }
    }
}
