//! The viewer and the page of `inspect --html` in a browser: the viewer's parser against the facade, and what is drawn.
//!
//! Chromium is needed (Debian: `apt-get install chromium`, or its path in `CHROMIUM`); where there is none, these tests
//! say so and pass.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

mod viewer {
    pub(crate) mod browser;
    pub(crate) mod server;
}

use std::fs;
use std::path::{Path, PathBuf};

use nwc::{CodecChoice, CompressOptions, Inspection, NoProgress};
use nwc_tests::{TestTensor, fixtures, llama_like, write_checkpoint};
use safetensors::Dtype;
use serde_json::{Value, json};
use viewer::browser::{Browser, between, unescaped};
use viewer::server::{Ranges, Server};

const HOSTILE: &str = "</script><script>document.title='pwned'</script>\"'&\u{202e}重み";

/// A folder of two shards with hostile names, a plain one, and damaged copies.
fn checkpoints() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let hostile = |tail: &str, shape: &[usize]| {
        TestTensor::gaussian(&format!("{HOSTILE}{tail}"), shape, Dtype::F32, 5)
    };
    let down = TestTensor::gaussian(
        "model.layers.1.mlp.down_proj.weight",
        &[64, 96],
        Dtype::BF16,
        6,
    );
    let second = vec![hostile("", &[96, 64]), hostile("__proto__", &[3]), down];
    write_checkpoint(&path("plain"), &[llama_like(), second]);
    fs::write(path("plain").join("notes.txt"), "kept").unwrap();
    let options = CompressOptions::new(CodecChoice::bits(5.0));
    nwc::compress(path("plain"), path("sharded"), &options, &NoProgress).unwrap();
    // Folders of several checkpoints: one without weights at the top, one inside another.
    let parts = path("parts");
    write_checkpoint(&parts.join("unet"), &[llama_like()]);
    let (from, to) = ("model.safetensors", "diffusion_pytorch_model.safetensors");
    fs::rename(parts.join("unet").join(from), parts.join("unet").join(to)).unwrap();
    write_checkpoint(&parts.join("text encoder"), &[llama_like()]);
    let tied = [
        TestTensor::gaussian("a.weight", &[96, 64], Dtype::BF16, 6),
        TestTensor::gaussian("b.weight", &[96, 64], Dtype::BF16, 6),
    ];
    write_checkpoint(&parts.join("unet/inner"), &[tied.to_vec(), llama_like()]);
    fs::write(parts.join("model_index.json"), "{}").unwrap();
    nwc::compress(&parts, path("pipeline"), &options, &NoProgress).unwrap();
    for (name, at) in [("damaged", 300), ("longer", 0)] {
        fs::create_dir(path(name)).unwrap();
        let file = "model.safetensors";
        let mut bytes = fs::read(fixtures().join("v1/trellis").join(file)).unwrap();
        match at {
            0 => bytes.push(0),
            at => bytes[at] ^= 1,
        }
        fs::write(path(name).join(file), bytes).unwrap();
    }
    dir
}

/// A page that inspects each of `cases`, folders below the server's root by the way in which they are read.
fn harness(cases: &[(&str, &str)]) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><script src="/viewer/viewer.js"></script><pre id="out"></pre>
        <img src="/when-ready"><script>
        (async () => {{
            const out = [];
            for (const [how, folder] of {cases}) {{
                const at = new URL(`/${{folder}}/`, location);
                try {{
                    let source = nwcViewer.urlSource(at);
                    if (how === "files") {{
                        const files = new Map();
                        for (const name of await (await fetch(at)).json()) {{
                            files.set(name, new File([await (await fetch(at + name)).blob()], name));
                        }}
                        source = nwcViewer.fileSource(files);
                    }}
                    out.push(await nwcViewer.inspect(source));
                }} catch (error) {{
                    out.push(error.message);
                }}
            }}
            document.getElementById("out").textContent = JSON.stringify(out);
            await fetch("/ready");
        }})();
        </script>"#,
        cases = json!(cases)
    )
}

