//! `compress`.

use anyhow::ensure;
use nwc::{CodecChoice, CompressOptions, Embeddings, ModelCard, RateTarget};

use super::{compress_with_recovery, inspect, with_threads};
use crate::args::{CompressArgs, Preset};
use crate::outcome::{Outcome, print};
use crate::progress::Bar;

/// Bits per parameter where no rate is given.
const DEFAULT_BPW: f64 = 4.0;

/// States of the trellis where no number is given.
const DEFAULT_STATES: u16 = 8;

/// Lambda of the paper's preset where none is given: about 4 bits per weight.
const PAPER_LAMBDA: f32 = 300.0;

pub(crate) fn run(args: &CompressArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = options(args)?;
    let bar = Bar::new(quiet);
    let inspection = with_threads(args.threads, || {
        if let Some(recover) = args.recover {
            return compress_with_recovery(args, recover, &options, &bar);
        }
        Ok(nwc::compress(&args.model, &args.out, &options, &bar)?)
    })?;
    if args.dry_run {
        print(&inspect::table(&inspection))?;
    } else if !quiet {
        print(&inspect::summary(&inspection.totals))?;
    }
    Ok(Outcome::Done)
}

/// The facade's options for `args`.
fn options(args: &CompressArgs) -> anyhow::Result<CompressOptions> {
    let codec = codec(args);
    let is_trellis = matches!(codec, CodecChoice::Trellis { .. });
    ensure!(
        is_trellis || args.embedding_bits.is_none(),
        "--embedding-bits applies to the trellis only, not to a learned codec"
    );
    ensure!(
        args.embeddings != Some(Embeddings::Keep) || args.embedding_bits.is_none(),
        "--embedding-bits does not apply to --embeddings keep"
    );
    let mut options = match args.preset {
        Some(Preset::Paper) => CompressOptions::paper(codec),
        None => CompressOptions::new(codec),
    };
    if let Some(embeddings) = args.embeddings {
        options.embeddings = embeddings;
    }
    options.embedding_bits = args.embedding_bits;
    if !is_trellis {
        options.latent_states = args.states;
    }
    options.keep.clone_from(&args.keep);
    options.code.clone_from(&args.code);
    options.dequantize = args.dequantize;
    options.non_finite = args.non_finite;
    options.statistics.clone_from(&args.stats);
    options.verify = args.verify;
    options.card = args.card.then(|| ModelCard {
        base_model: args.base_model.clone(),
    });
    options.dry_run = args.dry_run;
    Ok(options)
}

/// The codec and its rate; clap lets one rate through at most.
fn codec(args: &CompressArgs) -> CodecChoice {
    if args.lossless {
        return CodecChoice::Lossless;
    }
    if let Some(file) = &args.codec {
        return CodecChoice::File(file.clone());
    }
    let paper = args.preset.map(|Preset::Paper| PAPER_LAMBDA);
    if let Some(lambda) = args.lambda.or(paper) {
        return CodecChoice::Pretrained { lambda };
    }
    let payload = args.payload_bpw.map(RateTarget::BpwPayload);
    let size = args.target_size.map(RateTarget::TotalBytes);
    let kl = args.max_kl.map(RateTarget::MaxKl);
    let whole = RateTarget::BpwTotal(args.bpw.unwrap_or(DEFAULT_BPW));
    CodecChoice::Trellis {
        target: payload.or(size).or(kl).unwrap_or(whole),
        n_states: args.states.unwrap_or(DEFAULT_STATES),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use nwc::Ablation;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(args: &[&str]) -> anyhow::Result<CompressOptions> {
        let all = ["nwc-cli", "compress", "a", "b"].iter().chain(args);
        match Cli::try_parse_from(all)?.command {
            Command::Compress(args) => options(&args),
            other => anyhow::bail!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(args: &[&str], codec: CodecChoice) {
        assert_eq!(parse(args).unwrap().codec, codec, "{args:?}");
    }

    #[test]
    fn the_trellis_is_the_default_at_4_bits() {
        let trellis = |target, n_states| CodecChoice::Trellis { target, n_states };
        let lambda = |lambda| CodecChoice::Pretrained { lambda };
        check(&[], trellis(RateTarget::BpwTotal(4.0), 8));
        check(&["--states", "64"], trellis(RateTarget::BpwTotal(4.0), 64));
        check(&["--bpw", "3"], trellis(RateTarget::BpwTotal(3.0), 8));
        check(
            &["--payload-bpw", "2"],
            trellis(RateTarget::BpwPayload(2.0), 8),
        );
        check(
            &["--target-size", "2kB"],
            trellis(RateTarget::TotalBytes(2000), 8),
        );
        check(
            &["--stats", "s", "--max-kl", "0.1"],
            trellis(RateTarget::MaxKl(0.1), 8),
        );
        check(&["--lambda", "30"], lambda(30.0));
        check(&["--preset", "paper"], lambda(300.0));
        check(&["--preset", "paper", "--lambda", "50"], lambda(50.0));
        check(&["--codec", "c"], CodecChoice::File("c".into()));
        check(&["--lossless"], CodecChoice::Lossless);
    }

    #[test]
    fn the_preset_of_the_paper() {
        let options = parse(&["--preset", "paper", "--stats", "s"]).unwrap();
        assert_eq!(options.embeddings, Embeddings::Keep);
        assert_eq!(options.ablation, Ablation::paper());
        let options = parse(&["--preset", "paper", "--embeddings", "code"]).unwrap();
        assert_eq!(options.embeddings, Embeddings::Code);
    }

    #[test]
    fn what_is_coded_can_be_overruled() {
        let options = parse(&["--keep", "a*", "--code", "b", "--keep", "c"]).unwrap();
        assert_eq!(options.keep, ["a*", "c"]);
        assert_eq!(options.code, ["b"]);
        assert!(!options.dequantize);
        assert!(parse(&["--dequantize"]).unwrap().dequantize);
    }

    #[test]
    fn options_of_another_family_are_refused() {
        for args in [
            ["--lambda", "30", "--embedding-bits", "1"].as_slice(),
            &["--codec", "c", "--embedding-bits", "1"],
            &["--preset", "paper", "--embedding-bits", "1"],
            &["--embeddings", "keep", "--embedding-bits", "1"],
        ] {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains("--embedding-bits"), "{args:?}: {error}");
        }
        let options = parse(&["--lambda", "30", "--states", "4"]).unwrap();
        assert_eq!(options.latent_states, Some(4));
        assert_eq!(parse(&["--states", "4"]).unwrap().latent_states, None);
    }
}
