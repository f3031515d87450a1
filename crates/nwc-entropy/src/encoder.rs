//! Symbols in, one substream out.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::layout::{self, Header};
use crate::table_set::{TableRange, TableSet};
use crate::{LANES, STATE_LOW, escape, simd};

/// Up to this many words lane 0 codes the whole substream alone: the states of the other lanes would cost more than
/// the time that they save is worth.
const MAX_WORDS_OF_ONE_LANE: usize = 256;

/// Collects the symbols of one substream, and codes them in [`StreamEncoder::finish`].
///
/// Symbols come in steps of up to [`LANES`], in the order in which they will be decoded. Memory: 4 bytes a symbol.
#[derive(Debug, Clone)]
pub struct StreamEncoder<'t> {
    tables: &'t TableSet,
    /// Index of each symbol's bin among all bins of the set.
    bins: Vec<u32>,
    /// Invariant: each 1 to `LANES`; their sum is `bins.len()`; there are at most `u32::MAX`.
    step_lens: Vec<u8>,
    escapes: Vec<u8>,
    /// Invariant: this machine has it.
    backend: Backend,
}

/// Words go in from the back: what is coded last is read first.
struct WordStack {
    words: Vec<u16>,
    /// Where the words start; before it the buffer is free.
    start: usize,
}

impl<'t> StreamEncoder<'t> {
    /// An empty substream over `tables`.
    pub fn new(tables: &'t TableSet) -> Self {
        Self::with_backend(tables, Backend::best())
    }

