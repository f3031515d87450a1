//! `decompress`.

use super::{decode_options, with_threads};
use crate::args::DecompressArgs;
use crate::outcome::Outcome;
use crate::progress::Bar;

pub(crate) fn run(args: &DecompressArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = decode_options(args.device)?;
    let bar = Bar::new(quiet);
    with_threads(args.threads, || {
        let (from, to) = (&args.dir, &args.out);
        Ok(nwc::decompress(from, to, &options, &bar)?)
    })?;
    Ok(Outcome::Done)
}
