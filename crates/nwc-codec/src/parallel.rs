//! Work items in order or over the rayon pool, with the same result.

use nwc_chunk::Parallelism;
use rayon::prelude::*;

/// Applies `one` to each item of `work` and returns the results in the order of the items.
///
/// `one` gets a scratch value that it may find in any state that it left it in.
pub(crate) fn map_each<S: Default, T: Send, R: Send>(
    work: Vec<T>,
    parallelism: Parallelism,
    one: impl Fn(&mut S, T) -> R + Sync + Send,
) -> Vec<R> {
    match parallelism {
        Parallelism::Serial => {
            let mut scratch = S::default();
            work.into_iter()
                .map(|item| one(&mut scratch, item))
                .collect()
        }
        Parallelism::Rayon => work
            .into_par_iter()
            .map_init(S::default, |scratch, item| one(scratch, item))
            .collect(),
    }
}
