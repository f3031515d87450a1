//! The binary `nwc-cli`.
fn main() {}
