//! Progress over weights with time left; silent when standard error is not a terminal.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nwc::Progress;

/// A bar on standard error.
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
        // A poisoned lock means that a worker panicked: the bar is the least of our worries.
        if let Ok(mut bar) = self.bar.lock() {
            f(&mut bar);
        }
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, n_weights: u64) {
        if self.quiet {
            return;
        }
        // indicatif draws nothing when standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(n_weights), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix} {wide_bar} {human_pos}/{human_len} weights, {per_sec}, {eta} left",
        ) {
            bar.set_style(style);
        }
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
