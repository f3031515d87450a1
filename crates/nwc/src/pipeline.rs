//! Work spread over threads, results handed on in order, memory bounded.

use std::sync::mpsc::sync_channel;
use std::thread;

use rayon::prelude::*;

use crate::Result;

/// Elements of tensors worked on at once; a larger tensor is alone in its wave.
pub(crate) const WAVE_ELEMS: usize = 16 << 20;

/// Runs `work` over `items` on the current rayon pool and hands the results to `sink` in order.
///
/// Items go in waves of at most `budget` by `cost`; while one wave is worked on, the one before is
/// written, so two waves of results are alive at most.
pub(crate) fn process_in_order<I: Sync, T: Send>(
    items: &[I],
    cost: impl Fn(&I) -> usize,
    budget: usize,
    work: impl Fn(&I) -> Result<T> + Sync,
    mut sink: impl FnMut(&I, T) -> Result<()> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<(&[I], Vec<T>)>(0);
        let writer = scope.spawn(move || -> Result<()> {
            for (wave, results) in receiver {
                for (item, result) in wave.iter().zip(results) {
                    sink(item, result)?;
                }
            }
            Ok(())
        });
        let mut failed = None;
        for wave in waves(items, &cost, budget) {
            match wave.par_iter().map(&work).collect::<Result<Vec<T>>>() {
                // The receiver is gone only when the sink has failed: its error is reported below.
                Ok(results) => {
                    if sender.send((wave, results)).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(sender);
        let written = match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        failed.map_or(written, Err)
    })
}

fn waves<I>(items: &[I], cost: impl Fn(&I) -> usize, budget: usize) -> impl Iterator<Item = &[I]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut total = 0usize;
        let n_fitting = rest
            .iter()
            .take_while(|item| {
                total = total.saturating_add(cost(item));
                total <= budget
            })
            .count()
            .max(1);
        let (wave, tail) = rest.split_at(n_fitting);
        rest = tail;
        Some(wave)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn failure(found: usize) -> Error {
        Error::Argument {
            argument: "item",
            found: found.to_string(),
            allowed: String::new(),
        }
    }

    #[test]
    fn results_come_in_order() {
        let items: Vec<usize> = (0..100).collect();
        let mut out = Vec::new();
        process_in_order(
            &items,
            |&i| i,
            150,
            |&i| Ok(i * 2),
            |_, r| {
                out.push(r);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(out, items.iter().map(|i| i * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_large_item_is_alone_in_its_wave() {
        let sizes = [1, 2, 50, 1, 1];
        let got: Vec<usize> = waves(&sizes, |&s| s, 4)
            .map(<[usize]>::len)
            .collect::<Vec<_>>();
        assert_eq!(got, [2, 1, 2]);
    }

    #[test]
    fn errors_of_both_sides_are_reported() {
        let items: Vec<usize> = (0..10).collect();
        let in_work = process_in_order(
            &items,
            |_| 1,
            2,
            |&i| if i == 5 { Err(failure(i)) } else { Ok(()) },
            |_, ()| Ok(()),
        );
        assert!(in_work.is_err());
        let in_sink = process_in_order(
            &items,
            |_| 1,
            2,
            |_| Ok(()),
            |&i, ()| if i == 3 { Err(failure(i)) } else { Ok(()) },
        );
        assert!(in_sink.is_err());
    }
}
