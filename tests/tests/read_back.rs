//! What was written is read back before it appears, and can be compared with the original.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nwc::{CompressOptions, DecodeOptions, Error, NoProgress, Progress, TensorError};
use nwc_tests::mending::mended;
use nwc_tests::{fixture_codecs, llama_like, write_checkpoint};

const SHARD: &str = "model.safetensors";

/// Damages what was written as soon as the job named `job` begins.
struct Damaging<'a> {
    job: &'a str,
    parent: &'a Path,
    file: &'a str,
    damage: fn(&mut [u8]),
    is_done: AtomicBool,
}

impl Progress for Damaging<'_> {
    fn start(&self, what: &str, _n_weights: u64) {
        if what != self.job {
            return;
        }
        let mut entries = fs::read_dir(self.parent).unwrap().map(|e| e.unwrap());
        let staging = entries.find(|e| e.file_name().to_str().unwrap().starts_with(".nwc-"));
        let path = staging.unwrap().path().join("folder").join(self.file);
        let mut bytes = fs::read(&path).unwrap();
        (self.damage)(&mut bytes);
        // In place: the file is open already.
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all(&bytes).unwrap();
        self.is_done.store(true, Ordering::Relaxed);
    }

    fn advance(&self, _n_weights: u64) {}

    fn finish(&self) {}
}

fn original(parent: &Path) -> PathBuf {
    let dir = parent.join("original");
    write_checkpoint(&dir, &[llama_like()]);
    dir
}

#[track_caller]
fn check_refused(file: &str, damage: fn(&mut [u8]), is_verified: bool, named: &str) {
    for (family, codec) in fixture_codecs() {
        let dir = tempfile::tempdir().unwrap();
        let original = original(dir.path());
        let out = dir.path().join("packed");
        let mut options = CompressOptions::new(codec);
        options.verify = is_verified;
        let progress = Damaging {
            job: "verify",
            parent: dir.path(),
            file,
            damage,
            is_done: AtomicBool::new(false),
        };
        let error = nwc::compress(&original, &out, &options, &progress).unwrap_err();
        assert!(progress.is_done.load(Ordering::Relaxed));
        let Error::NotReadBack { path, source } = error else {
            panic!("{family}: {error}")
        };
        assert_eq!(path, out, "{family}");
        assert!(source.to_string().contains(named), "{family}: {source}");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(
            left.len(),
            1,
            "{family}: only the original is left: {left:?}"
        );
    }
}

/// The last byte of the file belongs to a tensor; which one depends on the family.
fn flip_last(bytes: &mut [u8]) {
    *bytes.last_mut().unwrap() ^= 1;
}

#[test]
fn a_damaged_section_is_found_before_the_folder_appears() {
    check_refused(SHARD, flip_last, false, "tensor");
    check_refused(SHARD, flip_last, true, "tensor");
}

#[test]
fn a_damaged_carried_file_is_found_before_the_folder_appears() {
    let damage: fn(&mut [u8]) = |bytes| bytes[0] = b'[';
    check_refused("config.json", damage, false, "config.json");
}

#[test]
fn a_sound_folder_is_no_further_from_the_original_than_recorded() {
    for (family, codec) in fixture_codecs() {
        let dir = tempfile::tempdir().unwrap();
        let original = original(dir.path());
        let out = dir.path().join("packed");
        let mut options = CompressOptions::new(codec);
        options.verify = true;
        let inspection = nwc::compress(&original, &out, &options, &NoProgress).unwrap();
        let decode = DecodeOptions::default();
        let found = nwc::verify_against(&out, &original, &decode, &NoProgress).unwrap();
        assert!(found.failures.is_empty(), "{family}: {:?}", found.failures);
        assert_eq!(found.n_tensors, inspection.tensors.len());
    }
}

