//! Which codec codes which matrix, with what it is told about it.

use std::fs;

use nwc_chunk::QualityLevel;
use nwc_chunk::ndarray::{Array2, ArrayView2};
use nwc_codec::{Codec, NeuralCodec};
use nwc_compensate::{LayerStatistics, quality_levels};
use nwc_format::{Coding, Digest};

use crate::coder::{CodedMatrix, NeuralCoder, TRANSPOSED, TrellisCoder, tensor_scales};
use crate::error::TensorError;
use crate::factors::LayerFactors;
use crate::latent_states;
use crate::options::{CodecChoice, CompressOptions, Progress, QualityLevels};
use crate::plan::{Plan, Planned, Role};
use crate::report::Totals;
use crate::statistics::Statistics;
use crate::trellis_plan::TrellisPlan;
use crate::{Error, Result, pretrained};

/// A codec with the bytes that go into the file.
#[derive(Debug, Clone)]
pub(crate) struct LoadedCodec {
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) codec: Codec,
}

impl LoadedCodec {
    /// Parses the codec file that errors call `name`.
    pub(crate) fn new(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let codec = pretrained::parse(name, &bytes)?;
        let family = match &codec {
            Codec::Neural(_) => "neural",
            Codec::Trellis(_) => "trellis",
        };
        let digest = Digest::of(&bytes).to_string();
        Ok(Self {
            id: format!("{family}-{}", digest.get(..12).unwrap_or(&digest)),
            bytes,
            codec,
        })
    }
}

/// The codecs of one compression and how they are applied.
#[derive(Debug)]
pub(crate) struct Coders<'a> {
    options: &'a CompressOptions,
    statistics: Option<Statistics>,
    /// For linear weights, and for embeddings where that is another one.
    codecs: Vec<LoadedCodec>,
    trellis: Option<TrellisPlan>,
}

