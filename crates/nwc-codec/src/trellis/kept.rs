//! Which weights the lanes of a group of columns hold where some are zero and have no symbol.

use std::ops::Range;

use nwc_chunk::ZeroMask;
use nwc_entropy::LANES;

/// The weights of a group of columns that are not zero: lane by lane, fullest lane first.
pub(super) struct KeptLanes {
    /// Column in the group of each lane.
    lanes: Vec<usize>,
    /// Rows of each lane's weights, one lane after the other.
    rows: Vec<u32>,
    /// Where the rows of each lane start.
    starts: [usize; LANES],
    /// Weights of each lane; not increasing.
    counts: [usize; LANES],
}

impl KeptLanes {
    /// Those of the columns `group`, at most [`LANES`] from a multiple of that, of the matrix of `zeros`.
    pub(super) fn new(zeros: &ZeroMask, group: Range<usize>) -> Self {
        let words = zeros.group(group.start / ZeroMask::GROUP);
        let width = group.len().min(LANES);
        let mut n_kept = [0_usize; LANES];
        for word in words {
            for (bit, n) in n_kept.iter_mut().enumerate().take(width) {
                *n += (!word >> bit & 1) as usize;
            }
        }
        let mut lanes: Vec<usize> = (0..width).collect();
        // The sort is stable: lanes as full as each other stay in order.
        lanes.sort_by_key(|&col| std::cmp::Reverse(n_kept[col]));
        let (mut starts, mut counts) = ([0; LANES], [0; LANES]);
        let mut of_column = [0; LANES];
        let mut n_rows = 0;
        for (lane, &col) in lanes.iter().enumerate() {
            (starts[lane], counts[lane], of_column[col]) = (n_rows, n_kept[col], n_rows);
            n_rows += n_kept[col];
        }
        let mut rows = vec![0; n_rows];
        for (row, &word) in words.iter().enumerate() {
            let mut left = !word;
            if width < LANES {
                left &= (1 << width) - 1;
            }
            while left != 0 {
                let at = &mut of_column[left.trailing_zeros() as usize];
                rows[*at] = row as u32;
                *at += 1;
                left &= left - 1;
            }
        }
        Self {
            lanes,
            rows,
            starts,
            counts,
        }
    }

    /// Column in the group of each lane.
    pub(super) fn lanes(&self) -> &[usize] {
        &self.lanes
    }

    /// Steps that the fullest lane takes.
    pub(super) fn n_steps(&self) -> usize {
        self.counts[0]
    }

    /// Lanes that have a weight at `step`: the first ones.
    #[inline(always)]
    pub(super) fn width(&self, step: usize) -> usize {
        self.counts.iter().take_while(|&&n| n > step).count()
    }

    /// Row of the weight of a lane at a step that it has.
    #[inline(always)]
    pub(super) fn row(&self, lane: usize, step: usize) -> usize {
        self.rows[self.starts[lane] + step] as usize
    }
}

// A word of the mask is a step of the entropy coder.
const _: () = assert!(LANES == ZeroMask::GROUP);
