//! What can go wrong on the way.

use std::io;
use std::path::PathBuf;

use hf_hub::api::sync::ApiError;

/// [`std::result::Result`] with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No address.
    #[error("{found} is no address of a model, expected hf:org/model or hf:org/model@revision")]
    Address {
        /// What was given.
        found: String,
    },
    /// The server knows no such repository, revision or file.
    #[error("{what} is not on {endpoint}; is its name right?")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The server.
        endpoint: String,
    },
    /// The server wants to know who asks. It says the same of repositories that are not there.
    #[error(
        "{endpoint} does not give {what} away (status {status}): it is not there, or private, or its terms must be accepted; set HF_TOKEN to a token that may read it"
    )]
    NotPermitted {
        /// What was asked for.
        what: String,
        /// The server.
        endpoint: String,
        /// 401 or 403.
        status: u16,
    },
    /// No answer, or one that is none.
    #[error(
        "fetching {what} from {endpoint} failed; what has arrived stays, and the next try goes on from there"
    )]
    Network {
        /// What was asked for.
        what: String,
        /// The server.
        endpoint: String,
        /// What happened.
        #[source]
        source: Box<ApiError>,
    },
    /// The cache cannot be read or written; the disk may be full.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file arrived that is another than the server says; it was removed.
    #[error(
        "{file} arrived damaged and was removed: {what} is {found}, expected {expected}; try again"
    )]
    Damaged {
        /// The file in the repository.
        file: String,
        /// `length` or `SHA-256`.
        what: &'static str,
        /// What arrived.
        found: String,
        /// What the server says.
        expected: String,
    },
    /// The server lists a name that leads out of the folder.
    #[error("{endpoint} lists a file {found}, which is no path below the repository")]
    FileName {
        /// The server.
        endpoint: String,
        /// The name.
        found: String,
    },
    /// Two transfers of one file at once.
    #[error("another process is fetching {what}; wait for it")]
    Locked {
        /// The file.
        what: String,
    },
}
