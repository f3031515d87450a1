//! `nwc-cli`, which has what needs LibTorch.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
}

/// What `nwc-cli eval --json` says, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    pub(crate) n_tokens: u64,
    pub(crate) perplexity: f64,
    pub(crate) reference_perplexity: f64,
    /// Nats a token.
    pub(crate) kl: f64,
    pub(crate) kl_standard_error: f64,
    pub(crate) kl_99_percent: f64,
    /// A share.
    pub(crate) top1_agreement: f64,
}

/// Where the `nwc-cli` lies that was built together with this program.
///
/// # Errors
/// Where it was not built.
pub(crate) fn path() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let name = format!("nwc-cli{}", env::consts::EXE_SUFFIX);
    let path = program.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} is not there: `cargo xtask` builds it and starts nwc-lab",
        path.display()
    );
    Ok(path)
}

impl Program {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// Runs it quietly to its end and gives what it prints.
    ///
    /// # Errors
    /// Where it cannot be started or does not succeed.
    pub(crate) fn run<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<String> {
        let mut command = Command::new(&self.path);
        command.arg("--quiet").args(arguments);
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        if !output.status.success() {
            let what: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
            bail!("nwc-cli {} failed ({})", what.join(" "), output.status);
        }
        String::from_utf8(output.stdout).context("nwc-cli printed what is not UTF-8")
    }

    /// How far `dir` is from `reference` on the first `max_tokens` tokens of `text`, in windows of `ctx`.
    ///
    /// # Errors
    /// As [`Program::run`], or where it prints something else.
    pub(crate) fn evaluate(
        &self,
        dir: &Path,
        reference: &Path,
        text: &Path,
        (ctx, max_tokens): (usize, usize),
    ) -> Result<Evaluation> {
        let (ctx, max_tokens) = (ctx.to_string(), max_tokens.to_string());
        let printed = self.run([
            OsStr::new("eval"),
            dir.as_os_str(),
            OsStr::new("--ref"),
            reference.as_os_str(),
            OsStr::new("--text"),
            text.as_os_str(),
            OsStr::new("--ctx"),
            OsStr::new(&ctx),
            OsStr::new("--max-tokens"),
            OsStr::new(&max_tokens),
            OsStr::new("--json"),
        ])?;
        serde_json::from_str(&printed).context("cannot read what nwc-cli eval printed")
    }

    /// How the model in `dir` continues `prompt` with `n_tokens` tokens, each time with the most likely one.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub(crate) fn continue_text(
        &self,
        dir: &Path,
        prompt: &str,
        n_tokens: usize,
    ) -> Result<String> {
        let n_tokens = n_tokens.to_string();
        self.run([
            OsStr::new("generate"),
            dir.as_os_str(),
            OsStr::new("--prompt"),
            OsStr::new(prompt),
            OsStr::new("--tokens"),
            OsStr::new(&n_tokens),
        ])
    }
}
