//! A plain checkpoint into a compressed one.

mod compress;
mod hook;
mod one;
mod room;
mod shares;
mod sink;
mod write;

pub use compress::{Recover, compress, compress_recovered};
pub use hook::{CodedLinear, LinearCoder, Recovered};
