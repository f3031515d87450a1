//! The transfer of one repository.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest, Sha256};

use crate::listing::{RemoteFile, Repository};
use crate::{Address, Error, Result};

/// Where models come from where nothing else is said.
const ENDPOINT: &str = "https://huggingface.co";
/// Tries of a transfer that breaks off, each from where the last one stopped.
const MAX_RETRIES: usize = 3;

/// Where to fetch from, and where to.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The server, <https://huggingface.co> by default (`HF_ENDPOINT` elsewhere).
    pub endpoint: Option<String>,
    /// What tells the server who asks; by default what `huggingface-cli login` has left beside the cache.
    pub token: Option<String>,
    /// The folder of the cache, by default that of other tools (`HF_HUB_CACHE`, `hub` below `HF_HOME`).
    pub cache: Option<PathBuf>,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// The file.
    pub file: &'a str,
    /// Bytes that are there.
    pub done: u64,
    /// Its length.
    pub total: u64,
}

/// A repository in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The checkpoint's folder, with links into the cache's blobs.
    pub folder: PathBuf,
    /// The commit.
    pub commit: String,
    /// Files of the repository that were left out: other formats of the weights.
    pub left_out: Vec<String>,
    /// Files that were transferred; the others were there.
    pub n_transferred: usize,
}

/// Fetches what a checkpoint needs of the repository at `address`, and says how far it is to `watch`.
///
/// Files that are in the cache are not fetched again.
///
/// # Errors
/// [`Error`] names repository, file and server; what has arrived in part is kept for the next try.
pub fn fetch(
    address: &Address,
    settings: &Settings,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Fetched> {
    let endpoint = settings.endpoint.as_deref().unwrap_or(ENDPOINT);
    let endpoint = endpoint.trim_end_matches('/');
    let server = Server::new(endpoint, settings)?;
    let repository = server.repository(address)?;
    let (needed, left_out) = repository.split();
    for name in &left_out {
        tracing::info!(file = name, "left out: another format of the weights");
    }
    // All files of one commit, whatever happens to the branch meanwhile.
    let repo = Repo::with_revision(
        address.repository().to_owned(),
        RepoType::Model,
        repository.sha.clone(),
    );
    let cached = server.cache.repo(repo.clone());
    let remote = server.api.repo(repo);
    let folder = cached.pointer_path(&repository.sha);
    let mut n_transferred = 0;
    for file in needed {
        if !file.is_below() {
            return Err(Error::FileName {
                endpoint: endpoint.into(),
                found: file.rfilename.clone(),
            });
        }
        let path = folder.join(&file.rfilename);
        if path.is_file() {
            continue;
        }
        if file.size == Some(0) {
            // No range of it can be asked for.
            empty_file(&path)?;
            continue;
        }
        server.transfer(&remote, file, watch)?;
        check(&path, file)?;
        n_transferred += 1;
    }
    Ok(Fetched {
        folder,
        commit: repository.sha,
        left_out,
        n_transferred,
    })
}

/// The connection.
struct Server<'a> {
    endpoint: &'a str,
    api: Api,
    cache: Cache,
}

impl<'a> Server<'a> {
    fn new(endpoint: &'a str, settings: &Settings) -> Result<Self> {
        let cache = match &settings.cache {
            Some(path) => Cache::new(path.clone()),
            None => Cache::from_env(),
        };
        let mut builder = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(endpoint.to_owned())
            .with_progress(false)
            .with_retries(MAX_RETRIES);
        if settings.token.is_some() {
            builder = builder.with_token(settings.token.clone());
        }
        let what = || "the server's settings".to_owned();
        let api = builder.build().map_err(|e| told(e, endpoint, &what()))?;
        Ok(Self {
            endpoint,
            api,
            cache,
        })
    }

