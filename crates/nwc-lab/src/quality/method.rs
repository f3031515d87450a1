//! Ways of compressing, as the facade takes them.

use std::path::Path;

use nwc::{
    CodecChoice, ColumnOrder, CompressOptions, Curvature, Embeddings, Feedback, Normalization,
    QualityLevel, QualityLevels, RateTarget, Steps,
};

/// One way of compressing; the statistics are named when it is run.
#[derive(Debug, Clone)]
pub(super) struct Method {
    options: CompressOptions,
    has_statistics: bool,
}

impl Method {
    /// The pretrained codec of `lambda`, with statistics and everything that is recommended.
    pub(super) fn learned(lambda: f64) -> Self {
        let lambda = lambda as f32;
        Self::of(CompressOptions::new(CodecChoice::Pretrained { lambda }))
    }

    /// The preset `paper`.
    pub(super) fn paper(lambda: f64) -> Self {
        let lambda = lambda as f32;
        Self::of(CompressOptions::paper(CodecChoice::Pretrained { lambda }))
    }

    /// The trellis at `bits` of payload a linear weight, with statistics and everything that is recommended.
    pub(super) fn trellis(bits: f64, n_states: u16) -> Self {
        let target = RateTarget::BpwPayload(bits);
        Self::of(CompressOptions::new(CodecChoice::Trellis {
            target,
            n_states,
        }))
    }

    fn of(mut options: CompressOptions) -> Self {
        options.embeddings = Embeddings::Keep;
        Self {
            options,
            has_statistics: true,
        }
    }

    /// Errors weighted by single tokens only.
    pub(super) fn per_token(mut self) -> Self {
        self.options.ablation.curvature = Curvature::PerToken;
        self
    }

    /// Feedback after so many columns in that order, or none.
    pub(super) fn feedback(mut self, feedback: Option<(usize, ColumnOrder)>) -> Self {
        self.options.ablation.feedback = feedback.map(|(block_cols, column_order)| Feedback {
            block_cols,
            column_order,
        });
        self
    }

    /// A learned codec's weights divided by the tensor's deviation, not each row by its own.
    pub(super) fn by_tensor(mut self) -> Self {
        self.options.ablation.normalization = Normalization::Tensor;
        self
    }

    /// A learned codec's latents on a trellis.
    pub(super) fn latent_states(mut self, n_states: u16) -> Self {
        self.options.latent_states = Some(n_states);
        self
    }

    /// One quality level for all columns.
    pub(super) fn level(mut self, level: u8) -> Self {
        self.options.quality_levels = Some(QualityLevels::Uniform(QualityLevel(level)));
        self
    }

    /// How much of the statistics the trellis' steps follow.
    pub(super) fn steps(mut self, steps: Steps) -> Self {
        self.options.ablation.steps = steps;
        self
    }

    /// The same without statistics.
    pub(super) fn data_free(mut self) -> Self {
        self.has_statistics = false;
        self
    }

    /// What the facade is asked for.
    pub(super) fn options(&self, statistics: &Path) -> CompressOptions {
        let mut options = self.options.clone();
        options.statistics = self.has_statistics.then(|| statistics.into());
        options
    }
}
