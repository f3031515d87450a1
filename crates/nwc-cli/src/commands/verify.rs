//! `verify`.

use super::{decode_options, with_threads};
use crate::args::VerifyArgs;
use crate::outcome::{Outcome, chain, print};
use crate::progress::Bar;

pub(crate) fn run(args: &VerifyArgs, quiet: bool) -> anyhow::Result<Outcome> {
    let options = decode_options(args.device)?;
    let bar = Bar::new(quiet);
    let verification = with_threads(args.threads, || {
        Ok(match &args.against {
            Some(original) => nwc::verify_against(&args.dir, original, &options, &bar)?,
            None => nwc::verify(&args.dir, &options, &bar)?,
        })
    })?;
    for failure in &verification.failures {
        eprintln!("error: {}", chain(failure));
    }
    if !verification.failures.is_empty() {
        return Ok(Outcome::CheckFailed);
    }
    if !quiet {
        let compared = match &args.against {
            Some(original) => {
                let tuned = match verification.n_tuned {
                    0 => String::new(),
                    n => format!(", {n} of which recovery tuned or a second compression changed"),
                };
                format!(", tensors compared with {}{tuned}", original.display())
            }
            None => String::new(),
        };
        print(&format!(
            "{} tensors and {} files verified{compared}\n",
            verification.n_tensors, verification.n_files
        ))?;
    }
    Ok(Outcome::Done)
}
