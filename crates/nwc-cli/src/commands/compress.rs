//! `compress`.

use anyhow::ensure;
use nwc::{CodecChoice, CompressOptions, Feedback, QualityLevel, QualityLevels, RateTarget};

use super::{inspect, with_threads};
use crate::args::{
    ColumnOrder, CompressArgs, Embeddings, LdlqBlock, NonFinite, Normalize, Preset,
    QualityLevelsArg, Sensitivity, Steps,
};
use crate::outcome::{Outcome, print};
use crate::progress::Bar;

/// Lambda of the codec used when no rate is asked for: about 4 bits.
const DEFAULT_LAMBDA: f32 = 300.0;

/// States of a trellis when no number is asked for.
const DEFAULT_STATES: usize = 8;

pub(crate) fn run(args: &CompressArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = options(args)?;
    let bar = Bar::new(quiet);
    let inspection = with_threads(args.threads, || {
        if let Some(recover) = args.recover {
            return super::compress_with_recovery(args, recover, &options, &bar);
        }
        Ok(nwc::compress(&args.in_dir, &args.out_dir, &options, &bar)?)
    })?;
    if args.dry_run {
        print(&inspect::table(&inspection))?;
    } else if !quiet {
        print(&inspect::summary(&inspection.totals))?;
    }
    Ok(Outcome::Done)
}

/// Turns the arguments into the facade's options.
pub(crate) fn options(args: &CompressArgs) -> anyhow::Result<CompressOptions> {
    let trellis = |target| CodecChoice::Trellis {
        target,
        n_states: args.states.map_or(DEFAULT_STATES, usize::from),
    };
    let codec = match args {
        CompressArgs { bpw: Some(bpw), .. } => trellis(RateTarget::BpwTotal(*bpw)),
        CompressArgs {
            payload_bpw: Some(bpw),
            ..
        } => trellis(RateTarget::BpwPayload(*bpw)),
        CompressArgs {
            target_size: Some(bytes),
            ..
        } => trellis(RateTarget::TotalBytes(*bytes)),
        CompressArgs {
            max_kl: Some(kl), ..
        } => trellis(RateTarget::MaxKl(*kl)),
        CompressArgs {
            step: Some(step), ..
        } => trellis(RateTarget::Step(*step)),
        CompressArgs {
            codec: Some(file), ..
        } => CodecChoice::File(file.clone()),
        CompressArgs { lambda, .. } => CodecChoice::Pretrained {
            lambda: lambda.unwrap_or(DEFAULT_LAMBDA),
        },
    };
    let mut options = CompressOptions::new(codec);
    let paper = args.preset == Some(Preset::Paper);
    options.embeddings = match args.embeddings {
        Some(Embeddings::Keep) => nwc::Embeddings::Keep,
        None if paper => nwc::Embeddings::Keep,
        Some(Embeddings::Code) | None => nwc::Embeddings::Code,
    };
    options.embedding_bits = args.embedding_bits;
    if !matches!(options.codec, CodecChoice::Trellis { .. }) {
        options.latent_states = args.states;
    }
    options.non_finite = match args.non_finite {
        NonFinite::Refuse => nwc::NonFinite::Refuse,
        NonFinite::Keep => nwc::NonFinite::Keep,
    };
    options.quality_levels = match &args.quality_levels {
        Some(QualityLevelsArg::Uniform(level)) => QualityLevels::Uniform(QualityLevel(*level)),
        Some(QualityLevelsArg::Shares(shares)) => {
            ensure!(
                args.stats.is_some(),
                "--quality-levels with shares needs --stats: importance comes from there"
            );
            QualityLevels::Shares(shares.clone())
        }
        None if args.stats.is_some() => QualityLevels::paper(),
        None => QualityLevels::Uniform(QualityLevel(0)),
    };
    options.statistics.clone_from(&args.stats);
    options.sensitivity = match args.sensitivity {
        Some(Sensitivity::Tokens) => nwc::Sensitivity::Tokens,
        None if paper => nwc::Sensitivity::Tokens,
        Some(Sensitivity::Sequences) | None => nwc::Sensitivity::Sequences,
    };
    options.feedback = feedback(args, &options.codec);
    options.normalization = match args.normalize {
        Normalize::Rows => nwc::Normalization::Rows,
        Normalize::Tensor => nwc::Normalization::Tensor,
    };
    options.steps = match args.steps {
        Steps::RowScales => nwc::Steps::RowScales,
        Steps::Layer => nwc::Steps::Layer,
        Steps::Columns => nwc::Steps::Columns,
        Steps::Full => nwc::Steps::Full,
    };
    options.dry_run = args.dry_run;
    Ok(options)
}

/// The preset's feedback with what is asked for in particular.
fn feedback(args: &CompressArgs, codec: &CodecChoice) -> Option<Feedback> {
    let mut feedback = match args.preset {
        Some(Preset::Paper) => Feedback::paper(),
        None => Feedback::recommended(codec),
    };
    match args.column_order {
        Some(ColumnOrder::Natural) => feedback.column_order = nwc::ColumnOrder::Natural,
        Some(ColumnOrder::Importance) => feedback.column_order = nwc::ColumnOrder::Importance,
        None => {}
    }
    match args.ldlq_block {
        Some(LdlqBlock(None)) => return None,
        Some(LdlqBlock(Some(block_cols))) => feedback.block_cols = block_cols,
        None => {}
    }
    Some(feedback)
}
