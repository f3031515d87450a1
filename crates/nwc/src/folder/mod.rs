//! Checkpoint folders in and out: files, maps, the bytes of tensors.

pub(crate) mod carry;
pub(crate) mod dtype;
mod key;
#[cfg(feature = "encode")]
mod listing;
mod mapped;
mod output;
pub(crate) mod pipeline;
#[cfg(feature = "encode")]
pub(crate) mod quantized;
mod source;
#[cfg(feature = "encode")]
mod tree;
mod weights;

pub(crate) use mapped::MappedFile;
pub(crate) use output::OutputDir;
#[cfg(feature = "encode")]
pub(crate) use output::temp_file_in;
pub use output::write_file;
#[cfg(feature = "encode")]
pub(crate) use source::{Before, StoredTensors};
pub(crate) use source::{NWC_KEY, Source, SourceShard, SourceTensor};
#[cfg(feature = "encode")]
pub(crate) use tree::{Folder, Open, tree};
pub(crate) use weights::{FOLDER_SHARD, compressed_files};
