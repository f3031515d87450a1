//! Names of carried files as the table spells them: paths with `/`, and a spelling for names that are no text.
//!
//! A path of plain text is its own key. Where a name is not UTF-8, or holds a character that other systems do not
//! allow in names (`\`, `:`), the key is `%nwc/` and the path with those bytes, and `%`, as `%` and two hexadecimal
//! digits. A path that itself begins with `%nwc/` is spelled so too: a key stands for exactly one path.

use std::path::{Component, Path, PathBuf};

/// Marks a key in which bytes are spelled out.
const MARKER: &str = "%nwc/";

/// The key of a relative path; `None` where it is not relative or leads out of its folder.
pub(crate) fn key_of(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(bytes_of(part)?),
            _ => return None,
        }
    }
    let bytes = parts.join(&b'/');
    if bytes.is_empty() {
        return None;
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains(['\\', ':']) && !text.starts_with(MARKER) => Some(text.into()),
        _ => Some(format!("{MARKER}{}", spell(&bytes))),
    }
}

/// The relative path of a key; `None` where the key is no path below the folder, or not as [`key_of`] writes it.
pub(crate) fn path_of(key: &str) -> Option<PathBuf> {
    let bytes = match key.strip_prefix(MARKER) {
        Some(spelled) => read(spelled)?,
        None => key.as_bytes().to_vec(),
    };
    let is_part = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    if !bytes.split(|&b| b == b'/').all(is_part) {
        return None;
    }
    let path = path_from(bytes)?;
    // One key for each path, and on other systems no drive letters and no further separators.
    (key_of(&path).as_deref() == Some(key)).then_some(path)
}

fn spell(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '%' | '\\' | ':' => out.push_str(&format!("%{:02X}", u32::from(c))),
                _ => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn read(spelled: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(spelled.len());
    let mut rest = spelled.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return None;
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        out.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        rest = tail;
    }
    Some(out)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems cannot always")]
fn bytes_of(part: &std::ffi::OsStr) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    Some(part.as_bytes().to_vec())
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems cannot always")]
fn path_from(bytes: Vec<u8>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn bytes_of(part: &std::ffi::OsStr) -> Option<Vec<u8>> {
    part.to_str().map(|s| s.as_bytes().to_vec())
}

#[cfg(not(unix))]
fn path_from(bytes: Vec<u8>) -> Option<PathBuf> {
    let text = String::from_utf8(bytes).ok()?;
    // Characters that this system does not allow in names cannot be given back.
    (!text.contains(['\\', ':'])).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn path(bytes: &[u8]) -> PathBuf {
        path_from(bytes.to_vec()).unwrap()
    }

    #[cfg(unix)]
    #[track_caller]
    fn check(bytes: &[u8], key: &str) {
        assert_eq!(key_of(&path(bytes)).as_deref(), Some(key));
        assert_eq!(path_of(key), Some(path(bytes)));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_the_path_where_it_can_be() {
        check(b"config.json", "config.json");
        check(
            "1_Pooling/größe 100%.json".as_bytes(),
            "1_Pooling/größe 100%.json",
        );
        check(b"a\xff\xc3\xa4.txt", "%nwc/a%FFä.txt");
        check(b"a:b/c\\d%", "%nwc/a%3Ab/c%5Cd%25");
        check(b"%nwc/x", "%nwc/%25nwc/x");
    }

    #[test]
    fn a_key_stays_below_the_folder() {
        for key in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            "a:b",
            "a\\b",
            "a\0b",
            "%nwc/",
            "%nwc/..",
            "%nwc/%2E%2E/x",
            "%nwc/%2Fetc",
            "%nwc/a%00",
            "%nwc/%4",
            "%nwc/%zz",
            "%nwc/plain",
            "%nwc/a%2fb%FF",
        ] {
            assert_eq!(path_of(key), None, "{key}");
        }
        assert_eq!(key_of(Path::new("/abs")), None);
        assert_eq!(key_of(Path::new("../up")), None);
        assert_eq!(key_of(Path::new("")), None);
    }
}
