//! A compressed checkpoint back: single tensors, whole folders, checks, and lists of what is in it.

#[cfg(feature = "encode")]
mod against;
mod below;
mod checkpoint;
mod compressed;
mod decompress;
mod inspect;
mod reader;
#[cfg(feature = "encode")]
mod stored;
mod verify;

#[cfg(feature = "encode")]
pub use against::verify_against;
#[cfg(feature = "encode")]
pub(crate) use against::{Original, ReadBack, read_back};
pub use checkpoint::{Checkpoint, ShardInfo, TensorInfo};
pub use decompress::decompress;
pub use inspect::inspect;
pub use reader::TensorReader;
#[cfg(feature = "encode")]
pub(crate) use stored::open_source;
pub use verify::{Verification, verify};
