//! Codec files: parts that must agree, files of another kind, files of format 1.

use super::*;

#[test]
fn codec_parts_must_agree() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(4)).unwrap();
    let parts =
        |config, reconstruction| TrellisCodec::new(config, codec.tables().clone(), reconstruction);
    let narrow = TrellisConfig {
        n_buckets: 3,
        ..TrellisConfig::wide(4)
    };
    let what = |result: Result<TrellisCodec>| match result {
        Err(Error::ShapeMismatch { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        what(parts(narrow.clone(), codec.reconstruction().clone())),
        "number of entropy tables"
    );
    let integers = Reconstruction::integers(3);
    assert_eq!(
        what(parts(TrellisConfig::wide(4), integers)),
        "number of reconstruction buckets"
    );
    assert!(Reconstruction::from_offsets(vec![0; 7], 1).is_err());
    let counts = SymbolCounts::new(&codec);
    let other = TrellisCodec::parametric(narrow).unwrap();
    assert_eq!(what(other.with_counts(&counts)), "number of counted tables");
    assert!(TrellisCodec::parametric(TrellisConfig::wide(5)).is_err());
}

#[test]
fn codec_files_of_another_kind_are_refused() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(4)).unwrap();
    let text = codec.to_bytes().unwrap();
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = text
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        let mut bytes = text.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        TrellisCodec::from_bytes(&bytes).unwrap_err()
    };
    assert!(matches!(
        replaced("trellis", "trellos"),
        crate::Error::Family { .. }
    ));
    assert!(matches!(
        replaced("n_states", "n_stales"),
        crate::Error::Metadata { .. }
    ));
    let config = crate::Error::Trellis(Error::Config {
        field: "n_states",
        found: "5".into(),
        allowed: "[1, 4, 8, 16, 64, 256]".into(),
    });
    let found = replaced("n_states\\\":4", "n_states\\\":5");
    assert_eq!(found.to_string(), config.to_string());
    assert!(matches!(
        replaced("cdf_tables", "cdf_tablez"),
        crate::Error::ParameterUnknown { .. }
    ));
    assert!(matches!(
        replaced("[57, 2, 4]", "[57, 4, 2]"),
        crate::Error::ParameterShape { .. }
    ));
    assert!(matches!(
        replaced("\"I8\"", "\"U8\""),
        crate::Error::ParameterType { .. }
    ));
}

/// Files of format 1 say where the odd class has a zero; nowhere is the one answer that is read.
#[test]
fn early_codec_files_are_read() {
    let codec = TrellisCodec::parametric(TrellisConfig::wide(4)).unwrap();
    let bytes = codec.to_bytes().unwrap();
    let early = |zero_below_bucket: &str| {
        let header_len = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let header = std::str::from_utf8(&bytes[8..8 + header_len]).unwrap();
        assert!(!header.contains("zero_below_bucket"), "{header}");
        let field = format!("\\\"n_buckets\\\":57,\\\"zero_below_bucket\\\":{zero_below_bucket}");
        let header = header.replace("\\\"n_buckets\\\":57", &field);
        let mut early = (header.len() as u64).to_le_bytes().to_vec();
        early.extend_from_slice(header.as_bytes());
        early.extend_from_slice(&bytes[8 + header_len..]);
        TrellisCodec::from_bytes(&early)
    };
    let read = early("-121").unwrap();
    assert_eq!(read.to_bytes().unwrap(), bytes);
    for found in ["0", "-120", "-121.5", "null"] {
        let error = early(found).unwrap_err().to_string();
        let expected =
            format!("trellis field zero_below_bucket is {found}, allowed: -121, or no such field");
        assert_eq!(error, expected);
    }
}
