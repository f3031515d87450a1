//! Matrices, row scales, column-wise chunks and back: the vocabulary that the other crates share.
#![forbid(unsafe_code)]

pub use half;
pub use ndarray;

mod vocabulary;

pub use vocabulary::{Parallelism, QualityLevel};