/// Equal but for the last bits of sums that pass through another printer of numbers.
#[track_caller]
fn assert_same(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(
                a.keys().collect::<Vec<_>>(),
                b.keys().collect::<Vec<_>>(),
                "{place}"
            );
            b.iter()
                .for_each(|(key, b)| assert_same(&a[key], b, &format!("{place}.{key}")));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            a.iter().zip(b).for_each(|(a, b)| assert_same(a, b, place));
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() <= 1e-12 * b.abs(), "{place}: {a} {b}");
        }
        (a, b) => assert_eq!(a, b, "{place}"),
    }
}

#[test]
fn the_viewer_reads_what_inspect_reads() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let dir = checkpoints();
    let served = |ranges| {
        Server::start(
            vec![("models", dir.path().into()), ("v1", fixtures().join("v1"))],
            ranges,
        )
    };
    let good = [
        "models/sharded",
        "models/pipeline",
        "v1/trellis",
        "v1/neural",
    ];
    let bad = [
        ("models/plain", "not compressed by nwc"),
        ("models/nowhere", "there is no such file"),
        ("models/damaged", "digest"),
    ];
    let on_disk = |folder: &str| -> PathBuf {
        match folder.split_once('/').unwrap() {
            ("v1", name) => fixtures().join("v1").join(name),
            (_, name) => dir.path().join(name),
        }
    };
    for ranges in [Ranges::Served, Ranges::Ignored] {
        let mut server = served(ranges);
        let mut cases: Vec<_> = good.iter().map(|folder| ("url", *folder)).collect();
        cases.extend(good.iter().map(|folder| ("files", *folder)));
        cases.extend(bad.iter().map(|(folder, _)| ("url", *folder)));
        cases.push(("files", "models/longer"));
        server.page("harness", harness(&cases));
        let dom = browser.dom(&server.address("harness"));
        let out: Value =
            serde_json::from_str(&unescaped(between(&dom, "<pre id=\"out\">", "</pre>"))).unwrap();
        for (idx, folder) in good.iter().chain(&good).enumerate() {
            let expected = serde_json::to_value(nwc::inspect(on_disk(folder)).unwrap()).unwrap();
            assert_same(&out[idx], &expected, folder);
        }
        for (idx, (folder, message)) in bad.iter().enumerate() {
            let said = out[2 * good.len() + idx].as_str().unwrap();
            assert!(said.contains(message), "{folder}: {said}");
        }
        let said = out[2 * good.len() + bad.len()].as_str().unwrap();
        assert!(said.contains("bytes long, not"), "{said}");
        if matches!(ranges, Ranges::Served) {
            let longest = server.longest_part("/v1/neural/model.safetensors");
            let file = fixtures().join("v1/neural/model.safetensors");
            assert!(
                longest < fs::metadata(file).unwrap().len() / 2,
                "{longest} bytes were asked for at once"
            );
        }
    }
}

#[test]
fn the_viewer_shows_the_page() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let dir = checkpoints();
    let server = Server::start(vec![("models", dir.path().into())], Ranges::Served);
    let dom = browser.dom(&server.address("viewer/index.html?url=/models/sharded"));
    assert_drawn(
        &dom,
        &[
            "By layer",
            "By kind of tensor",
            "All tensors",
            "Carried files",
        ],
    );
    assert!(dom.contains("notes.txt"), "{dom}");
    let dom = browser.dom(&server.address("viewer/index.html?url=/models/plain"));
    assert!(
        between(&dom, "role=\"status\"", "</p>").contains("not compressed by nwc"),
        "{dom}"
    );
}

