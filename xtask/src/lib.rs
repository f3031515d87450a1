//! What the project's own commands stand on, for `xtask` itself and for the laboratory `nwc-lab`.
#![forbid(unsafe_code)]

pub mod fetch;
pub mod fixtures;
pub mod libtorch;
pub mod wheel;
pub mod workspace;
