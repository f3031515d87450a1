//! Codec families: the one seam between the facade and how a matrix is coded.
//!
//! A family plans one compression ([`plan`]), codes a matrix to sections ([`MatrixCoder`]), says what the header must
//! have room for ([`Room`]), and decodes sections to a matrix ([`MatrixDecoder`]).
//! [`plan`], [`room`] and [`decoder`] are the only places that tell families apart.

#[cfg(feature = "encode")]
mod codec_file;
#[cfg(feature = "encode")]
mod coded;
#[cfg(feature = "encode")]
mod harm;
#[cfg(feature = "encode")]
mod layers;
mod matrix;
#[cfg(feature = "neural")]
mod neural;
#[cfg(feature = "encode")]
mod none;
#[cfg(feature = "encode")]
mod pretrained;
mod scaling;
#[cfg(all(test, feature = "encode"))]
pub(crate) mod testing;
mod trellis;
mod zeros;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

#[cfg(feature = "encode")]
use nwc_chunk::ZeroMask;
use nwc_chunk::ndarray::Array2;
#[cfg(feature = "encode")]
use nwc_chunk::ndarray::ArrayView2;
use nwc_codec::Codec;
#[cfg(feature = "encode")]
use nwc_format::DType;

use crate::error::TensorError;
use crate::options::DecodeOptions;
#[cfg(feature = "encode")]
use crate::options::{CodecChoice, CompressOptions, Progress};
#[cfg(feature = "encode")]
use crate::report::Totals;
use crate::{Error, Result};

#[cfg(feature = "encode")]
pub(crate) use codec_file::CodecFile;
#[cfg(feature = "encode")]
pub use coded::CodedMatrix;
#[cfg(feature = "encode")]
pub(crate) use coded::distortion;
#[cfg(feature = "encode")]
pub(crate) use layers::{Layer, Layers};
#[cfg(feature = "encode")]
pub(crate) use matrix::{GAINS, ROWS, TRANSPOSED, usual_rows};
pub(crate) use matrix::{
    NMSE_NORMALIZED, OpenMatrix, StoredSections, check_finite, decode, matrix_shape, open,
};
#[cfg(feature = "encode")]
pub use pretrained::{PRETRAINED_LAMBDAS, pretrained};
#[cfg(feature = "encode")]
pub(crate) use scaling::{EXPONENTS, RowExponents, is_safe_rms};
#[cfg(feature = "encode")]
pub(crate) use zeros::{ZEROS, is_mask, is_sparse, most_zeros_bytes};

/// A codec of one family, ready to decode.
pub(crate) trait MatrixDecoder: fmt::Debug + Send + Sync {
    /// Decodes a `rows` × `cols` matrix, `[out, in]`; memory is taken only for what the sections bear out.
    fn decode(
        &self,
        stored: &StoredSections<'_>,
        rows: usize,
        cols: usize,
    ) -> Result<Array2<f32>, TensorError>;

    /// Opens a `rows` × `cols` matrix, `[out, in]`, for decoding a panel of columns at a time; its sections are checked
    /// to bear out the shape.
    fn open<'a>(
        self: Arc<Self>,
        stored: StoredSections<'a>,
        rows: usize,
        cols: usize,
    ) -> Result<Box<dyn Panels + 'a>, TensorError>;
}

/// A stored matrix that decodes panel by panel; a panel is some whole columns.
pub(crate) trait Panels: fmt::Debug + Send + Sync {
    /// The columns of each panel, in order and without gaps.
    fn columns(&self) -> &[Range<usize>];

    /// Decodes panel `panel`, `[rows, its columns]`.
    fn decode(&self, panel: usize) -> Result<Array2<f32>, TensorError>;

    /// Decodes a part that stands for the whole and is cheap; of any shape, empty where the matrix is.
    #[cfg(feature = "encode")]
    fn sample(&self) -> Result<Array2<f32>, TensorError> {
        match self.columns().len() {
            0 => Ok(Array2::default((0, 0))),
            n => self.decode(n / 2),
        }
    }
}

/// A family planned for one compression.
#[cfg(feature = "encode")]
pub(crate) trait MatrixCoder: fmt::Debug + Send + Sync {
    /// The codec files that decoding needs.
    fn codecs(&self) -> &[CodecFile];

