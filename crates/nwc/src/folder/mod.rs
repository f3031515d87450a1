//! Checkpoint folders in and out: files, maps, the bytes of tensors.

pub(crate) mod carry;
pub(crate) mod dtype;
mod mapped;
mod output;
pub(crate) mod pipeline;
mod source;

pub(crate) use mapped::MappedFile;
pub(crate) use output::OutputDir;
#[cfg(feature = "encode")]
pub(crate) use output::temp_file_in;
pub use output::write_file;
#[cfg(feature = "encode")]
pub(crate) use source::SourceTensor;
pub(crate) use source::{NWC_KEY, Source, SourceShard, shard_files};
