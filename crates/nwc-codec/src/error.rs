//! What can go wrong in a codec.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate, sorted by who must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration asks for what this version does not run.
    #[error("codec field {field} is {found}, allowed: {allowed}")]
    Config {
        /// Field of the configuration.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        allowed: String,
    },
}
