//! What only comparisons change: parts of the method switched off or replaced.

use nwc_compensate::ColumnOrder;

use super::CodecChoice;

/// The parts of the method that a comparison may switch off or replace.
///
/// The defaults, [`Ablation::none`], are what was found best; [`Ablation::paper`] is the paper's method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ablation {
    /// How quantisation errors are weighted where there are statistics.
    pub curvature: Curvature,
    /// How the error of coded columns is fed back where there are statistics; `None` for no feedback.
    pub feedback: Option<Feedback>,
    /// What weights are divided by before a learned codec codes them.
    pub normalization: Normalization,
    /// What the steps of the trellis follow.
    pub steps: Steps,
}

impl Ablation {
    /// Nothing changed: the recommended method for `codec`.
    pub fn none(codec: &CodecChoice) -> Self {
        Self {
            curvature: Curvature::PerSequence,
            feedback: Some(Feedback::recommended(codec)),
            normalization: Normalization::Rows,
            steps: Steps::Full,
        }
    }

    /// The method as in the paper (arXiv 2510.11234): the Hessian of single tokens, feedback after every 128 columns.
    pub fn paper() -> Self {
        Self {
            curvature: Curvature::PerToken,
            feedback: Some(Feedback::paper()),
            normalization: Normalization::Rows,
            steps: Steps::Full,
        }
    }
}

/// How quantisation errors are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curvature {
    /// By the second moments of single tokens, `E[x xᵀ]` and `E[g²]`, as in the paper.
    PerToken,
    /// By those mixed with the curvature of whole sequences, where the statistics hold it
    /// ([`nwc_compensate::Curvature`]).
    PerSequence,
}

/// How later columns make up for the error of coded ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// Columns coded between two feedbacks, at least 1; the paper codes 128.
    pub block_cols: usize,
    /// The order of columns; the paper's is [`ColumnOrder::Natural`].
    pub column_order: ColumnOrder,
}

impl Feedback {
    /// The paper's: last column first, after every 128 columns.
    pub fn paper() -> Self {
        Self {
            block_cols: 128,
            column_order: ColumnOrder::Natural,
        }
    }

    /// After every column.
    ///
    /// A learned codec has the same step in all columns, so it gains by coding the columns first whose errors weigh most.
    /// The trellis' steps even that out; at low rates it loses by another order (`docs/RESULTS.md`).
    pub fn recommended(codec: &CodecChoice) -> Self {
        Self {
            block_cols: 1,
            column_order: match codec {
                CodecChoice::Trellis { .. } | CodecChoice::Lossless => ColumnOrder::Natural,
                CodecChoice::Pretrained { .. } | CodecChoice::File(_) => ColumnOrder::Importance,
            },
        }
    }
}

/// What weights are divided by before a learned codec codes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// Each row by its standard deviation, as in the paper.
    Rows,
    /// All rows by the tensor's standard deviation: the paper's ablation without row normalisation.
    Tensor,
}

/// How much of the statistics the steps of the trellis follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// Each row its scale, as without statistics.
    RowScales,
    /// One step a layer, by the layer's mean importance.
    Layer,
    /// The layer's step, and each column by its importance.
    Columns,
    /// The columns' steps, and each row by its importance.
    Full,
}
