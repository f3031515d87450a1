//! `nwc-cli` as this command uses it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The program.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
}

/// What `nwc-cli eval --json` says, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Evaluation {
    pub(super) n_tokens: u64,
    pub(super) perplexity: f64,
    pub(super) reference_perplexity: f64,
    /// Nats a token.
    pub(super) kl: f64,
    pub(super) kl_standard_error: f64,
    pub(super) kl_99_percent: f64,
    /// A share.
    pub(super) top1_agreement: f64,
}

/// What `nwc-cli inspect --json` says, as far as it is used.
#[derive(Debug, Deserialize)]
struct Inspection {
    totals: Totals,
}

/// Rates and errors of a compressed folder.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Totals {
    pub(super) bpw_payload_linear: f64,
    pub(super) bpw_total: f64,
    pub(super) nmse: f64,
}

impl Program {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// Runs it quietly to its end and gives what it prints.
    ///
    /// # Errors
    /// Where it cannot be started or does not succeed.
    pub(super) fn run<I: AsRef<OsStr>>(
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

    /// What a compressed folder costs.
    ///
    /// # Errors
    /// As [`Program::run`], or where it prints something else.
    pub(super) fn inspect(&self, dir: &Path) -> Result<Totals> {
        let text = self.run([OsStr::new("inspect"), dir.as_os_str(), OsStr::new("--json")])?;
        let inspection: Inspection =
            serde_json::from_str(&text).context("cannot read what nwc-cli inspect printed")?;
        Ok(inspection.totals)
    }

    /// How far `dir` is from `reference` on the first `max_tokens` tokens of `text`, in windows of `ctx`.
    ///
    /// # Errors
    /// As [`Program::run`], or where it prints something else.
    pub(super) fn evaluate(
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
}
