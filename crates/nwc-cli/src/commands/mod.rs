//! One module a command.

mod compress;
mod decompress;
mod inspect;
#[cfg(feature = "torch")]
mod torch;
mod verify;

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::outcome::{Outcome, print};

/// Runs the command asked for.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    let quiet = cli.quiet;
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
        #[cfg(not(feature = "torch"))]
        Command::Train(_) | Command::Calibrate(_) | Command::Eval(_) => anyhow::bail!(
            "this nwc-cli was built without LibTorch; build it with --features torch \
             (cargo xtask libtorch sets LibTorch up)"
        ),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "nwc-cli", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(Outcome::Done)
        }
    }
}

/// `compress --recover`.
#[cfg(not(feature = "torch"))]
pub(crate) fn compress_with_recovery(
    _args: &crate::args::CompressArgs,
    _recover: crate::args::Recover,
    _options: &nwc::CompressOptions,
    _bar: &crate::progress::Bar,
) -> anyhow::Result<nwc::Inspection> {
    anyhow::bail!(
        "--recover needs LibTorch; build nwc-cli with --features torch \
         (cargo xtask libtorch sets LibTorch up)"
    )
}
#[cfg(feature = "torch")]
pub(crate) use torch::recover::compress_with_recovery;

/// How tensors are decoded with `--device`.
#[cfg(not(feature = "torch"))]
fn decode_options(device: &str) -> anyhow::Result<nwc::DecodeOptions> {
    anyhow::ensure!(
        device == "cpu",
        "--device is {device}, allowed: cpu; others need LibTorch, build nwc-cli with --features torch \
         (cargo xtask libtorch sets LibTorch up)"
    );
    Ok(nwc::DecodeOptions::default())
}
#[cfg(feature = "torch")]
use torch::synthesis::decode_options;

/// Runs `work` on a pool of `threads` threads, all cores where none is named.
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
