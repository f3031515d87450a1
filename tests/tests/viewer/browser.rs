//! A browser without a window.

use std::env;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// A page that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(180);

pub(crate) struct Browser {
    program: PathBuf,
}

impl Browser {
    /// Chromium; where there is none, it is said that the test did not run.
    pub(crate) fn find() -> Option<Self> {
        let named = env::var_os("CHROMIUM").map(PathBuf::from);
        let found = named.or_else(|| {
            let dirs: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
            let paths = NAMES
                .iter()
                .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
            paths.into_iter().find(|path| path.is_file())
        });
        if found.is_none() {
            // Past the test harness, which keeps what macros print of tests that pass.
            let said = "skipped: no Chromium is there to draw the page (apt-get install chromium, or CHROMIUM=PROGRAM)\n";
            _ = std::io::stderr().write_all(said.as_bytes());
        }
        found.map(|program| Self { program })
    }

    /// The page at `address` as it is once its scripts have run, as HTML.
    pub(crate) fn dom(&self, address: &str) -> String {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new(&self.program)
            // Only pages of these tests are opened, and the sandbox needs what containers do not have.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
                "--virtual-time-budget=30000",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(address)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = browser.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut dom = Vec::new();
            stdout.read_to_end(&mut dom).map(|_| dom)
        });
        let start = Instant::now();
        while browser.try_wait().unwrap().is_none() {
            if start.elapsed() > LIMIT {
                browser.kill().unwrap();
                panic!("{address} is not drawn after {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        String::from_utf8(reader.join().unwrap().unwrap()).unwrap()
    }
}

/// What is between the first `start` and the `end` after it.
#[track_caller]
pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end)
        .unwrap_or_else(|| panic!("no {end} in {rest}"))
        .0
}

/// The text of an element.
pub(crate) fn unescaped(html: &str) -> String {
    html.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&nbsp;", "\u{a0}")
        .replace("&amp;", "&")
}
