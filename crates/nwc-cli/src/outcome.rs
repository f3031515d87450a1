//! The outcome of a command, and printing that survives a closed pipe.

use std::io::{self, Write};

/// The outcome of a command that ran to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command succeeded.
    Done,
    /// The command ran, and its check failed.
    CheckFailed,
}

/// Prints `text` to standard output; a closed pipe is an error that [`is_broken_pipe`] knows.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Whether the error is that the reader closed standard output.
pub(crate) fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// The error with all its sources on one line; a source that the error above already quotes is left out.
pub(crate) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(below) = source {
        let said = below.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = below.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[test]
    fn nothing_is_said_twice() {
        let full = std::io::Error::other("disk full");
        let err = anyhow::Error::new(full).context("cannot write: disk full");
        assert_eq!(chain(err.as_ref()), "cannot write: disk full");
        let err = anyhow::anyhow!("disk full").context("cannot write");
        assert_eq!(chain(err.as_ref()), "cannot write: disk full");
    }
}
