//! `hf:org/model` in the place of a folder, from a server on this machine.
#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves the files of `dir` as the repository `org/model`; gives the server's address.
fn serve(dir: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let entries = fs::read_dir(dir).unwrap().flatten();
    let files: Vec<(String, Vec<u8>)> = entries
        .map(|e| {
            (
                e.file_name().into_string().unwrap(),
                fs::read(e.path()).unwrap(),
            )
        })
        .collect();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that hangs up is no failure of the server's.
            _ = answer(stream, &files);
        }
    });
    endpoint
}

fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let path = request.split([' ', '?']).nth(1).unwrap().to_owned();
    let mut range = (0, usize::MAX);
    for line in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        if let Some(found) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (from, to) = found.split_once('-').unwrap();
            range = (
                from.parse().unwrap(),
                to.parse().map_or(usize::MAX, |to: usize| to + 1),
            );
        }
    }
    if path == "/api/models/org/model/revision/main" {
        let names = files
            .iter()
            .map(|(name, bytes)| format!(r#"{{"rfilename": "{name}", "size": {}}}"#, bytes.len()));
        let names: Vec<String> = names.collect();
        let body = format!(
            r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#,
            names.join(",")
        );
        let n = body.len();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n{body}"
        );
    }
    let name = path.strip_prefix(&format!("/org/model/resolve/{COMMIT}/"));
    let Some((name, bytes)) = files.iter().find(|(file, _)| Some(file.as_str()) == name) else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let (from, to) = (range.0, range.1.min(bytes.len()));
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\
         ETag: \"{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        to - from,
        to - 1,
        bytes.len()
    )?;
    stream.write_all(&bytes[from..to])
}

fn run(dir: &Path, endpoint: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nwc-cli"));
    command.args(args).current_dir(dir);
    command
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HUB_CACHE", dir.join("cache"));
    command.env_remove("HF_TOKEN").env_remove("RUST_LOG");
    command.output().unwrap()
}

#[test]
fn a_model_and_its_compressed_folder_from_the_hub() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("model")).unwrap();
    let header = r#"{"a.weight":{"dtype":"F32","shape":[96,64],"data_offsets":[0,24576]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let mut state = 1u32;
    for _ in 0..96 * 64 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend((f32::from((state >> 16) as u16) / 65_536.0 - 0.5).to_le_bytes());
    }
    fs::write(path("model/model.safetensors"), bytes).unwrap();
    fs::write(path("model/config.json"), "{\"hidden_size\": 64}\n").unwrap();

    let plain = serve(&path("model"));
    let done = run(
        dir.path(),
        &plain,
        &["compress", "hf:org/model", "packed", "--card", "-q"],
    );
    assert!(done.status.success(), "{done:?}");
    let card = fs::read_to_string(path("packed/README.md")).unwrap();
    assert!(card.starts_with("---\nbase_model: org/model\n"), "{card}");
    let packed = serve(&path("packed"));
    fs::remove_dir_all(path("cache")).unwrap();
    let done = run(
        dir.path(),
        &packed,
        &["decompress", "hf:org/model@main", "again", "-q"],
    );
    assert!(done.status.success(), "{done:?}");
    let config = |name: &str| fs::read(path(name).join("config.json")).unwrap();
    assert_eq!(config("model"), config("again"));

    assert!(!path("again/README.md").exists());

    let gone = run(dir.path(), &plain, &["compress", "hf:org/none", "out"]);
    let said = String::from_utf8(gone.stderr).unwrap();
    assert_eq!(gone.status.code(), Some(2));
    assert!(
        said.contains("hf:org/none@main is not on http://"),
        "{said}"
    );
    assert!(!path("out").exists());
}
