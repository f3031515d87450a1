//! From a slot to its bin: what a decoder looks up, prepared once and shared.

use crate::table_set::TableSet;

/// Buckets of all tables together take no more than this, so that they stay in the second cache...
const BUCKET_BYTES: usize = 1 << 20;
/// ...unless that would leave a table with fewer buckets than 2 to this power.
const MIN_BUCKET_BITS: u32 = 6;
/// More buckets than 2 to this power would push each other out of the first cache.
const MAX_BUCKET_BITS: u32 = 12;

/// Lookup tables of a [`TableSet`], prepared once, shared by any number of decoders.
///
/// A slot's high bits pick a bucket, which names the first bin that reaches into it; a short scan finds the bin.
/// At a precision of 12 bits and less there is a bucket for each slot, and nothing to scan.
#[derive(Debug, Clone)]
pub struct DecodeTables {
    pub(crate) precision: u32,
    /// Slots in a bucket, as a power of 2.
    pub(crate) bucket_shift: u32,
    /// Invariant: not empty.
    pub(crate) tables: Vec<TableLookup>,
    /// First bin of each bucket, for each table `1 << (precision − bucket_shift)` entries.
    pub(crate) buckets: Vec<u16>,
    /// Start and mass of each bin of each table, as in [`crate::table_set::FlatBins`].
    pub(crate) intervals: Vec<u32>,
}

/// Where one table's lookups are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableLookup {
    pub(crate) bucket_base: u32,
    pub(crate) bin_base: u32,
    pub(crate) min_symbol: i32,
    pub(crate) n_symbols: u32,
}

impl DecodeTables {
    /// Prepares the lookups of `tables`.
    pub fn new(tables: &TableSet) -> Self {
        let precision = tables.precision();
        let per_table = (BUCKET_BYTES / size_of::<u16>() / tables.len()).max(1);
        let bucket_bits = per_table
            .ilog2()
            .clamp(MIN_BUCKET_BITS, MAX_BUCKET_BITS)
            .min(precision);
        let bucket_shift = precision - bucket_bits;
        let mut buckets = Vec::with_capacity(tables.len() << bucket_bits);
        let mut lookups = Vec::with_capacity(tables.len());
        for (table, &bin_base) in tables.tables().iter().zip(&tables.flat().bases) {
            lookups.push(TableLookup {
                bucket_base: buckets.len() as u32,
                bin_base,
                min_symbol: table.min_symbol(),
                n_symbols: table.n_symbols() as u32,
            });
            let mut bin = 0;
            for bucket in 0..1_u32 << bucket_bits {
                // The last entry of the cdf is above every slot.
                while table.cdf()[bin + 1] <= bucket << bucket_shift {
                    bin += 1;
                }
                buckets.push(bin as u16);
            }
        }
        let intervals = tables.flat().intervals.clone();
        Self {
            precision,
            bucket_shift,
            tables: lookups,
            buckets,
            intervals,
        }
    }

    /// Number of tables.
    pub fn n_tables(&self) -> usize {
        self.tables.len()
    }

    /// The bin that holds `slot`, and its start and mass.
    #[inline(always)]
    pub(crate) fn find(&self, table: &TableLookup, slot: u32) -> (u32, u32, u32) {
        let mut bin =
            u32::from(self.buckets[(table.bucket_base + (slot >> self.bucket_shift)) as usize]);
        loop {
            let interval = self.intervals[(table.bin_base + bin) as usize];
            let (start, mass) = (interval & 0xffff, interval >> 16);
            // The bucket's bin starts at or before the slot, and the last bin ends after every slot.
            if slot < start + mass {
                return (bin, start, mass);
            }
            bin += 1;
        }
    }
}
