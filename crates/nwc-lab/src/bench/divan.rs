//! Runs a crate's divan benches and reads the table that they print.

use anyhow::{Context as _, Result, ensure};

use xtask::workspace;

/// What the fastest sample of one bench took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Names from the group to the argument, without the program's: `["synthesis", "small"]`.
    pub(super) path: Vec<String>,
    /// Items a second; `None` where the bench counts none.
    pub(super) items_per_s: Option<f64>,
    /// Bytes a second; `None` where the bench counts none.
    pub(super) bytes_per_s: Option<f64>,
}

/// Runs those benches of `target` in `package` that match `filter`, a regular expression, for `seconds` each.
///
/// # Errors
/// Where it does not build or run, or prints no table.
pub(super) fn run(package: &str, target: &str, filter: &str, seconds: f64) -> Result<Vec<Entry>> {
    workspace::title(&format!("{package}, {target}: {filter}"));
    let output = workspace::cargo()
        .args(["bench", "--quiet", "-p", package, "--bench", target, "--"])
        .args(["--max-time", &seconds.to_string(), filter])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "bench {target} of {package} failed ({})",
        output.status
    );
    let entries = parse(&String::from_utf8_lossy(&output.stdout));
    ensure!(
        !entries.is_empty(),
        "bench {target} of {package} printed no figures for {filter}"
    );
    Ok(entries)
}

/// The benches of a printed table, with their fastest samples.
fn parse(table: &str) -> Vec<Entry> {
    let mut path: Vec<String> = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    for line in table.lines() {
        let (depth, is_branch, rest) = indentation(line);
        if is_branch {
            let (name, _) = rest.split_once("  ").unwrap_or((rest, ""));
            path.truncate(depth);
            path.push(name.trim().to_owned());
            entries.push(Entry {
                path: path.clone(),
                items_per_s: None,
                bytes_per_s: None,
            });
            continue;
        }
        let fastest = rest.split('│').next().unwrap_or_default().trim();
        if let (Some((rate, unit)), Some(entry)) = (rate(fastest), entries.last_mut()) {
            match unit {
                Unit::Items => entry.items_per_s = Some(rate),
                Unit::Bytes => entry.bytes_per_s = Some(rate),
            }
        }
    }
    entries.retain(|entry| entry.items_per_s.or(entry.bytes_per_s).is_some());
    entries
}

/// How deep a line stands in the tree, whether it begins a branch, and what follows.
fn indentation(line: &str) -> (usize, bool, &str) {
    let mut rest = line;
    let mut depth = 0;
    loop {
        if let Some(name) = rest.strip_prefix("├─ ").or(rest.strip_prefix("╰─ ")) {
            return (depth, true, name);
        }
        match rest.strip_prefix("│  ").or(rest.strip_prefix("   ")) {
            Some(deeper) => rest = deeper,
            None => return (depth, false, rest.trim_start()),
        }
        depth += 1;
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Items,
    Bytes,
}

/// Reads `1.219 Gitem/s` or `76 MB/s`; `None` for what is no rate.
fn rate(cell: &str) -> Option<(f64, Unit)> {
    let (number, unit) = cell.split_once(' ')?;
    let number: f64 = number.parse().ok()?;
    let (prefix, unit) = match (unit.strip_suffix("item/s"), unit.strip_suffix("B/s")) {
        (Some(prefix), _) => (prefix, Unit::Items),
        (_, Some(prefix)) => (prefix, Unit::Bytes),
        _ => return None,
    };
    let factor = match prefix {
        "" => 1.0,
        "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        _ => return None,
    };
    Some((number * factor, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = "\
Timer precision: 18 ns
rans                  fastest       │ slowest       │ median │ mean │ samples │ iters
├─ decode_by                        │               │        │      │         │
│  ├─ Avx2            257.7 µs      │ 8.338 ms      │ 258 µs │ 1 ms │ 100     │ 100
│  │                  382.2 MB/s    │ 11.81 MB/s    │ 1 MB/s │ 1    │         │
│  │                  1.017 Gitem/s │ 31.43 Mitem/s │ 1      │ 1    │         │
│  ╰─ (1536, 576)     1.297 ms      │ 13.4 ms       │ 1 ms   │ 1 ms │ 100     │ 100
│                     202.1 Mitem/s │ 19.55 Mitem/s │ 1      │ 1    │         │
├─ untimed            3 ms          │ 4 ms          │ 3 ms   │ 3 ms │ 1       │ 1
╰─ memory_copy        336.2 ms      │ 336.2 ms      │ 3 ms   │ 3 ms │ 1       │ 1
                      798.3 MB/s    │ 798.3 MB/s    │ 1      │ 1    │         │
";
        let entry = |path: &[&str], items_per_s, bytes_per_s| Entry {
            path: path.iter().map(|&name| name.to_owned()).collect(),
            items_per_s,
            bytes_per_s,
        };
        let expected = [
            entry(&["decode_by", "Avx2"], Some(1.017e9), Some(382.2e6)),
            entry(&["decode_by", "(1536, 576)"], Some(202.1e6), None),
            entry(&["memory_copy"], None, Some(798.3e6)),
        ];
        let found = parse(table);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.path, expected.path);
            let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1.0,
                (a, b) => a == b,
            };
            assert!(near(found.items_per_s, expected.items_per_s), "{found:?}");
            assert!(near(found.bytes_per_s, expected.bytes_per_s), "{found:?}");
        }
    }

    #[test]
    fn a_time_is_no_rate() {
        assert_eq!(rate("1.297 ms"), None);
        assert_eq!(rate(""), None);
        assert_eq!(rate("12 item/s"), Some((12.0, Unit::Items)));
    }
}
