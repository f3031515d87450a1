//! `compress --recover`.

use nwc::{CompressOptions, Inspection};
use nwc_recover::{RecoverOptions, Stages};

use super::read_text;
use crate::args::{CompressArgs, Recover};
use crate::progress::Bar;

/// Compresses with recovery.
pub(crate) fn compress_with_recovery(
    args: &CompressArgs,
    recover: Recover,
    options: &CompressOptions,
    bar: &Bar,
) -> anyhow::Result<Inspection> {
    let recover = RecoverOptions::small(match recover {
        Recover::Blocks => Stages::Blocks,
        Recover::Scales => Stages::Scales,
        Recover::Both => Stages::Both,
    });
    let text = read_text(&args.text)?;
    let (model, out) = (&args.model, &args.out);
    Ok(nwc_recover::compress(
        model, out, &text, options, &recover, bar,
    )?)
}
