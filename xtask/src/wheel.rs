//! Unpacks chosen files of a wheel, which is a ZIP archive.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Unpacks every file for which `place` gives a path, relative to `into`, and returns how many that were.
///
/// # Errors
/// Where the archive cannot be read, or a file cannot be written; a full disk is named as such.
pub(crate) fn unpack(
    wheel: &Path,
    into: &Path,
    place: impl Fn(&str) -> Option<PathBuf>,
) -> Result<usize> {
    let mut archive = open(wheel)?;
    let mut n_files = 0;
    for idx in 0..archive.len() {
        let mut entry = archive.by_index(idx)?;
        if entry.is_dir() {
            continue;
        }
        let Some(relative) = place(entry.name()) else {
            continue;
        };
        // The name comes from the archive: it must not lead out of the folder.
        if entry.enclosed_name().is_none() {
            bail!("{} holds a file named '{}'", wheel.display(), entry.name());
        }
        let path = into.join(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let written = File::create(&path).and_then(|mut file| io::copy(&mut entry, &mut file));
        written.map_err(|error| at(&path, error))?;
        n_files += 1;
    }
    Ok(n_files)
}

/// The bytes of the one file named `name`, at most `limit_bytes`.
///
/// # Errors
/// Where it is not there, is larger, or does not unpack.
pub(crate) fn read(wheel: &Path, name: &str, limit_bytes: u64) -> Result<Vec<u8>> {
    let mut archive = open(wheel)?;
    let entry = archive
        .by_name(name)
        .with_context(|| format!("{} holds no '{name}'", wheel.display()))?;
    let size_bytes = entry.size();
    if size_bytes > limit_bytes {
        bail!("'{name}' has {size_bytes} bytes, at most {limit_bytes} allowed");
    }
    let mut bytes = Vec::new();
    entry.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open(wheel: &Path) -> Result<zip::ZipArchive<BufReader<File>>> {
    let file = File::open(wheel).with_context(|| format!("cannot open {}", wheel.display()))?;
    zip::ZipArchive::new(BufReader::new(file))
        .with_context(|| format!("{} is not a wheel", wheel.display()))
}

fn at(path: &Path, error: io::Error) -> anyhow::Error {
    let what = match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full",
        _ => "cannot write",
    };
    anyhow::Error::new(error).context(format!("{what}: {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(dir: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let path = dir.join("a.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in files {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn only_what_has_a_place_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let long = vec![7_u8; 100_000];
        let wheel = archive(
            dir.path(),
            &[
                ("t/lib/a.so", &long),
                ("t/skip.py", b"x"),
                ("t/include/b.h", b"b"),
            ],
        );
        let out = dir.path().join("out");
        let n_files = unpack(&wheel, &out, |name| {
            let name = name.strip_prefix("t/")?;
            (!name.ends_with(".py")).then(|| PathBuf::from(name))
        });
        assert_eq!(n_files.unwrap(), 2);
        assert_eq!(fs::read(out.join("lib/a.so")).unwrap(), long);
        assert!(!out.join("skip.py").exists());
    }

    #[test]
    fn a_name_that_leads_out_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = archive(dir.path(), &[("../evil", b"x")]);
        let error = unpack(&wheel, dir.path(), |_| Some("fine".into()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("../evil"), "{error}");
    }

    #[test]
    fn one_file_is_read_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = archive(dir.path(), &[("m/model", b"12345")]);
        assert_eq!(read(&wheel, "m/model", 5).unwrap(), b"12345");
        assert!(
            read(&wheel, "m/model", 4)
                .unwrap_err()
                .to_string()
                .contains("at most 4")
        );
        assert!(
            read(&wheel, "m/other", 4)
                .unwrap_err()
                .to_string()
                .contains("m/other")
        );
    }

    #[test]
    fn what_is_no_archive_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no.whl");
        fs::write(&path, "nothing").unwrap();
        let error = read(&path, "x", 1).unwrap_err().to_string();
        assert!(error.contains("no.whl is not a wheel"), "{error}");
    }
}
