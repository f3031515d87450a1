//! Work spread over threads, results handed on in order, memory bounded.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rayon::{Scope, Yield};

use crate::{Error, Result};

/// Elements of tensors in flight at once; past it there are no more of them than threads.
pub(crate) const IN_FLIGHT_ELEMS: usize = 16 << 20;

/// How long the thread that waits for the end sleeps between two looks for work.
const NAP: Duration = Duration::from_millis(1);

/// Runs `work` over `items` on the current rayon pool and hands the results to `sink` in order.
///
/// An item is in flight from its start until its result is written. The next one starts when those in flight
/// and it have a `cost` of at most `budget`, or are no more than the pool's threads. Writing goes on beside.
pub(crate) fn process_in_order<I: Sync, T: Send>(
    items: &[I],
    cost: impl Fn(&I) -> usize + Sync,
    budget: usize,
    work: impl Fn(&I) -> Result<T> + Sync,
    mut sink: impl FnMut(&I, T) -> Result<()> + Send,
) -> Result<()> {
    let (sender, receiver) = channel();
    let flow = Flow {
        items,
        cost: &cost,
        work: &work,
        budget,
        n_threads: rayon::current_num_threads(),
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    rayon::in_place_scope(|scope| {
        let flow = &flow;
        flow.start(scope, &sender);
        thread::scope(|threads| {
            threads.spawn(move || {
                // However writing ends, nobody may wait for it any longer.
                let _end = EndOfWriting(flow);
                write_all(flow, scope, &sender, &receiver, &mut sink);
            });
            flow.help_until_written();
        });
    });
    let state = flow.state.into_inner();
    match state.unwrap_or_else(PoisonError::into_inner).failed {
        Some(Failure::Error(error)) => Err(error),
        Some(Failure::Panic(panic)) => std::panic::resume_unwind(panic),
        None => Ok(()),
    }
}

/// Index and result of an item; a panic is caught, so that the writer does not wait for it for ever.
type Done<T> = (usize, thread::Result<Result<T>>);

/// Why not everything is written.
enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

/// What all threads share.
struct Flow<'a, I, T> {
    items: &'a [I],
    cost: &'a (dyn Fn(&I) -> usize + Sync),
    work: &'a (dyn Fn(&I) -> Result<T> + Sync),
    budget: usize,
    n_threads: usize,
    state: Mutex<State>,
    /// Notified when writing has ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Items up to here have been started.
    n_started: usize,
    n_in_flight: usize,
    cost_in_flight: usize,
    failed: Option<Failure>,
    is_written: bool,
}

impl<I: Sync, T: Send> Flow<'_, I, T> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts every item that may be in flight now.
    fn start<'s>(&'s self, scope: &Scope<'s>, sender: &Sender<Done<T>>) {
        let mut state = self.state();
        while let Some(item) = self.items.get(state.n_started) {
            let cost_in_flight = state.cost_in_flight.saturating_add((self.cost)(item));
            if state.n_in_flight >= self.n_threads && cost_in_flight > self.budget {
                return;
            }
            let idx = state.n_started;
            state.n_started += 1;
            state.n_in_flight += 1;
            state.cost_in_flight = cost_in_flight;
            let sender = sender.clone();
            scope.spawn(move |_| {
                let result = catch_unwind(AssertUnwindSafe(|| (self.work)(item)));
                // The receiver is gone only when something has failed: then nobody wants the result.
                let _ = sender.send((idx, result));
            });
        }
    }

    /// Notes that the result of `item` is written.
    fn land(&self, item: &I) {
        let mut state = self.state();
        state.n_in_flight -= 1;
        state.cost_in_flight = state.cost_in_flight.saturating_sub((self.cost)(item));
    }

    /// Works where there is work, until the writer has ended; a pool of one thread has nobody else.
    fn help_until_written(&self) {
        loop {
            match rayon::yield_now() {
                Some(Yield::Executed) => {}
                Some(Yield::Idle) | None => {
                    let state = self.state();
                    if state.is_written {
                        return;
                    }
                    let napped = self.changed.wait_timeout(state, NAP);
                    drop(napped.unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }
}

/// Writes results in order as they come in, and starts new items as old ones are written.
fn write_all<'s, I: Sync, T: Send>(
    flow: &'s Flow<'_, I, T>,
    scope: &Scope<'s>,
    sender: &Sender<Done<T>>,
    receiver: &Receiver<Done<T>>,
    sink: &mut impl FnMut(&I, T) -> Result<()>,
) {
    let mut early = BTreeMap::new();
    for (next, item) in flow.items.iter().enumerate() {
        let result = loop {
            if let Some(result) = early.remove(&next) {
                break result;
            }
            // Every item that is started sends something, and the next one is always started.
            let Ok((idx, result)) = receiver.recv() else {
                return;
            };
            early.insert(idx, result);
        };
        let written = match result {
            Ok(result) => result
                .and_then(|result| sink(item, result))
                .map_err(Failure::Error),
            Err(panic) => Err(Failure::Panic(panic)),
        };
        if let Err(failure) = written {
            flow.state().failed = Some(failure);
            return;
        }
        flow.land(item);
        flow.start(scope, sender);
    }
}

/// Says when dropped that writing has ended.
struct EndOfWriting<'a, 'f, I, T>(&'a Flow<'f, I, T>);

impl<I, T> Drop for EndOfWriting<'_, '_, I, T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_written = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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

    /// Most items in flight at once, with items of these costs on a pool of so many threads.
    fn most_in_flight(costs: &[usize], budget: usize, n_threads: usize) -> usize {
        let in_flight = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
        pool.build().unwrap().install(|| {
            process_in_order(
                costs,
                |&cost| cost,
                budget,
                |_| {
                    let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    thread::sleep(Duration::from_micros(200));
                    Ok(())
                },
                |_, ()| {
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                },
            )
            .unwrap();
        });
        most.into_inner()
    }

    #[test]
    fn memory_is_bounded_by_budget_or_threads() {
        assert_eq!(most_in_flight(&[50; 20], 4, 1), 1);
        assert!(most_in_flight(&[50; 20], 4, 3) <= 3);
        assert!(most_in_flight(&[1; 200], 10, 2) <= 10);
        assert_eq!(most_in_flight(&[], 4, 2), 0);
    }

    #[test]
    fn nested_work_on_any_pool_ends() {
        use rayon::prelude::*;
        for n_threads in [1, 2, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
            let mut sum = 0;
            pool.build().unwrap().install(|| {
                process_in_order(
                    &[1_u64; 64],
                    |_| 5,
                    8,
                    |&i| Ok((0..1000_u64).into_par_iter().map(|k| k * i).sum::<u64>()),
                    |_, found: u64| {
                        sum += found;
                        Ok(())
                    },
                )
                .unwrap();
            });
            assert_eq!(sum, 64 * 499_500);
        }
    }

    #[test]
    #[should_panic(expected = "in the work")]
    fn a_panic_is_passed_on() {
        let items = [0; 8];
        let work = |_: &i32| -> Result<()> { panic!("in the work") };
        let _ = process_in_order(&items, |_| 1, 2, work, |_, ()| Ok(()));
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
