//! Small value types that every crate speaks in.

/// How finely a column is coded: 0 is the cheapest, higher levels spend more bits.
///
/// The paper has four (`docs/METHOD.md` 1.7); a codec says how many it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QualityLevel(pub u8);

/// Whether a call may spread its work over the current rayon thread pool.
///
/// The bytes produced never depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parallelism {
    /// Everything on the calling thread.
    #[default]
    Serial,
    /// Over the rayon pool that the caller is in.
    Rayon,
}
