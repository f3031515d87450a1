//! Where a model is: `hf:org/model`, `hf:org/model@revision`.

use std::fmt;

use crate::{Error, Result};

/// What an address begins with.
const SCHEME: &str = "hf:";

/// A repository of models and a revision of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    repository: String,
    revision: String,
}

impl Address {
    /// Reads an address; `None` where `text` is none, as a path is.
    ///
    /// Without `@revision` it is `main`'s.
    pub fn parse(text: &str) -> Option<Result<Self>> {
        let rest = text.strip_prefix(SCHEME)?;
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let is_name = |part: &str| {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(is_allowed)
        };
        let parts: Vec<&str> = repository.split('/').collect();
        // Old models have no organisation.
        let is_repository = matches!(parts.len(), 1 | 2) && parts.iter().all(|part| is_name(part));
        let is_revision = !revision.is_empty() && revision.split('/').all(is_name);
        Some(match is_repository && is_revision {
            true => Ok(Self {
                repository: repository.into(),
                revision: revision.into(),
            }),
            false => Err(Error::Address { found: text.into() }),
        })
    }

    /// The repository, `org/model`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A branch, a tag or a commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.repository, self.revision)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn addresses() {
        let of = |text: &str| Address::parse(text).map(|address| address.unwrap().to_string());
        assert_eq!(of("hf:org/model").unwrap(), "hf:org/model@main");
        assert_eq!(of("hf:gpt2").unwrap(), "hf:gpt2@main");
        assert_eq!(of("hf:o/m.1@refs/pr/2").unwrap(), "hf:o/m.1@refs/pr/2");
        assert_eq!(of("org/model"), None);
        assert_eq!(of("C:\\hf:x"), None);
        for bad in [
            "hf:",
            "hf:a/b/c",
            "hf:a/",
            "hf:a@",
            "hf:../b",
            "hf:a/b?x",
            "hf:a@../x",
        ] {
            let error = Address::parse(bad).unwrap().unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