    /// Codes `weights`, `[out, in]`, in place of the checkpoint's own for `layer`; gives what the decoder will make of it,
    /// too.
    ///
    /// Where there is a mask, what it marks is zero and takes no symbol, whatever `weights` say.
    fn code(
        &self,
        layer: &Layer<'_>,
        weights: ArrayView2<'_, f32>,
        zeros: Option<&Arc<ZeroMask>>,
    ) -> Result<(CodedMatrix, Array2<f32>)>;

    /// By which share `totals` miss the size that was asked for; `None` where none was.
    fn missed_by(&self, totals: &Totals) -> Option<f64>;
}

/// Role, dtype and most elements of a section.
#[cfg(feature = "encode")]
pub(crate) type SectionRoom = (&'static str, DType, usize);

/// What a record and the sections of a coded matrix may say at most: how much room the header needs.
#[cfg(feature = "encode")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Name of the family.
    pub(crate) family: &'static str,
    /// Names of the parameters that a matrix may have.
    pub(crate) parameters: &'static [&'static str],
    /// The sections that a `rows` × `cols` matrix may have.
    pub(crate) sections: fn(usize, usize) -> Vec<SectionRoom>,
    /// Codec files.
    pub(crate) n_codecs: usize,
}

/// No payload of a `rows` × `cols` matrix is longer: 16 bits a weight and the states of the entropy coder's lanes.
#[cfg(feature = "encode")]
fn most_payload_bytes(rows: usize, cols: usize) -> usize {
    let n_weights = rows.saturating_mul(cols);
    n_weights
        .saturating_mul(2)
        .saturating_add(n_weights / 256 + 4096)
}

/// What a rate is reckoned from.
#[cfg(feature = "encode")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Bytes of the output beside coded matrices and codec files.
    pub(crate) other_bytes: u64,
    /// Parameters of the checkpoint, tied ones once.
    pub(crate) n_params: usize,
}

/// What the family of `options` needs room for.
#[cfg(feature = "encode")]
pub(crate) fn room(options: &CompressOptions) -> Room {
    match options.codec {
        CodecChoice::Lossless => none::ROOM,
        CodecChoice::Trellis { .. } => trellis::ROOM,
        CodecChoice::Pretrained { .. } | CodecChoice::File(_) => neural::ROOM,
    }
}

/// Plans the compression of `layers` as `options` ask for.
#[cfg(feature = "encode")]
pub(crate) fn plan<'a>(
    options: &CompressOptions,
    layers: &'a Layers<'a>,
    sizes: Sizes,
    progress: &dyn Progress,
) -> Result<Box<dyn MatrixCoder + 'a>> {
    Ok(match &options.codec {
        CodecChoice::Lossless => Box::new(none::Nothing),
        CodecChoice::Trellis { target, n_states } => {
            let request = trellis::Request {
                target: *target,
                n_states: *n_states,
                embedding_bits: options.embedding_bits,
                steps: options.ablation.steps,
                sizes,
            };
            Box::new(trellis::plan(request, layers, progress)?)
        }
        CodecChoice::Pretrained { lambda } => {
            let has_tables = layers.all().iter().any(|l| !l.role.is_linear());
            let codecs = pretrained::for_lambda(*lambda, has_tables)?;
            Box::new(neural::plan(codecs, options, layers)?)
        }
        CodecChoice::File(path) => {
            Box::new(neural::plan(vec![CodecFile::read(path)?], options, layers)?)
        }
    })
}

/// The codec in `bytes`, which errors call `name`, ready to decode.
pub(crate) fn decoder(
    name: &str,
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<Box<dyn MatrixDecoder>> {
    let wrong = |source| Error::Codec {
        name: name.into(),
        source,
    };
    #[cfg(not(feature = "neural"))]
    let _ = options;
    Ok(match Codec::from_bytes(bytes).map_err(wrong)? {
        #[cfg(feature = "neural")]
        Codec::Neural(codec) => {
            let backend = options.synthesis.as_deref();
            Box::new(neural::NeuralDecoder::new(*codec, backend).map_err(wrong)?)
        }
        Codec::Trellis(codec) => Box::new(trellis::TrellisDecoder::new(*codec)),
    })
}
