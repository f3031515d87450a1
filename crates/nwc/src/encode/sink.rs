//! A writer that only counts: what a dry run writes to.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Takes bytes at any position and remembers nothing but the length.
#[derive(Debug, Default)]
pub(crate) struct CountingSink {
    position: u64,
    len: u64,
}

impl CountingSink {
    /// Bytes that a file would have.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

impl Write for CountingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.position += bytes.len() as u64;
        self.len = self.len.max(self.position);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for CountingSink {
    /// Zeros, as in a sparse file: the content of a dry run is never looked at.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = usize::try_from(self.len.saturating_sub(self.position))
            .unwrap_or(usize::MAX)
            .min(out.len());
        out[..n].fill(0);
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for CountingSink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
