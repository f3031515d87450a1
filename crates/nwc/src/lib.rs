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
//! use nwc::{CodecChoice, CompressOptions, NoProgress};
//!
//! let options = CompressOptions::new(CodecChoice::Pretrained { lambda: 300.0 });
//! let report = nwc::compress("model".as_ref(), "model-nwc".as_ref(), &options, &NoProgress)?;
//! println!("{:.3} bits a weight", report.totals.bpw_total);
//! nwc::decompress("model-nwc".as_ref(), "model-again".as_ref(), &NoProgress)?;
//! # Ok::<(), nwc::Error>(())
//! ```
//! The repository's `examples/candle` hands a [`Checkpoint`] to candle's `VarBuilder` and runs the model.
#![deny(unsafe_code)] // One file is excepted: the mapping of files in mapped.rs.

mod carry;
mod checkpoint;
mod coder;
mod coders;
mod compress;
mod decompress;
mod dtype;
mod error;
mod factors;
mod latent_states;
mod linears;
mod mapped;
mod options;
mod output;
mod pipeline;
mod plan;
mod pretrained;
mod recovery;
mod report;
mod sink;
mod source;
mod statistics;
mod trellis_plan;
mod verify;

pub use checkpoint::{Checkpoint, TensorInfo};
pub use coder::CodedMatrix;
pub use compress::{Recover, compress, compress_recovered};
pub use decompress::{decompress, decompress_with};
pub use error::{Error, Result, TensorError};
pub use linears::{digest, for_each_linear, write_file};
pub use nwc_chunk::{QualityLevel, ndarray};
pub use nwc_codec::{NeuralCodec, SynthesisBackend, Synthesizer};
pub use nwc_compensate::ColumnOrder;
pub use nwc_format::DType;
pub use options::{
    CodecChoice, CompressOptions, DecodeOptions, Embeddings, Feedback, NoProgress, NonFinite,
    Normalization, Progress, QualityLevels, RateTarget, Sensitivity, Steps,
};
pub use plan::fingerprint;
pub use pretrained::{PRETRAINED_LAMBDAS, pretrained};
pub use recovery::{CodedLinear, LinearCoder, Recovered};
pub use report::{Inspection, TensorSummary, Totals};
pub use statistics::{HessianEntry, Statistics, StatisticsInfo, StatisticsWriter};
pub use verify::{Verification, inspect, verify, verify_with};