/// What recovery tuned differs from the original and is no damage; a folder without recovery has no such excuse.
#[test]
fn tuned_tensors_are_counted_and_not_called_damaged() {
    const NORM: &str = "model.layers.0.input_layernorm.weight";
    for (family, codec) in fixture_codecs() {
        let dir = tempfile::tempdir().unwrap();
        let original = original(dir.path());
        let out = dir.path().join("packed");
        let mut tune = |_: &nwc::LinearCoder<'_>| {
            Ok(nwc::Recovered {
                values: [(NORM.to_owned(), vec![0.5; 64])].into(),
                ..Default::default()
            })
        };
        let options = CompressOptions::new(codec);
        nwc::compress_recovered(&original, &out, &options, &mut tune, &NoProgress).unwrap();
        let decode = DecodeOptions::default();
        let found = nwc::verify_against(&out, &original, &decode, &NoProgress).unwrap();
        assert!(found.failures.is_empty(), "{family}: {:?}", found.failures);
        assert_eq!(found.n_tuned, 1, "{family}");
        let shard = out.join(SHARD);
        rewrite_table(&shard, |table| {
            let provenance = table["provenance"].as_object_mut().unwrap();
            assert!(provenance.remove("recovery").is_some(), "{family}");
        });
        let found = nwc::verify_against(&out, &original, &decode, &NoProgress).unwrap();
        let failures: Vec<String> = found.failures.iter().map(|e| e.to_string()).collect();
        assert!(
            failures.len() == 1 && failures[0].contains(NORM),
            "{family}: {failures:?}"
        );
    }
}

#[test]
fn another_model_is_refused() {
    for (family, codec) in fixture_codecs() {
        let dir = tempfile::tempdir().unwrap();
        let original = original(dir.path());
        let out = dir.path().join("packed");
        nwc::compress(&original, &out, &CompressOptions::new(codec), &NoProgress).unwrap();
        let other = dir.path().join("other");
        let mut tensors = llama_like();
        tensors[0].bytes[0] ^= 1;
        write_checkpoint(&other, &[tensors]);
        let decode = DecodeOptions::default();
        let error = nwc::verify_against(&out, &other, &decode, &NoProgress).unwrap_err();
        assert!(
            matches!(&error, Error::OtherModel { path, .. } if *path == other),
            "{family}: {error}"
        );
    }
}

/// Rewrites the table, its digest mended.
fn rewrite_table(shard: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let bytes = fs::read(shard).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (json, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: serde_json::Value = serde_json::from_slice(json).unwrap();
    let table = header["__metadata__"]["nwc"].as_str().unwrap();
    let mut table: serde_json::Value = serde_json::from_str(table).unwrap();
    change(&mut table);
    header["__metadata__"]["nwc"] = table.to_string().into();
    let json = header.to_string();
    let file = [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat();
    fs::write(shard, mended(&file).unwrap()).unwrap();
}

#[test]
fn a_weight_that_is_worse_than_recorded_is_named() {
    for (family, codec) in fixture_codecs() {
        let dir = tempfile::tempdir().unwrap();
        let original = original(dir.path());
        let out = dir.path().join("packed");
        nwc::compress(&original, &out, &CompressOptions::new(codec), &NoProgress).unwrap();
        let mut changed = String::new();
        rewrite_table(&out.join(SHARD), |table| {
            let records = table["tensors"].as_array_mut().unwrap();
            let coded = records.iter_mut().find(|record| record["nmse"].is_f64());
            let coded = coded.unwrap();
            coded["nmse"] = (coded["nmse"].as_f64().unwrap() * 0.99).into();
            changed = coded["name"].as_str().unwrap().to_owned();
        });
        let decode = DecodeOptions::default();
        let sound = nwc::verify(&out, &decode, &NoProgress).unwrap();
        assert!(sound.failures.is_empty(), "{family}: {:?}", sound.failures);
        let found = nwc::verify_against(&out, &original, &decode, &NoProgress).unwrap();
        let [Error::Tensor { tensor, source, .. }] = &*found.failures else {
            panic!("{family}: {:?}", found.failures)
        };
        assert_eq!(*tensor, changed, "{family}");
        assert!(matches!(**source, TensorError::Worse { .. }), "{source}");
    }
}
