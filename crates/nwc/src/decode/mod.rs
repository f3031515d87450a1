//! A compressed checkpoint back: single tensors, whole folders, checks, and lists of what is in it.

mod checkpoint;
mod compressed;
mod decompress;
mod inspect;
mod reader;
mod verify;

pub use checkpoint::{Checkpoint, ShardInfo, TensorInfo};
pub use decompress::decompress;
pub use inspect::inspect;
pub use reader::TensorReader;
pub use verify::{Verification, verify};