    /// What the server says of the repository.
    fn repository(&self, address: &Address) -> Result<Repository> {
        let wrong = |e: ureq::Error| {
            let error = ApiError::RequestError(Box::new(e));
            told(error, self.endpoint, &address.to_string())
        };
        let repo = Repo::with_revision(
            address.repository().to_owned(),
            RepoType::Model,
            address.revision().to_owned(),
        );
        let request = self.api.repo(repo).info_request().query("blobs", "true");
        let mut response = request.call().map_err(wrong)?;
        response.body_mut().read_json().map_err(wrong)
    }

    fn transfer(
        &self,
        remote: &ApiRepo,
        file: &RemoteFile,
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<()> {
        let name = &file.rfilename;
        let watcher = Watcher {
            file: name,
            done: 0,
            total: 0,
            watch,
        };
        match remote.download_with_progress(name, watcher) {
            Ok(_) => Ok(()),
            Err(e) => Err(told(e, self.endpoint, name)),
        }
    }
}

/// Passes on how far a transfer is.
struct Watcher<'a> {
    file: &'a str,
    done: u64,
    total: u64,
    watch: &'a mut dyn FnMut(Step<'_>),
}

impl Progress for Watcher<'_> {
    fn init(&mut self, size: usize, _: &str) {
        (self.done, self.total) = (0, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.watch)(Step {
            file: self.file,
            done: self.done,
            total: self.total,
        });
    }

    fn finish(&mut self) {}
}

/// An error of the transfer in words that help.
fn told(error: ApiError, endpoint: &str, what: &str) -> Error {
    let (endpoint, what) = (endpoint.to_owned(), what.to_owned());
    match error {
        ApiError::RequestError(source) => match *source {
            ureq::Error::StatusCode(404) => Error::NotFound { what, endpoint },
            ureq::Error::StatusCode(status @ (401 | 403)) => Error::NotPermitted {
                what,
                endpoint,
                status,
            },
            other => Error::Network {
                what,
                endpoint,
                source: Box::new(ApiError::RequestError(Box::new(other))),
            },
        },
        ApiError::LockAcquisition(_) => Error::Locked { what },
        ApiError::TooManyRetries(last) => told(*last, &endpoint, &what),
        ApiError::IoError(source) if is_of_disk(&source) => Error::Io {
            action: "write to the cache, fetching",
            path: what.into(),
            source,
        },
        source => Error::Network {
            what,
            endpoint,
            source: Box::new(source),
        },
    }
}

/// Whether an error is of the disk, not of the connection.
fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::PermissionDenied
            | Kind::ReadOnlyFilesystem
            | Kind::NotADirectory
            | Kind::NotFound
            | Kind::AlreadyExists
            | Kind::FileTooLarge
    )
}

fn empty_file(path: &Path) -> Result<()> {
    let wrong = |source| Error::Io {
        action: "create",
        path: path.into(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(wrong)?;
    }
    File::create(path).map(drop).map_err(wrong)
}

/// Compares a file that has arrived with what the server says of it; a damaged one is removed, blob and link.
fn check(path: &Path, file: &RemoteFile) -> Result<()> {
    let wrong = |source| Error::Io {
        action: "read",
        path: path.into(),
        source,
    };
    let found = fs::metadata(path).map_err(wrong)?.len();
    let damage = match file.size {
        Some(expected) if expected != found => {
            Some(("length", found.to_string(), expected.to_string()))
        }
        _ => match file.lfs.as_ref().and_then(|lfs| lfs.sha256.as_ref()) {
            Some(expected) => {
                let found = sha256_of(path).map_err(wrong)?;
                let is_same = found.eq_ignore_ascii_case(expected);
                (!is_same).then(|| ("SHA-256", found, expected.clone()))
            }
            None => None,
        },
    };
    let Some((what, found, expected)) = damage else {
        return Ok(());
    };
    // The link leads to the blob.
    let blob = fs::canonicalize(path).map_err(wrong)?;
    for path in [blob.as_path(), path] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(wrong(e)),
            _ => {}
        }
    }
    Err(Error::Damaged {
        file: file.rfilename.clone(),
        what,
        found,
        expected,
    })
}

fn sha256_of(path: &Path) -> io::Result<String> {
    const BUFFER_BYTES: usize = 1 << 20;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
