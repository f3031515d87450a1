//! Progress bars with the time left; silent when standard error is not a terminal.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nwc::Progress;

/// A bar over weights; it is cleared when dropped, so that errors find a clean line.
#[derive(Debug)]
pub(crate) struct Bar {
    quiet: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            bar: Mutex::new(None),
        }
    }

    fn with(&self, f: impl FnOnce(&mut Option<ProgressBar>)) {
        // The lock is poisoned only if a worker panicked, and then the bar no longer matters.
        if let Ok(mut bar) = self.bar.lock() {
            f(&mut bar);
        }
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, n_weights: u64) {
        self.finish();
        if self.quiet {
            return;
        }
        let bar = new_bar(
            "{prefix} {wide_bar} {human_pos}/{human_len} weights, {per_sec}, {eta} left",
            Some(n_weights),
        );
        bar.set_prefix(what.to_owned());
        self.with(|slot| *slot = Some(bar));
    }

    fn advance(&self, n_weights: u64) {
        self.with(|slot| {
            if let Some(bar) = slot {
                bar.inc(n_weights);
            }
        });
    }

    fn finish(&self) {
        self.with(|slot| {
            if let Some(bar) = slot.take() {
                bar.finish_and_clear();
            }
        });
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A bar over steps of different kinds; it is cleared when dropped.
#[cfg(feature = "torch")]
#[derive(Debug)]
pub(crate) struct Steps {
    bar: ProgressBar,
}

#[cfg(feature = "torch")]
impl Steps {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => new_bar("{prefix} {wide_bar} {pos}/{len}, {eta} left", None),
        };
        Self { bar }
    }

    /// Shows that `done` of `of` steps of the kind `what` are done.
    pub(crate) fn show(&self, what: &'static str, done: usize, of: usize) {
        if self.bar.prefix() != what {
            self.bar.set_prefix(what);
            self.bar.reset();
        }
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
        tracing::info!(what, done, of, "progress");
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(feature = "torch")]
impl Drop for Steps {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A bar over the bytes of one file after another; it is cleared when dropped.
#[cfg(feature = "hub")]
#[derive(Debug)]
pub(crate) struct Transfer {
    bar: ProgressBar,
}

#[cfg(feature = "hub")]
impl Transfer {
    pub(crate) fn new(quiet: bool) -> Self {
        let template = "{prefix} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => new_bar(template, None),
        };
        Self { bar }
    }

    /// Shows that `done` of the `total` bytes of `file` are there.
    pub(crate) fn show(&self, file: &str, done: u64, total: u64) {
        if self.bar.prefix() != file {
            self.bar.set_prefix(file.to_owned());
            self.bar.reset();
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

#[cfg(feature = "hub")]
impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar on standard error, where indicatif draws nothing unless that is a terminal.
fn new_bar(template: &str, len: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_left_unfinished_is_cleared() {
        let bar = Bar::new(false);
        bar.start("first", 10);
        let first = bar.bar.lock().unwrap().clone().unwrap();
        bar.start("second", 10);
        assert!(first.is_finished());
        let second = bar.bar.lock().unwrap().clone().unwrap();
        bar.advance(3);
        assert_eq!(second.position(), 3);
        drop(bar);
        assert!(second.is_finished());
    }
}
