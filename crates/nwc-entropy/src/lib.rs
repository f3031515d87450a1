//! Integer CDF tables and interleaved rANS streams; no float decides a symbol.
#![forbid(unsafe_code)]
