//! Compress, decompress, inspect and verify a checkpoint: the facade, and the only crate that opens files.
#![forbid(unsafe_code)]