#[test]
fn the_page_of_inspect() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let dir = checkpoints();
    let path = dir.path().join("page.html");
    let draw = |inspection: &Inspection| {
        fs::write(&path, inspection.to_html(HOSTILE)).unwrap();
        browser.dom(&format!("file://{}", path.display()))
    };
    let inspection = nwc::inspect(dir.path().join("sharded")).unwrap();
    let dom = draw(&inspection);
    assert_drawn(
        &dom,
        &[
            "Where the bytes are",
            "By layer",
            "By kind of tensor",
            "What is not coded",
            "All tensors",
        ],
    );
    assert!(
        dom.contains("&lt;script&gt;document.title='pwned'"),
        "{dom}"
    );

    let mut empty = inspection.clone();
    empty.tensors.clear();
    assert_drawn(&draw(&empty), &["Carried files"]);

    let mut large = inspection.clone();
    let first = inspection.tensors[0].clone();
    large.tensors = (0..10_000)
        .map(|idx| nwc::TensorSummary {
            name: format!("model.layers.{}.experts.{idx}.weight", idx / 250),
            ..first.clone()
        })
        .collect();
    let dom = draw(&large);
    assert_drawn(&dom, &["By layer", "All tensors"]);
    // As many rows as are shown at once, and not all.
    assert!(
        between(&dom, "class=\"tensors\"", "</table>")
            .matches("<tr")
            .count()
            < 1000
    );
}

#[test]
fn the_table_is_sorted_and_filtered() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let dir = checkpoints();
    let inspection = nwc::inspect(dir.path().join("sharded")).unwrap();
    let path = dir.path().join("page.html");
    let rows_after = |script: &str| {
        let last = format!("<script>{script}</script></body>");
        let page = inspection.to_html("model").replace("</body>", &last);
        fs::write(&path, page).unwrap();
        let dom = browser.dom(&format!("file://{}", path.display()));
        let table = between(&dom, "class=\"tensors\"", "</table>").to_owned();
        let rows = between(&table, "<tbody>", "</tbody>").split("<tr").skip(1);
        let name = |row: &str| unescaped(between(row, "<bdi class=\"name\">", "</bdi>"));
        (rows.map(name).collect::<Vec<_>>(), table)
    };
    let click = "document.querySelectorAll('.tensors th button')[6].click();";
    let mut by_bytes: Vec<_> = inspection.tensors.iter().collect();
    by_bytes.sort_by_key(|tensor| tensor.n_bytes);
    let (down, table) = rows_after(click);
    assert_eq!(down.len(), by_bytes.len());
    assert_eq!(down[0], by_bytes[by_bytes.len() - 1].name);
    assert!(table.contains("aria-sort=\"descending\""));
    let (up, table) = rows_after(&click.repeat(2));
    assert_eq!(up[up.len() - 1], by_bytes[by_bytes.len() - 1].name);
    assert!(table.contains("aria-sort=\"ascending\""));
    let filter = |id: &str, value: &str, event: &str| {
        format!(
            "document.getElementById('{id}').value = '{value}';\
             document.getElementById('{id}').dispatchEvent(new Event('{event}'));"
        )
    };
    let (found, _) = rows_after(&filter("nwc-filter", "MLP bf16", "input"));
    assert!(
        !found.is_empty() && found.iter().all(|name| name.contains("mlp")),
        "{found:?}"
    );
    let (found, _) = rows_after(&filter("nwc-coding", "kept", "change"));
    let kept = inspection
        .tensors
        .iter()
        .filter(|tensor| tensor.coding == "lossless");
    assert_eq!(found.len(), kept.count());
}

/// That the page was drawn, and that no name became markup.
#[track_caller]
fn assert_drawn(dom: &str, headings: &[&str]) {
    for heading in headings {
        assert!(dom.contains(&format!(">{heading}")), "no {heading}");
    }
    assert!(!dom.contains("<title>pwned"), "a script in a name ran");
}

#[test]
fn the_viewers_files_are_found() {
    let viewer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../viewer");
    let page = fs::read_to_string(viewer.join("index.html")).unwrap();
    let script = fs::read_to_string(viewer.join("viewer.js")).unwrap();
    assert!(page.contains("src=\"viewer.js\"") && script.contains("showInspection"));
}
