//! What can go wrong: the caller's arguments, or the bytes.

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, sorted by who must act.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // === The caller's arguments ===
    /// A precision outside of `MIN_PRECISION..=MAX_PRECISION`.
    #[error("precision of {precision} bits, allowed are {min} to {max}")]
    PrecisionOutOfRange {
        /// Bits asked for.
        precision: u32,
        /// Least allowed.
        min: u32,
        /// Largest allowed.
        max: u32,
    },
    /// A table without a symbol.
    #[error("a table without symbols, at least 1 is needed beside the escape")]
    EmptyTable,
    /// More symbols than there is probability mass.
    #[error("{n_symbols} symbols in a table of {precision} bits, allowed are {max}")]
    TooManySymbols {
        /// Symbols asked for, without the escape.
        n_symbols: usize,
        /// Most that fit: each needs one unit of mass and so does the escape.
        max: usize,
        /// The table's precision in bits.
        precision: u32,
    },
    /// A table whose largest symbol is no `i32`.
    #[error("{n_symbols} symbols from {offset} on do not fit in 32 bits")]
    SymbolRange {
        /// Smallest symbol.
        offset: i32,
        /// Number of symbols.
        n_symbols: usize,
    },
    /// A table of bytes with other symbols.
    #[error("a table of the symbols {min_symbol} to {max_symbol}, allowed are 0 to 255")]
    NotBytes {
        /// Smallest symbol.
        min_symbol: i32,
        /// Largest symbol.
        max_symbol: i32,
    },
    /// A byte to be coded that the table does not have.
    #[error("a byte outside of the symbols {min_symbol} to {max_symbol} of table {table_idx}")]
    SymbolNotInTable {
        /// Index of the table.
        table_idx: u16,
        /// Its smallest symbol.
        min_symbol: i32,
        /// Its largest symbol.
        max_symbol: i32,
    },
    /// A probability that is negative or not finite.
    #[error("probability {value} at index {idx}, allowed are finite values from 0 on")]
    InvalidProbability {
        /// Position in the slice.
        idx: usize,
        /// The value found.
        value: f64,
    },
    /// Probabilities or counts that are all zero, or so large that their sum is infinite.
    #[error("the masses of a table sum to {sum}, allowed are finite sums above 0")]
    InvalidSum {
        /// The sum found.
        sum: f64,
    },
    /// A cumulative table that does not start at 0, does not increase, or does not end at `2^precision`.
    #[error("cumulative mass {found} at index {idx}, allowed are {min} to {max}")]
    InvalidCdf {
        /// Position in the cumulative table.
        idx: usize,
        /// The value found.
        found: u32,
        /// Least value allowed there.
        min: u32,
        /// Largest value allowed there.
        max: u32,
    },
    /// A set without tables, or with more than `u16` can index.
    #[error("a set of {n_tables} tables, allowed are 1 to {max}")]
    TableCount {
        /// Tables given.
        n_tables: usize,
        /// Most allowed.
        max: usize,
    },
    /// A set whose tables have more bins than it may hold.
    #[error("a set of {n_bins} bins, allowed are {max}")]
    BinCount {
        /// Bins of all tables, escapes too.
        n_bins: usize,
        /// Most allowed.
        max: usize,
    },
    /// Tables of different precision in one set.
    #[error("table {table_idx} has {found} bits, the set has {expected}")]
    PrecisionMismatch {
        /// Which table.
        table_idx: usize,
        /// Its precision.
        found: u32,
        /// The first table's precision.
        expected: u32,
    },
    /// A step with more symbols than there are lanes.
    #[error("a step of {len} symbols, allowed are {max}")]
    StepTooLong {
        /// Symbols in the step.
        len: usize,
        /// Lanes of the stream.
        max: usize,
    },
    /// Slices that should be equally long are not.
    #[error("{n_table_idx} table indices for {n_symbols} symbols")]
    LengthMismatch {
        /// Table indices given.
        n_table_idx: usize,
        /// Symbols given.
        n_symbols: usize,
    },
    /// An index of no table.
    #[error("table index {table_idx}, the set has {n_tables} tables")]
    TableIndexOutOfRange {
        /// The index found.
        table_idx: u16,
        /// Tables in the set.
        n_tables: usize,
    },
    /// More steps than one substream can count.
    #[error("more than {max} steps in one substream")]
    TooManySteps {
        /// Most allowed.
        max: u32,
    },

    // === The bytes ===
    /// The bytes end too early.
    #[error("{what} needs {needed} bytes, {available} are left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        available: usize,
    },
    /// A variable-length integer that is too long, too large, or not in its shortest form.
    #[error("{what} is no shortest-form integer of at most {max}")]
    InvalidVarint {
        /// What was being read.
        what: &'static str,
        /// Largest value allowed.
        max: u64,
    },
    /// A table set written by another version.
    #[error("table set of version {found}, supported is {supported}")]
    UnsupportedVersion {
        /// Version found.
        found: u8,
        /// Version that this crate reads.
        supported: u8,
    },
    /// Bytes after the end.
    #[error("{n_bytes} bytes after the end of {what}")]
    TrailingBytes {
        /// What has ended.
        what: &'static str,
        /// Bytes left.
        n_bytes: usize,
    },
    /// A header field that contradicts the others.
    #[error("{what} is {found}, allowed are {min} to {max}")]
    InvalidHeader {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// Least value allowed.
        min: u64,
        /// Largest value allowed.
        max: u64,
    },
    /// A lane starts below the normalised interval.
    #[error("lane {lane} starts with state {state}, allowed are {min} and more")]
    StateOutOfRange {
        /// Which lane.
        lane: usize,
        /// Its state.
        state: u32,
        /// Least normalised state.
        min: u32,
    },
    /// A step was asked for after the last one.
    #[error("a step beyond the {n_steps} of the substream")]
    StepsExhausted {
        /// Steps in the substream.
        n_steps: u32,
    },
    /// A step is wider than any of the steps that were encoded.
    #[error("a step of {len} symbols in a substream of {n_lanes} lanes")]
    StepTooWide {
        /// Symbols asked for.
        len: usize,
        /// Lanes of the substream.
        n_lanes: usize,
    },
    /// The substream has no more words, but a lane needs one.
    #[error("the substream's {n_words} words are used up before its last step")]
    WordsExhausted {
        /// Words in the substream.
        n_words: usize,
    },
    /// An escape in a substream of bytes, which has none.
    #[error("an escape in a substream of bytes, allowed are symbols of the table")]
    UnexpectedEscape,
    /// The escape section does not give the symbol that an escape stands for.
    #[error("invalid escape at byte {at} of the escape section")]
    InvalidEscape {
        /// Position in the escape section.
        at: usize,
    },
    /// A lane ends in another state than the one in which its encoder started.
    #[error("lane {lane} ends with state {found:#x}, expected was {expected:#x}")]
    FinalState {
        /// Which lane.
        lane: usize,
        /// The state found.
        found: u32,
        /// The state expected (for lanes other than 0: with any low half).
        expected: u32,
    },
    /// Decoding was finished before the last step.
    #[error("{steps_left} of {n_steps} steps were not decoded")]
    StepsLeft {
        /// Steps not decoded.
        steps_left: u32,
        /// Steps in the substream.
        n_steps: u32,
    },
    /// Words that no lane has used.
    #[error("{n_words} words of the substream are not used")]
    WordsLeft {
        /// How many.
        n_words: usize,
    },
}
