//! The binary as a user meets it: help, exit codes, one-line errors, output.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    /// A checkpoint of one matrix and one norm.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let case = Self { dir };
        let model = case.path("model");
        fs::create_dir(&model).unwrap();
        write_safetensors(&model.join("model.safetensors"), (96, 64), noise);
        fs::write(model.join("config.json"), "{\n  \"hidden_size\": 64\n}\n").unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_nwc-cli"))
            .args(args)
            .current_dir(self.dir.path())
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert_eq!(stderr, "", "nothing is said where all is well");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a failing call says; one line, nothing on standard output.
    #[track_caller]
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(output.stdout, b"");
        stderr
    }

    /// The first line that a call with a wrong argument gets; usage follows it.
    #[track_caller]
    fn misused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_eq!(output.stdout, b"");
        stderr.lines().next().unwrap().to_owned()
    }
}

fn write_safetensors(path: &Path, (rows, cols): (usize, usize), weight: impl Fn(f32) -> f32) {
    let n_bytes = rows * cols * 4;
    let header = json!({
        "__metadata__": {"format": "pt"},
        "layer.weight": {"dtype": "F32", "shape": [rows, cols], "data_offsets": [0, n_bytes]},
        "norm.weight": {"dtype": "F32", "shape": [2], "data_offsets": [n_bytes, n_bytes + 8]},
    })
    .to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    for i in 0..rows * cols {
        bytes.extend(weight(i as f32 * 0.37).to_le_bytes());
    }
    bytes.extend([1f32, 2.0].iter().flat_map(|v| v.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

/// Weights that look like weights: the sum of three hashed uniform numbers.
fn noise(x: f32) -> f32 {
    let uniform = |k: f32| ((x * 12.9898 + k).sin() * 43758.547).fract();
    (uniform(0.0) + uniform(1.7) + uniform(3.1)) * 0.02
}

#[test]
fn help_of_every_command() {
    let case = Case::new();
    let commands = [
        "",
        "compress",
        "decompress",
        "inspect",
        "verify",
        "train",
        "calibrate",
        "eval",
        "man",
    ];
    let pages: Vec<String> = commands
        .iter()
        .map(|command| match *command {
            "" => case.ok(&["--help"]),
            command => case.ok(&[command, "--help"]),
        })
        .collect();
    insta::assert_snapshot!(pages.join("\n────\n\n"));
}

#[test]
fn there_and_back() {
    let case = Case::new();
    let said = case.ok(&["compress", "model", "packed", "--payload-bpw", "6"]);
    assert!(said.contains("bpw_total"), "{said}");
    let table = case.ok(&["inspect", "packed"]);
    for part in [
        "layer.weight",
        "trellis",
        "norm.weight",
        "lossless",
        "bpw_payload",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let json: Value = serde_json::from_str(&case.ok(&["inspect", "packed", "--json"])).unwrap();
    assert_eq!(json["tensors"].as_array().unwrap().len(), 2);
    assert_eq!(
        case.ok(&["verify", "packed"]),
        "2 tensors and 1 files verified\n"
    );
    assert_eq!(case.ok(&["-q", "decompress", "packed", "again"]), "");
    let config = |dir: &str| fs::read(case.path(dir).join("config.json")).unwrap();
    assert_eq!(config("model"), config("again"));
    assert_ne!(config("model"), config("packed"));
}

#[test]
fn errors_are_one_line_and_exit_with_2() {
    let case = Case::new();
    let said = case.fails(2, &["compress", "nowhere", "packed"]);
    assert!(
        said.starts_with("error: ") && said.contains("nowhere"),
        "{said}"
    );
    case.ok(&["-q", "compress", "model", "packed", "--lambda", "30"]);
    let said = case.fails(2, &["compress", "model", "packed", "--lambda", "30"]);
    assert!(said.contains("packed exists"), "{said}");
    let said = case.fails(2, &["compress", "model", "b", "--bpw", "0.1"]);
    assert!(said.contains("0.1"), "{said}");
    let said = case.fails(2, &["compress", "model", "b", "--bpw", "40"]);
    assert!(said.contains("40"), "{said}");
    let said = case.fails(2, &["compress", "model", "b", "--target-size", "10"]);
    assert!(
        said.contains("10 bytes") && said.contains("not coded"),
        "{said}"
    );
    let said = case.fails(
        2,
        &["compress", "model", "b", "--bpw", "4", "--states", "7"],
    );
    assert!(said.contains('7') && said.contains("256"), "{said}");
    let said = case.fails(2, &["decompress", "model", "b"]);
    assert!(said.contains("not compressed by nwc"), "{said}");
    let said = case.fails(2, &["compress", "model", "b", "--threads", "0"]);
    assert!(said.contains("--threads"), "{said}");
    assert!(!case.path("b").exists());
}

#[test]
fn without_a_rate_the_trellis_takes_about_4_bits() {
    let case = Case::new();
    // Large enough that the codec, which is stored with the weights, takes less than 4 bits.
    write_safetensors(&case.path("model/model.safetensors"), (512, 512), noise);
    case.ok(&["-q", "compress", "model", "packed"]);
    let json: Value = serde_json::from_str(&case.ok(&["inspect", "packed", "--json"])).unwrap();
    assert_eq!(json["tensors"][0]["coding"], "trellis");
    let bits = json["totals"]["bpw_total"].as_f64().unwrap();
    assert!((bits - 4.0).abs() < 0.1, "{bits}");
}

#[test]
fn wrong_arguments_are_refused() {
    let case = Case::new();
    fn compress<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [&["compress", "model", "b"], args].concat()
    }
    let said = case.misused(&compress(&["--lambda", "31"]));
    assert!(said.contains("31") && said.contains("10000"), "{said}");
    let said = case.misused(&compress(&["--lambda", "30", "--bpw", "4"]));
    assert!(
        said.contains("--lambda") && said.contains("--bpw"),
        "{said}"
    );
    let said = case.misused(&compress(&["--preset", "paper", "--bpw", "4"]));
    assert!(
        said.contains("--preset") && said.contains("--bpw"),
        "{said}"
    );
    let said = case.misused(&compress(&["--non-finite", "ignore"]));
    assert!(said.contains("ignore"), "{said}");
    for gone in [
        "--steps",
        "--normalize",
        "--sensitivity",
        "--row-feedback",
        "--column-order",
        "--step",
        "--ldlq-block",
        "--quality-levels",
    ] {
        let said = case.misused(&compress(&[gone, "1"]));
        assert!(said.contains(gone), "{said}");
    }
    let said = case.fails(2, &compress(&["--lambda", "30", "--embedding-bits", "1"]));
    assert!(said.contains("--embedding-bits"), "{said}");
    assert!(!case.path("b").exists());
}

#[test]
fn devices_that_are_not_there_exit_with_2() {
    let case = Case::new();
    case.ok(&["-q", "compress", "model", "packed", "--lambda", "30"]);
    case.ok(&["-q", "verify", "packed", "--device", "cpu"]);
    for command in [
        ["verify", "packed"].as_slice(),
        &["decompress", "packed", "b"],
    ] {
        let with = |device| [command, &["--device", device]].concat();
        let said = case.fails(2, &with("cuda:4096"));
        assert!(said.contains("cuda:4096"), "{said}");
        let said = case.misused(&with("abacus"));
        assert!(said.contains("abacus") && said.contains("cuda:N"), "{said}");
    }
    assert!(!case.path("b").exists());
}

#[test]
fn damage_is_a_failed_check_and_exits_with_1() {
    let case = Case::new();
    case.ok(&["-q", "compress", "model", "packed", "--lambda", "30"]);
    let shard = case.path("packed/model.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let said = case.fails(1, &["verify", "packed"]);
    assert!(said.contains("model.safetensors"), "{said}");
}

#[test]
fn matrices_without_any_spread() {
    for (name, weight) in [
        ("zeros", (|_| 0.0) as fn(f32) -> f32),
        ("constant", |_| 0.25),
        ("outlier", |x| if x == 0.0 { 1e6 } else { noise(x) }),
    ] {
        let case = Case::new();
        write_safetensors(&case.path("model/model.safetensors"), (96, 64), weight);
        for (codec, value) in [("--lambda", "300"), ("--payload-bpw", "6")] {
            let packed = format!("{name}{codec}");
            let output = case.run(&["-q", "compress", "model", &packed, codec, value]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{name} {codec}: {said}");
            case.ok(&["-q", "verify", &packed]);
        }
    }
}

#[test]
fn a_page_to_look_at() {
    let case = Case::new();
    case.ok(&["-q", "compress", "model", "packed", "--payload-bpw", "6"]);
    let said = case.ok(&["inspect", "packed", "--html", "page.html"]);
    assert!(said.contains("bpw_total"), "{said}");
    let page = fs::read_to_string(case.path("page.html")).unwrap();
    assert!(page.contains("<title>packed · nwc</title>"), "{page}");
    let (_, data) = page.split_once("id=\"nwc-data\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let json: Value = serde_json::from_str(&case.ok(&["inspect", "packed", "--json"])).unwrap();
    assert_eq!(data["inspection"], json);
    assert!(json["files"]["config.json"].is_string(), "{json}");
    let said = case.fails(2, &["inspect", "packed", "--html", "nowhere/page.html"]);
    assert!(said.contains("nowhere/page.html"), "{said}");
    let said = case.misused(&["inspect", "packed", "--html", "page.html", "--json"]);
    assert!(said.contains("--html") && said.contains("--json"), "{said}");
}

#[test]
fn man_pages_of_every_command() {
    let case = Case::new();
    assert!(case.ok(&["man"]).contains(".TH nwc-cli 1"));
    assert_eq!(case.ok(&["man", "pages/man1"]), "");
    let page = |name: &str| fs::read_to_string(case.path("pages/man1").join(name)).unwrap();
    assert!(page("nwc-cli.1").contains("nwc\\-cli\\-compress(1)"));
    let compress = page("nwc-cli-compress.1");
    for part in [".TH nwc-cli-compress 1", "\\-\\-bpw", "\\-\\-quiet"] {
        assert!(compress.contains(part), "{part} in {compress}");
    }
    assert!(!case.path("pages/man1/nwc-cli-generate.1").exists());
    let said = case.fails(2, &["man", "model/config.json"]);
    assert!(said.contains("model/config.json"), "{said}");
}

#[test]
fn completions_are_printed() {
    let case = Case::new();
    assert!(case.ok(&["completions", "bash"]).contains("nwc-cli"));
}

#[cfg(not(feature = "hub"))]
#[test]
fn an_address_needs_the_feature() {
    let case = Case::new();
    let said = case.fails(2, &["compress", "hf:org/model", "out"]);
    assert!(said.contains("--features hub"), "{said}");
    // A folder of that name is a folder.
    fs::rename(case.path("model"), case.path("hf:model")).unwrap();
    case.ok(&["compress", "hf:model", "out", "-q"]);
}
