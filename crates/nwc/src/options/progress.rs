//! Telling a caller how far a job is, and being told to stop.

use std::fmt;

use crate::{Error, Result};

/// Told of progress; calls come from several threads.
pub trait Progress: Sync {
    /// `n_weights` are about to be worked on.
    fn start(&self, what: &str, n_weights: u64);
    /// `n_weights` more are done.
    fn advance(&self, n_weights: u64);
    /// The work announced last is over, or has failed.
    fn finish(&self);
    /// Whether the caller wants the job to stop; asked often, from several threads.
    ///
    /// The job then ends with [`Error::Cancelled`] and leaves no output behind.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _n_weights: u64) {}
    fn advance(&self, _n_weights: u64) {}
    fn finish(&self) {}
}

/// Where a long computation asks whether it is still wanted.
#[derive(Clone, Copy)]
pub(crate) struct Cancel<'a>(pub(crate) &'a dyn Progress);

impl Cancel<'_> {
    /// Whether to go on.
    pub(crate) fn check(self) -> Result<()> {
        match self.0.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Cancel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel")
    }
}

/// One announced piece of work; it is finished when this is dropped, on errors too.
pub(crate) struct Job<'a>(&'a dyn Progress);

impl<'a> Job<'a> {
    pub(crate) fn start(progress: &'a dyn Progress, what: &str, n_weights: usize) -> Self {
        progress.start(what, n_weights as u64);
        Self(progress)
    }

    pub(crate) fn advance(&self, n_weights: usize) {
        self.0.advance(n_weights as u64);
    }

    /// Whether to go on.
    pub(crate) fn check(&self) -> Result<()> {
        Cancel(self.0).check()
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}
