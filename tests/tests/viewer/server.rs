//! A server of folders on this machine, with range requests or without.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nwc_tests::files_below;

/// A page that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether the server answers with the part of a file that was asked for, or with all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ranges {
    Served,
    Ignored,
}

pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    folders: Vec<(&'static str, PathBuf)>,
    ranges: Ranges,
    pages: Mutex<HashMap<String, String>>,
    /// The longest part that was asked for, by path.
    longest: Mutex<HashMap<String, u64>>,
    /// Whether `/ready` was asked for. `/when-ready` is answered only then: an image there keeps a page from being done
    /// while its scripts wait for what the browser does not count, such as files.
    is_ready: Mutex<bool>,
    changed: Condvar,
}

impl Server {
    /// Serves each folder under its name, and the viewer under `viewer`, until the test's process ends.
    pub(crate) fn start(mut folders: Vec<(&'static str, PathBuf)>, ranges: Ranges) -> Self {
        folders.push((
            "viewer",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../viewer"),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            folders,
            ranges,
            pages: Mutex::default(),
            longest: Mutex::default(),
            is_ready: Mutex::default(),
            changed: Condvar::new(),
        });
        let server = Self {
            address,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A browser that has read enough closes the connection.
                thread::spawn(move || _ = shared.answer(stream));
            }
        });
        server
    }

    /// Serves `text` as the page `name`.
    pub(crate) fn page(&mut self, name: &str, text: String) {
        self.shared.pages.lock().unwrap().insert(name.into(), text);
    }

    pub(crate) fn address(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The longest part of the file at `path` that was asked for, in bytes.
    pub(crate) fn longest_part(&self, path: &str) -> u64 {
        self.shared.longest.lock().unwrap()[path]
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(&stream).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let mut range: Option<(usize, usize)> = None;
        for line in lines {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(asked) = line.strip_prefix("range: bytes=") {
                range = asked
                    .split_once('-')
                    .map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        if path == "/ready" {
            *self.is_ready.lock().unwrap() = true;
            self.changed.notify_all();
        }
        if path == "/when-ready" {
            let is_ready = self.is_ready.lock().unwrap();
            _ = self
                .changed
                .wait_timeout_while(is_ready, LIMIT, |is_ready| !*is_ready);
        }
        let Some((kind, body)) = self.body(path) else {
            return respond(&stream, "404 Not Found", "text/plain", "", b"");
        };
        if let (Ranges::Served, Some((from, to))) = (self.ranges, range) {
            let (from, end) = (from, body.len().min(to + 1));
            let part = &body[from.min(end)..end];
            let mut longest = self.longest.lock().unwrap();
            let longest = longest.entry(path.into()).or_default();
            *longest = (*longest).max(part.len() as u64);
            let header = format!("Content-Range: bytes {from}-{to}/{}\r\n", body.len());
            return respond(&stream, "206 Partial Content", kind, &header, part);
        }
        respond(&stream, "200 OK", kind, "", &body)
    }

    /// Content type and bytes of what is at `path`: a page, a file, or the names of a folder's files as JSON.
    fn body(&self, path: &str) -> Option<(&'static str, Vec<u8>)> {
        let path = path.strip_prefix('/')?.replace("%20", " ");
        let path = path.as_str();
        if let Some(page) = self.pages.lock().unwrap().get(path) {
            return Some(("text/html", page.clone().into_bytes()));
        }
        let (folder, rest) = path.split_once('/')?;
        let (_, dir) = self.folders.iter().find(|(name, _)| *name == folder)?;
        let file = dir.join(rest);
        if file.is_dir() {
            let files = files_below(&file).into_keys();
            let names: Vec<String> = files
                .filter_map(|path| Some(path.to_str()?.replace('\\', "/")))
                .collect();
            return Some(("application/json", serde_json::to_vec(&names).ok()?));
        }
        let kind = match file.extension()?.to_str()? {
            "html" => "text/html",
            "js" => "text/javascript",
            _ => "application/octet-stream",
        };
        Some((kind, fs::read(file).ok()?))
    }
}

fn respond(
    mut stream: &TcpStream,
    status: &str,
    kind: &str,
    header: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}
