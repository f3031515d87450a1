//! The commands, one file each.

mod compress;
mod decompress;
#[cfg(feature = "hub")]
mod hub;
mod inspect;
mod man;
#[cfg(not(feature = "hub"))]
mod no_hub;
#[cfg(feature = "torch")]
mod torch;
mod verify;

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::outcome::{Outcome, print};

/// Runs a command.
pub(crate) fn dispatch(mut cli: Cli) -> anyhow::Result<Outcome> {
    let quiet = cli.quiet;
    #[cfg(feature = "hub")]
    hub::name_base_model(&mut cli.command);
    for folder in cli.command.models() {
        if let Some(local) = fetched(folder, quiet)? {
            *folder = local;
        }
    }
    match cli.command {
        Command::Compress(args) => compress::run(&args, quiet),
        Command::Decompress(args) => decompress::run(&args, quiet),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args, quiet),
        #[cfg(feature = "torch")]
        Command::Train(args) => torch::train::run(&args, quiet),
        #[cfg(feature = "torch")]
        Command::Calibrate(args) => torch::calibrate::run(&args, quiet),
        #[cfg(feature = "torch")]
        Command::Eval(args) => torch::eval::run(&args, quiet),
        #[cfg(feature = "torch")]
        Command::Generate(args) => torch::generate::run(&args),
        #[cfg(not(feature = "torch"))]
        Command::Train(_) => no_torch::refuse("train"),
        #[cfg(not(feature = "torch"))]
        Command::Calibrate(_) => no_torch::refuse("calibrate"),
        #[cfg(not(feature = "torch"))]
        Command::Eval(_) => no_torch::refuse("eval"),
        #[cfg(not(feature = "torch"))]
        Command::Generate(_) => no_torch::refuse("generate"),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "nwc-cli", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(Outcome::Done)
        }
        Command::Man { dir } => man::run(dir.as_deref()),
    }
}

#[cfg(feature = "hub")]
use hub::fetched;
#[cfg(not(feature = "hub"))]
use no_hub::fetched;

/// What stands in for the commands that need LibTorch.
#[cfg(not(feature = "torch"))]
mod no_torch;
#[cfg(not(feature = "torch"))]
use no_torch::{compress_with_recovery, decode_options};
#[cfg(feature = "torch")]
use torch::{recover::compress_with_recovery, synthesis::decode_options};

/// Runs `work` on a pool of `threads` threads, or of as many as there are cores.
pub(crate) fn with_threads<T: Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    const MAX_THREADS: usize = 1024;
    if let Some(n) = threads
        && !(1..=MAX_THREADS).contains(&n)
    {
        anyhow::bail!("--threads is {n}, allowed: 1 to {MAX_THREADS}");
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()?
        .install(work)
}
