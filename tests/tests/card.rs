//! A model card above the checkpoint's own, and the way back.
#![allow(clippy::unwrap_used, reason = "a test may panic, in helpers too")]

use std::fs;
use std::path::PathBuf;

use nwc::{CodecChoice, CompressOptions, DecodeOptions, ModelCard, NoProgress, RateTarget};
use nwc_tests::{llama_like, write_checkpoint};

struct Case {
    dir: tempfile::TempDir,
    options: CompressOptions,
}

impl Case {
    fn new(card: Option<&[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_checkpoint(&dir.path().join("original"), &[llama_like()]);
        if let Some(card) = card {
            fs::write(dir.path().join("original/README.md"), card).unwrap();
        }
        let codec = CodecChoice::Trellis {
            target: RateTarget::BpwPayload(4.0),
            n_states: 8,
        };
        let mut options = CompressOptions::new(codec);
        let base_model = Some("org/model".into());
        options.card = Some(ModelCard { base_model });
        Self { dir, options }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compress(&self, from: &str, to: &str) {
        nwc::compress(self.path(from), self.path(to), &self.options, &NoProgress).unwrap();
    }

    fn card(&self, folder: &str) -> Option<Vec<u8>> {
        fs::read(self.path(folder).join("README.md")).ok()
    }

    fn failures(&self, folder: &str) -> Vec<String> {
        let options = DecodeOptions::default();
        let found = nwc::verify(self.path(folder), &options, &NoProgress).unwrap();
        found.failures.iter().map(ToString::to_string).collect()
    }

    fn restored(&self, folder: &str) -> Option<Vec<u8>> {
        let to = format!("{folder}-restored");
        let options = DecodeOptions::default();
        nwc::decompress(self.path(folder), self.path(&to), &options, &NoProgress).unwrap();
        self.card(&to)
    }
}

#[test]
fn the_original_card_comes_back() {
    let originals: [Option<&[u8]>; 4] = [
        None,
        Some(b"# A model"),
        Some(b"---\nlicense: mit\n---\n# A model\n"),
        Some(b"---\r\nlicense: mit\r\n---\r\n\xff"),
    ];
    for original in originals {
        let mut case = Case::new(original);
        case.compress("original", "packed");
        let card = String::from_utf8_lossy(&case.card("packed").unwrap()).into_owned();
        assert!(card.starts_with("---\nbase_model: org/model\nbase_model_relation: quantized\n"));
        assert!(
            card.contains("| rate | 4 payload bits per linear weight |"),
            "{card}"
        );
        let is_kept = original.is_some_and(|o| o.starts_with(b"---"));
        assert_eq!(
            card.contains("\nlicense: mit\r\n") || card.contains("\nlicense: mit\n"),
            is_kept
        );
        assert_eq!(case.failures("packed"), [""; 0]);
        assert_eq!(case.restored("packed").as_deref(), original);

        // Compressed again, it has the card of the second time, or none.
        case.compress("packed", "again");
        let again = String::from_utf8_lossy(&case.card("again").unwrap()).into_owned();
        assert!(again.contains("| recoded | from trellis"), "{again}");
        assert_eq!(again.matches("base_model_relation").count(), 1);
        assert_eq!(case.restored("again").as_deref(), original);
        case.options.card = None;
        case.compress("packed", "plain");
        assert_eq!(case.card("plain").as_deref(), original);
        assert_eq!(case.restored("plain").as_deref(), original);
    }
}

#[test]
fn damage_to_the_original_card_is_found() {
    let case = Case::new(Some(b"# A model\n"));
    case.compress("original", "packed");
    let card = case.card("packed").unwrap();
    // What is above is nobody's original.
    let edited = [b"---\nkl: 0.1\n".as_slice(), &card[4..]].concat();
    fs::write(case.path("packed/README.md"), &edited).unwrap();
    assert_eq!(case.failures("packed"), [""; 0]);
    fs::write(case.path("packed/README.md"), &card[..card.len() - 2]).unwrap();
    let found = case.failures("packed");
    assert!(
        found.len() == 1 && found[0].contains("README.md"),
        "{found:?}"
    );
}

#[test]
fn a_card_that_the_original_has_already_stays() {
    let first = Case::new(None);
    first.compress("original", "packed");
    let card = first.card("packed").unwrap();
    let mut case = Case::new(Some(&card));
    case.options.card = None;
    case.compress("original", "packed");
    assert_eq!(case.failures("packed"), [""; 0]);
    assert_eq!(case.restored("packed").unwrap(), card);
}
