//! Checkpoints from the Hugging Face Hub, in the cache that other tools share.
//!
//! The transfer is `hf-hub`'s: it goes on where an earlier one stopped. What it leaves out is added here: which files a
//! checkpoint needs, the revision settled once for all of them, lengths and digests, and errors that say what to do.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod error;
mod fetch;
mod listing;

pub use address::Address;
pub use error::{Error, Result};
pub use fetch::{Fetched, Settings, Step, fetch};