    /// An empty substream over `tables`, coded with `backend` or the best there is below it.
    pub fn with_backend(tables: &'t TableSet, backend: Backend) -> Self {
        let (bins, step_lens, escapes) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            tables,
            bins,
            step_lens,
            escapes,
            backend: backend.or_available(),
        }
    }

    /// Adds one step: `symbols[l]` is coded by table `table_idx[l]` in lane `l`. A step of no symbols is no step.
    ///
    /// # Errors
    /// [`Error::StepTooLong`], [`Error::LengthMismatch`], [`Error::TableIndexOutOfRange`], [`Error::TooManySteps`];
    /// nothing is added then.
    pub fn push_step(&mut self, table_idx: &[u16], symbols: &[i32]) -> Result<()> {
        if symbols.len() > LANES {
            return Err(Error::StepTooLong {
                len: symbols.len(),
                max: LANES,
            });
        }
        self.push_all(table_idx, symbols)
    }

    /// Adds `symbols` in steps of [`LANES`], the last of which may be shorter; `table_idx` has one table a symbol.
    ///
    /// # Errors
    /// As [`StreamEncoder::push_step`]; nothing is added then.
    pub fn push_all(&mut self, table_idx: &[u16], symbols: &[i32]) -> Result<()> {
        if symbols.len() != table_idx.len() {
            return Err(Error::LengthMismatch {
                n_table_idx: table_idx.len(),
                n_symbols: symbols.len(),
            });
        }
        self.check_steps(symbols.len())?;
        let n_tables = self.tables.len();
        if let Some(&table_idx) = table_idx.iter().find(|&&idx| usize::from(idx) >= n_tables) {
            return Err(Error::TableIndexOutOfRange {
                table_idx,
                n_tables,
            });
        }
        self.bins.reserve(symbols.len());
        for (table_idx, symbols) in table_idx.chunks(LANES).zip(symbols.chunks(LANES)) {
            let mut ranges = [TableRange::default(); LANES];
            for (range, &idx) in ranges.iter_mut().zip(table_idx) {
                *range = self.tables.flat().ranges[usize::from(idx)];
            }
            self.push_in_tables(&ranges, symbols);
            self.step_lens.push(symbols.len() as u8);
        }
        Ok(())
    }

    /// As [`StreamEncoder::push_all`], where lane `l` uses table `table_of_lane[l]` in every step.
    ///
    /// # Errors
    /// As [`StreamEncoder::push_step`]; nothing is added then.
    pub fn push_bulk(&mut self, table_of_lane: &[u16; LANES], symbols: &[i32]) -> Result<()> {
        self.check_steps(symbols.len())?;
        let n_tables = self.tables.len();
        if let Some(&table_idx) = table_of_lane
            .iter()
            .find(|&&idx| usize::from(idx) >= n_tables)
        {
            return Err(Error::TableIndexOutOfRange {
                table_idx,
                n_tables,
            });
        }
        let ranges = table_of_lane.map(|idx| self.tables.flat().ranges[usize::from(idx)]);
        let (steps, rest) = symbols.as_chunks::<LANES>();
        self.bins.reserve(symbols.len());
        for step in steps {
            self.push_in_tables(&ranges, step);
        }
        self.push_in_tables(&ranges, rest);
        self.step_lens
            .extend(symbols.chunks(LANES).map(|step| step.len() as u8));
        Ok(())
    }

    /// As [`StreamEncoder::push_all`], where every symbol is a byte of table `table_idx`.
    ///
    /// # Errors
    /// [`Error::TableIndexOutOfRange`], [`Error::TooManySteps`], [`Error::SymbolNotInTable`]; nothing is added then.
    pub fn push_bytes(&mut self, table_idx: u16, symbols: &[u8]) -> Result<()> {
        self.check_steps(symbols.len())?;
        let n_tables = self.tables.len();
        let Some(range) = self.tables.flat().ranges.get(usize::from(table_idx)) else {
            return Err(Error::TableIndexOutOfRange {
                table_idx,
                n_tables,
            });
        };
        // A symbol below the table wraps around to a large number.
        let place = |symbol: u8| i32::from(symbol).wrapping_sub(range.min_symbol) as u32;
        // The largest first: this compiles to a vector loop.
        let largest = symbols.iter().map(|&symbol| place(symbol)).max();
        if largest.is_some_and(|largest| largest >= range.n_symbols) {
            return Err(Error::SymbolNotInTable {
                table_idx,
                min_symbol: range.min_symbol,
                max_symbol: range.max_symbol(),
            });
        }
        let bins = symbols.iter().map(|&symbol| range.bin_base + place(symbol));
        self.bins.extend(bins);
        self.step_lens
            .extend(symbols.chunks(LANES).map(|step| step.len() as u8));
        Ok(())
    }

    pub(crate) fn check_steps(&self, n_symbols: usize) -> Result<()> {
        match u32::try_from(self.step_lens.len() + n_symbols.div_ceil(LANES)) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::TooManySteps { max: u32::MAX }),
        }
    }

    /// Adds the bins of one step's symbols, and their escapes.
    #[inline(always)]
    fn push_in_tables(&mut self, ranges: &[TableRange; LANES], symbols: &[i32]) {
        let mut bins = [0; LANES];
        let mut escaped = false;
        for ((bin, range), &symbol) in bins.iter_mut().zip(ranges).zip(symbols) {
            // A symbol below the table wraps around to a large number.
            let place = (symbol.wrapping_sub(range.min_symbol) as u32).min(range.n_symbols);
            escaped |= place == range.n_symbols;
            *bin = range.bin_base + place;
        }
        self.bins.extend_from_slice(&bins[..symbols.len()]);
        if escaped {
            self.push_escapes(ranges, symbols);
        }
    }

    #[cold]
    fn push_escapes(&mut self, ranges: &[TableRange; LANES], symbols: &[i32]) {
        for (range, &symbol) in ranges.iter().zip(symbols) {
            let (min, max) = (range.min_symbol, range.max_symbol());
            if !(min..=max).contains(&symbol) {
                escape::write(&mut self.escapes, symbol, min, max);
            }
        }
    }

    /// Symbols added so far.
    pub fn n_symbols(&self) -> usize {
        self.bins.len()
    }

    /// The substream's bytes.
    pub fn finish(self) -> Vec<u8> {
        let n_steps = self.step_lens.len() as u32;
        let n_lanes = usize::from(self.step_lens.iter().copied().max().unwrap_or(0));
        if n_steps == 0 {
            return vec![0];
        }
        let mut n_tail_steps = self.tail_steps(n_lanes);
        // The tail's start depends on the header, the header on the tail's length: one word more may come out than
        // was counted, then the tail is cut by a step.
        let (header, tail_state, tail_words) = loop {
            let alone = n_tail_steps == n_steps;
            let header = Header {
                n_steps,
                n_tail_steps,
                n_lanes: if alone { 1 } else { n_lanes },
            };
            let (state, words) = self.encode_tail(&header);
            if alone || words.as_slice().len() < n_lanes {
                break (header, state, words);
            }
            n_tail_steps -= 1;
        };
        let mut states = [STATE_LOW; LANES];
        states[0] = tail_state;
        if header.n_lanes == 1 {
            return layout::write(&header, &states[..1], tail_words.as_slice(), &self.escapes);
        }
        for (state, &word) in states[1..].iter_mut().zip(tail_words.as_slice()) {
            *state |= u32::from(word);
        }
        let main_steps = &self.step_lens[..(n_steps - n_tail_steps) as usize];
        let words = self.encode_lanes(main_steps, &mut states);
        layout::write(&header, &states[..n_lanes], words.as_slice(), &self.escapes)
    }

    /// Codes the first steps, of the given lengths, in the lanes.
    fn encode_lanes(&self, mut step_lens: &[u8], states: &mut [u32; LANES]) -> WordStack {
        let mut end = step_lens.iter().map(|&len| usize::from(len)).sum();
        let mut words = WordStack::new(end);
        let has_kernel = self.backend != Backend::Portable
            && self.tables.precision() >= simd::MIN_ENCODE_PRECISION;
        while let Some((&len, before)) = step_lens.split_last() {
            if has_kernel && usize::from(len) == LANES {
                let is_full = |&&len: &&u8| usize::from(len) == LANES;
                let n_steps = step_lens.iter().rev().take_while(is_full).count();
                let start = end - n_steps * LANES;
                self.encode_full_steps(&self.bins[start..end], states, &mut words);
                step_lens = &step_lens[..step_lens.len() - n_steps];
                end = start;
                continue;
            }
            let start = end - usize::from(len);
            for (state, &bin) in states.iter_mut().zip(&self.bins[start..end]).rev() {
                *state = self.encode_symbol(*state, bin, &mut words);
            }
            step_lens = before;
            end = start;
        }
        words
    }

    /// Codes whole steps with vectors.
    fn encode_full_steps(&self, bins: &[u32], states: &mut [u32; LANES], words: &mut WordStack) {
        let (precision, intervals) = (self.tables.precision(), &self.tables.flat().intervals);
        let (steps, start) = (bins.as_chunks().0, words.start);
        let words_of = &mut words.words;
        words.start = simd::encode(
            self.backend,
            intervals,
            precision,
            states,
            steps,
            words_of,
            start,
        );
    }

    /// Steps at the end that lane 0 codes alone: as many as give one word to each other lane, or all.
    fn tail_steps(&self, n_lanes: usize) -> u32 {
        if n_lanes == 1 {
            return self.step_lens.len() as u32;
        }
        let mut words = WordStack::new(MAX_WORDS_OF_ONE_LANE + LANES);
        let (mut state, mut end, mut n_tail_steps) = (STATE_LOW, self.bins.len(), 0);
        for (n_before, &len) in (0..).zip(self.step_lens.iter().rev()) {
            let start = end - usize::from(len);
            for &bin in self.bins[start..end].iter().rev() {
                state = self.encode_symbol(state, bin, &mut words);
            }
            end = start;
            let n_words = words.as_slice().len();
            if n_words < n_lanes {
                n_tail_steps = n_before + 1;
            }
            if n_words > MAX_WORDS_OF_ONE_LANE {
                return n_tail_steps;
            }
        }
        self.step_lens.len() as u32
    }

    /// Codes the last steps in lane 0 alone.
    fn encode_tail(&self, header: &Header) -> (u32, WordStack) {
        let first_step = (header.n_steps - header.n_tail_steps) as usize;
        let n_tail: usize = self.step_lens[first_step..]
            .iter()
            .map(|&len| usize::from(len))
            .sum();
        let mut words = WordStack::new(n_tail);
        let mut state = header.final_state();
        for &bin in self.bins[self.bins.len() - n_tail..].iter().rev() {
            state = self.encode_symbol(state, bin, &mut words);
        }
        (state, words)
    }

    #[inline(always)]
    fn encode_symbol(&self, mut state: u32, bin: u32, words: &mut WordStack) -> u32 {
        let flat = self.tables.flat();
        let precision = self.tables.precision();
        let interval = flat.intervals[bin as usize];
        let (start, mass) = (interval & 0xffff, interval >> 16);
        // mass < 2^precision, so the limit fits in 32 bits.
        if state >= mass << (32 - precision) {
            words.push(state as u16);
            state >>= 16;
        }
        let quotient =
            ((u64::from(state) * flat.reciprocals[bin as usize]) >> (32 + precision)) as u32;
        // quotient · 2^precision + state mod mass + start
        state + start + quotient * ((1 << precision) - mass)
    }
}

impl WordStack {
    /// Room for `n_words`; each symbol gives one at most. Vectors may write up to `LANES` words before them.
    fn new(n_words: usize) -> Self {
        Self {
            words: vec![0; n_words + LANES],
            start: n_words + LANES,
        }
    }

    #[inline(always)]
    fn push(&mut self, word: u16) {
        self.start -= 1;
        self.words[self.start] = word;
    }

    fn as_slice(&self) -> &[u16] {
        &self.words[self.start..]
    }
}