impl<'a> Coders<'a> {
    /// Loads, or for a trellis makes, what `options` ask for.
    pub(crate) fn new(
        options: &'a CompressOptions,
        plan: &Plan<'_>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let statistics = match &options.statistics {
            Some(path) => {
                let statistics = Statistics::open(path)?.weighed_by(options.sensitivity);
                statistics.check_model(&plan.fingerprint)?;
                Some(statistics)
            }
            None => None,
        };
        let mut coders = Self {
            options,
            statistics,
            codecs: Vec::new(),
            trellis: None,
        };
        match &options.codec {
            CodecChoice::Pretrained { lambda } => {
                let has_embeddings = plan.coded().any(|(_, role, _, _)| role == Role::Embedding);
                let mut lambdas = vec![*lambda];
                if has_embeddings && pretrained::next_better(*lambda) != *lambda {
                    lambdas.push(pretrained::next_better(*lambda));
                }
                for lambda in lambdas {
                    let bytes = pretrained::pretrained(lambda)?.to_vec();
                    let name = format!("pretrained for lambda {lambda}");
                    coders.codecs.push(LoadedCodec::new(&name, bytes)?);
                }
            }
            CodecChoice::File(path) => {
                let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
                let name = path.display().to_string();
                let loaded = LoadedCodec::new(&name, bytes)?;
                if !matches!(loaded.codec, Codec::Neural(_)) {
                    return Err(Error::Argument {
                        argument: "codec",
                        found: format!("{name}, of another family"),
                        allowed:
                            "of the neural family; a trellis is fitted to the checkpoint at a rate"
                                .into(),
                    });
                }
                coders.codecs.push(loaded);
            }
            CodecChoice::Trellis { target, n_states } => {
                let made = TrellisPlan::new(
                    *target,
                    *n_states,
                    options,
                    plan,
                    coders.statistics.as_ref(),
                    progress,
                )?;
                coders.codecs.push(made.codec.clone());
                coders.trellis = Some(made);
            }
        }
        if let Some(n_states) = options.latent_states {
            coders.codecs = std::mem::take(&mut coders.codecs)
                .into_iter()
                .map(|loaded| latent_states::with_states(loaded, n_states, plan))
                .collect::<Result<_>>()?;
        }
        coders.check_levels()?;
        Ok(coders)
    }

    /// Whether a size was asked for that only coding everything can tell to be met.
    pub(crate) fn may_miss(&self) -> bool {
        self.trellis.as_ref().is_some_and(TrellisPlan::may_miss)
    }

    /// Better coders, where what was measured misses what was asked for and another try may hit it.
    pub(crate) fn correct(&self, totals: &Totals) -> Result<Option<Self>> {
        let Some(trellis) = &self.trellis else {
            return Ok(None);
        };
        let Some(better) = trellis.correct(totals) else {
            return Ok(None);
        };
        let statistics = match &self.options.statistics {
            Some(path) => Some(Statistics::open(path)?.weighed_by(self.options.sensitivity)),
            None => None,
        };
        Ok(Some(Self {
            options: self.options,
            statistics,
            codecs: vec![better.codec.clone()],
            trellis: Some(better),
        }))
    }

    /// Codes one matrix.
    pub(crate) fn code(
        &self,
        planned: &Planned<'_>,
        role: Role,
        rows: usize,
        cols: usize,
        weights: Vec<f32>,
    ) -> Result<CodedMatrix> {
        let weights = planned.to_matrix(rows, cols, weights)?;
        Ok(self.code_weights(planned, role, weights.view())?.0)
    }

    /// Codes `weights` in place of the checkpoint's and gives what the decoder will make of it.
    pub(crate) fn code_weights(
        &self,
        planned: &Planned<'_>,
        role: Role,
        weights: ArrayView2<'_, f32>,
    ) -> Result<(CodedMatrix, Array2<f32>)> {
        let name = &planned.tensor.name;
        match self.is_transposed(name) {
            true => {
                let (coded, decoded) = self.code_linear(planned, role, weights.t())?;
                Ok((coded, decoded.reversed_axes()))
            }
            false => self.code_linear(planned, role, weights),
        }
    }

    /// Whether the weight tensor `name` is stored `[in, out]`.
    pub(crate) fn is_transposed(&self, name: &str) -> bool {
        let statistics = self.statistics.as_ref();
        statistics.is_some_and(|s| s.is_transposed(name))
    }

    /// Codes `weights`, `[out, in]` however they are stored.
    pub(crate) fn code_linear(
        &self,
        planned: &Planned<'_>,
        role: Role,
        weights: ArrayView2<'_, f32>,
    ) -> Result<(CodedMatrix, Array2<f32>)> {
        let name = &planned.tensor.name;
        let (rows, cols) = weights.dim();
        let statistics = match &self.statistics {
            Some(statistics) => statistics.layer(name, rows, cols)?,
            None => None,
        };
        let (mut coded, decoded) = self
            .code_matrix(name, role, weights, statistics.as_ref())
            .map_err(|e| Error::tensor(planned.shard.path(), name, e))?;
        if self.is_transposed(name) {
            coded.mark_transposed();
        }
        Ok((coded, decoded))
    }

    fn code_matrix(
        &self,
        name: &str,
        role: Role,
        weights: ArrayView2<'_, f32>,
        statistics: Option<&LayerStatistics>,
    ) -> Result<(CodedMatrix, Array2<f32>), TensorError> {
        let hessian = statistics.and_then(|s| s.hessian.as_ref());
        let factors = LayerFactors::new(statistics, self.options.feedback)?;
        let loaded = self.codec_for(role);
        match (&loaded.codec, &self.trellis) {
            (Codec::Trellis(codec), Some(trellis)) => TrellisCoder {
                codec,
                codec_id: &loaded.id,
                scales: &tensor_scales(weights, trellis.factors(name)?, trellis.delta())?,
                feedback: factors.columns(),
            }
            .code(weights),
            (Codec::Neural(codec), _) => {
                let importance = hessian.map(|h| h.diagonal());
                NeuralCoder {
                    codec,
                    codec_id: &loaded.id,
                    levels: self.levels(codec, weights.ncols(), importance)?,
                    normalization: self.options.normalization,
                    feedback: factors.columns(),
                }
                .code(weights)
            }
            _ => Err(TensorError::Record {
                what: "codec family",
                found: loaded.id.clone(),
                expected: "neural or trellis".into(),
            }),
        }
    }

    /// The codec files by id.
    pub(crate) fn codec_files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.codecs
            .iter()
            .map(|c| (c.id.as_str(), c.bytes.as_slice()))
    }

    /// What a record will say, with numbers as long as numbers get.
    pub(crate) fn expected_coding(&self, role: Role) -> Coding {
        const LONG: f64 = -1.234_567_890_123_456_7e-100;
        Coding::Coded {
            family: "trellis".into(),
            codec: self.codec_for(role).id.clone(),
            parameters: ["nmse_normalized", "level", TRANSPOSED]
                .map(|name| (name.to_owned(), LONG))
                .into(),
        }
    }

    /// The sections that a coded matrix may have.
    pub(crate) fn expected_roles(&self) -> &'static [&'static str] {
        match self.trellis {
            Some(_) => &["payload", "scales", "gains"],
            None => &["payload", "scales", "levels", "gains"],
        }
    }

    fn codec_for(&self, role: Role) -> &LoadedCodec {
        let idx = match role {
            Role::Linear => 0,
            Role::Embedding => self.codecs.len() - 1,
        };
        &self.codecs[idx]
    }

    fn levels(
        &self,
        codec: &NeuralCodec,
        cols: usize,
        importance: Option<Vec<f32>>,
    ) -> Result<Vec<QualityLevel>, TensorError> {
        Ok(match (&self.options.quality_levels, importance) {
            (QualityLevels::Uniform(level), _) => vec![*level; cols],
            (QualityLevels::Shares(shares), Some(importance)) => {
                let n = codec.config().n_quality_levels() - 1;
                quality_levels(&importance, &shares[..shares.len().min(n)])?
            }
            (QualityLevels::Shares(_), None) => vec![QualityLevel(0); cols],
        })
    }

    /// A level that no codec has is an error before any work is done.
    fn check_levels(&self) -> Result<()> {
        let QualityLevels::Uniform(level) = self.options.quality_levels else {
            return Ok(());
        };
        for loaded in &self.codecs {
            if let Codec::Neural(codec) = &loaded.codec {
                let n = codec.config().n_quality_levels();
                if usize::from(level.0) >= n {
                    return Err(Error::Argument {
                        argument: "quality level",
                        found: level.0.to_string(),
                        allowed: format!("0 to {}", n - 1),
                    });
                }
            }
        }
        Ok(())
    }
}
