//! `verify`.

use super::{decode_options, with_threads};
use crate::args::VerifyArgs;
use crate::outcome::{Outcome, chain, print};
use crate::progress::Bar;

pub(crate) fn run(args: &VerifyArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = decode_options(args.device)?;
    let bar = Bar::new(quiet);
    let verification = with_threads(args.threads, || Ok(nwc::verify(&args.dir, &options, &bar)?))?;
    for failure in &verification.failures {
        eprintln!("error: {}", chain(failure));
    }
    if !verification.failures.is_empty() {
        return Ok(Outcome::CheckFailed);
    }
    if !quiet {
        print(&format!(
            "{} tensors and {} files verified\n",
            verification.n_tensors, verification.n_files
        ))?;
    }
    Ok(Outcome::Done)
}
