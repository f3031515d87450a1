//! The container: sections, index, digests; payloads are opaque bytes.
#![forbid(unsafe_code)]
