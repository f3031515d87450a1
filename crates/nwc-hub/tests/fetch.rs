//! A small server in place of the Hub: what is asked of it, and what becomes of what it says.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

mod server;

use std::fs;
use std::path::PathBuf;

use nwc_hub::{Address, Error, Fetched, Result, Settings, Step, fetch};
use server::Server;

struct Case {
    server: Server,
    cache: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self {
            server: Server::start(),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: Some(self.server.endpoint()),
            token: Some("secret".into()),
            cache: Some(self.cache.path().into()),
        }
    }

    fn fetch(&self) -> Result<Fetched> {
        self.fetch_from("hf:org/model")
    }

    fn fetch_from(&self, address: &str) -> Result<Fetched> {
        let address = Address::parse(address).unwrap().unwrap();
        fetch(&address, &self.settings(), &mut |_| {})
    }

    /// All files of the cache with bytes of a transfer.
    fn blobs(&self) -> Vec<PathBuf> {
        let dir = self.cache.path().join("models--org--model/blobs");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

#[test]
fn a_checkpoint_arrives_whole_and_once() {
    let case = Case::new();
    let mut steps = Vec::new();
    let mut watch = |step: Step<'_>| steps.push((step.file.to_owned(), step.done, step.total));
    let address = Address::parse("hf:org/model").unwrap().unwrap();
    let fetched = fetch(&address, &case.settings(), &mut watch).unwrap();
    assert_eq!(fetched.commit, server::COMMIT);
    assert_eq!(fetched.left_out, ["pytorch_model.bin"]);
    assert_eq!(fetched.n_transferred, 3);
    for (name, bytes) in server::files() {
        let path = fetched.folder.join(name);
        match name {
            "pytorch_model.bin" => assert!(!path.exists()),
            _ => assert!(fs::read(path).unwrap() == bytes, "{name}"),
        }
    }
    let n_weights = server::weights().len() as u64;
    let last = ("model.safetensors".to_owned(), n_weights, n_weights);
    assert!(steps.contains(&last), "{steps:?}");
    assert!(
        case.server
            .asked()
            .iter()
            .all(|r| r.token.as_deref() == Some("Bearer secret"))
    );

    // The commit is asked for again, and nothing else.
    let n_asked = case.server.asked().len();
    let again = case.fetch().unwrap();
    assert_eq!((&again.folder, again.n_transferred), (&fetched.folder, 0));
    assert_eq!(case.server.asked().len(), n_asked + 1);
}

#[test]
fn what_breaks_off_goes_on_where_it_stopped() {
    let case = Case::new();
    case.server.breaks_off_at(1000, 99);
    let error = case.fetch().unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error:?}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    case.server.breaks_off_at(1000, 0);
    let n_asked = case.server.asked().len();
    let fetched = case.fetch().unwrap();
    let weights = fs::read(fetched.folder.join("model.safetensors")).unwrap();
    assert!(weights == server::weights());
    let asked = case.server.asked();
    let resumed = asked[n_asked..].iter().any(|request| {
        request.path.ends_with("model.safetensors") && request.from.is_some_and(|from| from > 0)
    });
    assert!(resumed, "{:?}", &asked[n_asked..]);
}

#[test]
fn refusals_say_what_helps() {
    let case = Case::new();
    let message = |address: &str| case.fetch_from(address).unwrap_err().to_string();
    assert!(message("hf:org/other").contains("hf:org/other@main is not on http://"));
    let private = message("hf:org/private");
    assert!(
        private.contains("HF_TOKEN") && private.contains("401"),
        "{private}"
    );
    // A server that is not there.
    let mut settings = case.settings();
    settings.endpoint = Some("http://127.0.0.1:1".into());
    let address = Address::parse("hf:org/model").unwrap().unwrap();
    let error = fetch(&address, &settings, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error:?}");
    // A name that leads out of the folder.
    let error = case.fetch_from("hf:org/hostile").unwrap_err();
    assert!(matches!(error, Error::FileName { .. }), "{error:?}");
}

#[test]
fn damage_is_found_and_does_not_stay() {
    let case = Case::new();
    case.server.damages(true);
    let error = case.fetch().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Damaged {
                what: "SHA-256",
                ..
            }
        ),
        "{error:?}"
    );
    let damaged = case
        .blobs()
        .into_iter()
        .filter(|path| fs::metadata(path).unwrap().len() == server::weights().len() as u64);
    assert_eq!(damaged.count(), 0);
    case.server.damages(false);
    let fetched = case.fetch().unwrap();
    assert!(fs::read(fetched.folder.join("model.safetensors")).unwrap() == server::weights());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let case = Case::new();
    // A file where the cache's folder would be: also root cannot write below it.
    let mut settings = case.settings();
    let file = case.cache.path().join("file");
    fs::write(&file, "").unwrap();
    settings.cache = Some(file);
    let address = Address::parse("hf:org/model").unwrap().unwrap();
    let error = fetch(&address, &settings, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}
