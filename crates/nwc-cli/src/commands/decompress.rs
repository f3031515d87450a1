//! `decompress`.

use super::with_threads;
use crate::args::DecompressArgs;
use crate::outcome::Outcome;
use crate::progress::Bar;

pub(crate) fn run(args: &DecompressArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let bar = Bar::new(quiet);
    with_threads(args.threads, || {
        Ok(nwc::decompress(&args.in_dir, &args.out_dir, &bar)?)
    })?;
    Ok(Outcome::Done)
}
