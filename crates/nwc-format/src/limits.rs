//! What a reader allows a file to ask for.

/// Upper bounds checked before memory is taken.
///
/// A number read from a file is compared with these before it sizes an allocation or a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a shard's header or of an index file. Default 100,000,000: the safetensors crate's own cap.
    pub max_header_bytes: u64,
    /// Tensors, or sections, in one shard or index. Default 2²⁰.
    pub max_tensors: usize,
    /// Dimensions of one tensor. Default 32.
    pub max_dims: usize,
    /// Decoded bytes of one tensor. Default 2³⁶ (64 GiB); the largest published expert stacks are 8 GiB.
    pub max_tensor_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_header_bytes: 100_000_000,
            max_tensors: 1 << 20,
            max_dims: 32,
            max_tensor_bytes: 1 << 36,
        }
    }
}
