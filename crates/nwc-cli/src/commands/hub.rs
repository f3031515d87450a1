//! `hf:org/model` in the place of a folder: fetched into the cache before the command runs.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nwc_hub::{Address, Settings, Step};

use crate::args::Command;
use crate::progress::Transfer;

/// The folder of what is at `path` where that is an address, and nothing of that name is on disk.
pub(crate) fn fetched(path: &Path, quiet: bool) -> anyhow::Result<Option<PathBuf>> {
    let text = path.to_str().filter(|_| !path.exists());
    let Some(address) = text.and_then(Address::parse) else {
        return Ok(None);
    };
    let address = address?;
    let bar = Transfer::new(quiet);
    let mut watch = |step: Step<'_>| bar.show(step.file, step.done, step.total);
    let fetched = nwc_hub::fetch(&address, &settings(), &mut watch)
        .with_context(|| format!("cannot fetch {address}"))?;
    tracing::info!(%address, folder = %fetched.folder.display(), "fetched");
    Ok(Some(fetched.folder))
}

/// A card names the repository that the model comes from, where nothing else is said.
pub(crate) fn name_base_model(command: &mut Command) {
    let Command::Compress(args) = command else {
        return;
    };
    let address = args.model.to_str().and_then(Address::parse);
    if let (true, None, Some(Ok(address))) = (args.card, &args.base_model, address) {
        args.base_model = Some(address.repository().to_owned());
    }
}

/// What the environment says, as to other tools.
fn settings() -> Settings {
    let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let home = || text("HF_HOME").map(|home| Path::new(&home).join("hub"));
    Settings {
        endpoint: text("HF_ENDPOINT"),
        token: text("HF_TOKEN"),
        cache: text("HF_HUB_CACHE").map(PathBuf::from).or_else(home),
    }
}
