//! The few answers of the Hub that a transfer needs, over plain HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Bytes without a pattern, more than one packet of them.
pub(crate) fn weights() -> Vec<u8> {
    (0u32..100_000)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

pub(crate) fn files() -> [(&'static str, Vec<u8>); 5] {
    [
        ("config.json", b"{\"a\": 1}\n".to_vec()),
        ("model.safetensors", weights()),
        ("pytorch_model.bin", vec![1; 500]),
        ("1_Pooling/config.json", b"{}".to_vec()),
        ("empty.txt", Vec::new()),
    ]
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// The first byte asked for.
    pub(crate) from: Option<usize>,
    to: Option<usize>,
    pub(crate) token: Option<String>,
}

#[derive(Default)]
struct State {
    asked: Mutex<Vec<Request>>,
    n_bytes: AtomicUsize,
    n_breaks: AtomicUsize,
    damages: AtomicBool,
}

pub(crate) struct Server {
    port: u16,
    state: Arc<State>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that hangs up is no failure of the server's.
                thread::spawn(move || _ = state.answer(stream));
            }
        });
        Self { port, state }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.state.asked.lock().unwrap().clone()
    }

    /// The next `n_breaks` answers with longer bodies end after `n_bytes`.
    pub(crate) fn breaks_off_at(&self, n_bytes: usize, n_breaks: usize) {
        self.state.n_bytes.store(n_bytes, Ordering::SeqCst);
        self.state.n_breaks.store(n_breaks, Ordering::SeqCst);
    }

    /// Whether weights arrive other than they are.
    pub(crate) fn damages(&self, is_damaged: bool) {
        self.state.damages.store(is_damaged, Ordering::SeqCst);
    }
}

impl State {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut request = Request {
            path,
            from: None,
            to: None,
            token: None,
        };
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or_default();
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    let range = value.trim_start_matches("bytes=").split_once('-').unwrap();
                    (request.from, request.to) = (range.0.parse().ok(), range.1.parse().ok());
                }
                "authorization" => request.token = Some(value.to_owned()),
                _ => {}
            }
        }
        self.asked.lock().unwrap().push(request.clone());
        self.respond(stream, &request)
    }

    fn respond(&self, mut stream: TcpStream, request: &Request) -> std::io::Result<()> {
        let path = request.path.split('?').next().unwrap_or_default();
        let plain = |stream: &mut TcpStream, status: &str, body: &str| {
            let n = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n{body}"
            )
        };
        if path.starts_with("/api/models/org/private") {
            return plain(&mut stream, "401 Unauthorized", "{}");
        }
        if path == "/api/models/org/hostile/revision/main" {
            let body = format!(r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "../x"}}]}}"#);
            return plain(&mut stream, "200 OK", &body);
        }
        if path == "/api/models/org/model/revision/main" {
            return plain(&mut stream, "200 OK", &listing());
        }
        let prefix = format!("/org/model/resolve/{COMMIT}/");
        let found = path
            .strip_prefix(&prefix)
            .and_then(|name| files().into_iter().find(|f| f.0 == name));
        let Some((name, mut bytes)) = found else {
            return plain(&mut stream, "404 Not Found", "{}");
        };
        let digest = sha256(&bytes);
        if name == "model.safetensors" && self.damages.load(Ordering::SeqCst) {
            bytes[50_000] ^= 1;
        }
        let from = request.from.unwrap_or(0);
        let to = request.to.map_or(bytes.len(), |to| bytes.len().min(to + 1));
        if from >= to {
            return plain(&mut stream, "416 Range Not Satisfiable", "");
        }
        let body = &bytes[from..to];
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nETag: \"{digest}\"\r\n\
             X-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
            body.len(),
            to - 1,
            bytes.len(),
        )?;
        let n_bytes = self.n_bytes.load(Ordering::SeqCst);
        let breaks = body.len() > n_bytes && body.len() > 1000;
        let is_broken = breaks
            && self
                .n_breaks
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok();
        stream.write_all(match is_broken {
            true => &body[..n_bytes],
            false => body,
        })
    }
}

fn listing() -> String {
    let siblings = files().map(|(name, bytes)| {
        let n = bytes.len();
        let lfs = match name.ends_with(".json") {
            true => String::new(),
            false => format!(
                r#", "lfs": {{"sha256": "{}", "size": {n}}}"#,
                sha256(&bytes)
            ),
        };
        format!(r#"{{"rfilename": "{name}", "size": {n}{lfs}}}"#)
    });
    format!(
        r#"{{"id": "org/model", "sha": "{COMMIT}", "siblings": [{}]}}"#,
        siblings.join(", ")
    )
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
