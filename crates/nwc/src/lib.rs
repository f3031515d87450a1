//! Compress, decompress, inspect and verify a checkpoint: the facade, and the only crate that opens files.
//!
//! | want | use |
//! |---|---|
//! | a compressed folder from a checkpoint folder | [`compress`] |
//! | an ordinary checkpoint folder back | [`decompress`] |
//! | what is in a compressed folder, and what it costs | [`inspect`] |
//! | to know that it is sound | [`verify`] |
//! | single tensors, decoded when asked for | [`Checkpoint`] |
//!
//! ```no_run
//! use nwc::{CodecChoice, CompressOptions, DecodeOptions, NoProgress};
//!
//! let options = CompressOptions::new(CodecChoice::bits(4.0));
//! let report = nwc::compress("model", "model-nwc", &options, &NoProgress)?;
//! println!("{:.3} bits a weight", report.totals.bpw_total);
//! nwc::decompress("model-nwc", "model-again", &DecodeOptions::default(), &NoProgress)?;
//! # Ok::<(), nwc::Error>(())
//! ```
//! The repository's `examples/candle` hands a [`Checkpoint`] to candle's `VarBuilder` and runs the model.
#![deny(unsafe_code)] // One file is excepted: the mapping of files in mapped.rs.

mod card;
#[cfg(feature = "encode")]
mod classify;
mod decode;
#[cfg(feature = "encode")]
mod encode;
mod error;
mod family;
mod folder;
mod options;
mod page;
mod planes;
#[cfg(feature = "encode")]
mod provenance;
mod report;
mod role;
#[cfg(feature = "encode")]
mod statistics;
#[cfg(feature = "encode")]
mod survey;

#[cfg(feature = "encode")]
pub use decode::verify_against;
pub use decode::{
    Checkpoint, ShardInfo, TensorInfo, TensorReader, Verification, decompress, inspect, verify,
};
#[cfg(feature = "encode")]
pub use encode::{CodedLinear, LinearCoder, Recover, Recovered, compress, compress_recovered};
pub use error::{Error, Result, TensorError};
#[cfg(feature = "encode")]
pub use family::{CodedMatrix, PRETRAINED_LAMBDAS, pretrained};
pub use folder::write_file;
pub use nwc_chunk::{QualityLevel, ndarray};
#[cfg(feature = "neural")]
pub use nwc_codec::{NeuralCodec, SynthesisBackend, Synthesizer};
#[cfg(feature = "encode")]
pub use nwc_compensate::ColumnOrder;
pub use nwc_format::{DType, Limits};
#[cfg(feature = "encode")]
pub use options::{
    Ablation, CodecChoice, CompressOptions, Curvature, Embeddings, Feedback, ModelCard, NonFinite,
    Normalization, QualityLevels, RateTarget, Steps,
};
pub use options::{DecodeOptions, NoProgress, Progress};
pub use report::{Inspection, TensorSummary, Totals};
#[cfg(feature = "encode")]
pub use statistics::{HessianEntry, Statistics, StatisticsInfo, StatisticsWriter};
#[cfg(feature = "encode")]
pub use survey::{fingerprint, for_each_linear};
