//! Arguments of `inspect`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder made by `compress`
    pub dir: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}
