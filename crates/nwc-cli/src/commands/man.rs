//! `man`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Cli;
use crate::outcome::{Outcome, print};

pub(crate) fn run(dir: Option<&Path>) -> anyhow::Result<Outcome> {
    // Built, so that the pages of the commands show the options that all have.
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let Some(dir) = dir else {
        print(&page(cli, "nwc-cli")?)?;
        return Ok(Outcome::Done);
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let shown = cli.get_subcommands().filter(|c| !c.is_hide_set());
    let mut pages: Vec<(String, Command)> = shown
        .map(|c| (format!("nwc-cli-{}", c.get_name()), c.clone()))
        .collect();
    pages.push(("nwc-cli".into(), cli));
    for (name, command) in pages {
        let path = dir.join(format!("{name}.1"));
        nwc::write_file(&path, page(command, &name)?.as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// The man page of `command`, named `name` in it.
fn page(command: Command, name: &str) -> anyhow::Result<String> {
    let mut page = Vec::new();
    let program = concat!("nwc-cli ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).title(name.to_owned()).source(program);
    man.render(&mut page)?;
    Ok(String::from_utf8(page)?)
}
