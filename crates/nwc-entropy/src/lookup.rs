//! From a slot to its bin: what a decoder looks up, prepared once and shared.

use crate::LANES;
use crate::backend::Backend;
use crate::table_set::{TableRange, TableSet};

/// Buckets of all tables together take no more than this, so that they stay in the second cache...
const BUCKET_BYTES: usize = 1 << 20;
/// ...unless that would leave a table with fewer buckets than 2 to this power.
const MIN_BUCKET_BITS: u32 = 6;
/// More buckets than 2 to this power would push each other out of the first cache.
const MAX_BUCKET_BITS: u32 = 12;

/// Lookup tables of a [`TableSet`], prepared once, shared by any number of decoders.
///
/// A slot's high bits pick a bucket, which names the first bin that reaches into it; a short scan finds the bin.
/// At a precision of 12 bits and less there is a bucket for each slot of a table, as long as the set is small, and
/// nothing to scan.
#[derive(Debug, Clone)]
pub struct DecodeTables {
    pub(crate) precision: u32,
    /// Buckets of a table, as a power of 2; at most `precision`.
    pub(crate) bucket_bits: u32,
    pub(crate) n_tables: usize,
    /// First bin of each bucket, `1 << bucket_bits` a table, as an index into `intervals` and `symbols`.
    ///
    /// Invariant: the bin is of the bucket's table, and starts at or before the bucket's first slot.
    pub(crate) buckets: Vec<u32>,
    /// Start and mass of each bin of each table, as in [`crate::table_set::FlatBins`].
    ///
    /// Invariant: the bins of a table follow each other, and the last one ends at `1 << precision`.
    pub(crate) intervals: Vec<u32>,
    /// Each bin's symbol, for the escape the largest one plus 1 (wrapping around). As long as `intervals`.
    pub(crate) symbols: Vec<i32>,
    /// Each table's symbols and bins.
    pub(crate) ranges: Vec<TableRange>,
    /// Invariant: this machine has it.
    pub(crate) backend: Backend,
}

impl DecodeTables {
    /// Prepares the lookups of `tables`, for the best instructions that this machine has.
    pub fn new(tables: &TableSet) -> Self {
        Self::with_backend(tables, Backend::best())
    }

    /// Prepares the lookups of `tables`, for `backend` or the best there is below it.
    pub fn with_backend(tables: &TableSet, backend: Backend) -> Self {
        let precision = tables.precision();
        let per_table = (BUCKET_BYTES / size_of::<u32>() / tables.len()).max(1);
        let bucket_bits = per_table
            .ilog2()
            .clamp(MIN_BUCKET_BITS, MAX_BUCKET_BITS)
            .min(precision);
        let flat = tables.flat();
        let mut buckets = Vec::with_capacity(tables.len() << bucket_bits);
        let mut symbols = Vec::with_capacity(flat.intervals.len());
        for (table, range) in tables.tables().iter().zip(&flat.ranges) {
            let mut bin = 0;
            for bucket in 0..1_u32 << bucket_bits {
                // The last entry of the cdf is above every slot.
                while table.cdf()[bin + 1] <= bucket << (precision - bucket_bits) {
                    bin += 1;
                }
                buckets.push(range.bin_base + bin as u32);
            }
            symbols.extend(
                (0..=table.n_symbols() as i32).map(|bin| table.min_symbol().wrapping_add(bin)),
            );
        }
        Self {
            precision,
            bucket_bits,
            n_tables: tables.len(),
            buckets,
            intervals: flat.intervals.clone(),
            symbols,
            ranges: flat.ranges.clone(),
            backend: backend.or_available(),
        }
    }

    /// Number of tables.
    pub fn n_tables(&self) -> usize {
        self.n_tables
    }

    /// The instructions that decoders of these tables use.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// For each lane of the valid indices `table_idx`: what to add to a bin's index to get its symbol (wrapping).
    #[cfg(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_endian = "little")
    ))]
    pub(crate) fn symbol_shifts(&self, table_idx: &[u16; LANES]) -> [u32; LANES] {
        table_idx.map(|idx| {
            let range = &self.ranges[usize::from(idx)];
            (range.min_symbol as u32).wrapping_sub(range.bin_base)
        })
    }

    /// Takes one symbol of table `idx`, which must be less than `n_tables`, from `state`: the symbol, whether it is
    /// the escape, and the state before a word is read.
    #[inline(always)]
    pub(crate) fn pop(&self, idx: u16, state: u32) -> (i32, bool, u32) {
        let slot = state & ((1 << self.precision) - 1);
        let bucket = usize::from(idx) << self.bucket_bits
            | (slot >> (self.precision - self.bucket_bits)) as usize;
        let mut bin = self.buckets[bucket] as usize;
        let mut interval = self.intervals[bin];
        while slot >= (interval & 0xffff) + (interval >> 16) {
            bin += 1;
            interval = self.intervals[bin];
        }
        let (start, mass) = (interval & 0xffff, interval >> 16);
        let next = mass * (state >> self.precision) + slot - start;
        // Only the last bin of a table ends at the total, and that is the escape.
        (self.symbols[bin], start + mass == 1 << self.precision, next)
    }
}
