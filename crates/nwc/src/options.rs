//! What a caller may ask of [`crate::compress`], [`crate::decompress`] and [`crate::verify`].

#[cfg(feature = "encode")]
mod ablation;
#[cfg(feature = "encode")]
mod compress;
mod decode;
mod progress;

#[cfg(feature = "encode")]
pub use ablation::{Ablation, Curvature, Feedback, Normalization, Steps};
#[cfg(feature = "encode")]
pub use compress::{
    CodecChoice, CompressOptions, Embeddings, ModelCard, NonFinite, QualityLevels, RateTarget,
};
pub use decode::DecodeOptions;
#[cfg(feature = "encode")]
pub(crate) use progress::Cancel;
pub(crate) use progress::Job;
pub use progress::{NoProgress, Progress};
