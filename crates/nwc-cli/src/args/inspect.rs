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
    /// Write a page with charts, a treemap of the bytes and a sortable table to FILE, and print the totals; the page
    /// needs no other file
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub html: Option<PathBuf>,
}
