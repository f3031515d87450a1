//! How a compressed folder came about, in the words of its table: for people, and for comparing with the original.

use std::collections::BTreeMap;

use nwc_format::Digest;

use crate::options::{CodecChoice, CompressOptions, Embeddings, RateTarget};

/// The entry that says that weights were tuned while the linears were coded.
pub(crate) const RECOVERY: &str = "recovery";

/// The entry that says that a compressed checkpoint was coded anew, and what it was.
pub(crate) const RECODED: &str = "recoded";

/// The entries for `options`, with the digest of the statistics that were used and, where a compressed checkpoint was
/// coded anew, its own entries.
pub(crate) fn of(
    options: &CompressOptions,
    statistics: Option<Digest>,
    is_recovered: bool,
    before: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let (codec, rate) = match &options.codec {
        CodecChoice::Lossless => ("none, lossless".into(), None),
        CodecChoice::Pretrained { lambda } => (
            "learned, pretrained".into(),
            Some(format!("lambda {lambda}")),
        ),
        CodecChoice::File(_) => ("learned, from a codec file".into(), None),
        CodecChoice::Trellis { target, n_states } => (
            format!("trellis with {n_states} states"),
            Some(match target {
                RateTarget::BpwTotal(bits) => format!("{bits} bits per parameter in all"),
                RateTarget::BpwPayload(bits) => format!("{bits} payload bits per linear weight"),
                RateTarget::TotalBytes(bytes) => format!("{bytes} bytes in all"),
                RateTarget::MaxKl(kl) => format!("predicted KL divergence {kl} nats per token"),
                RateTarget::Step(step) => format!("step {step}"),
            }),
        ),
    };
    let entries = [
        ("codec", Some(codec)),
        ("rate", rate),
        ("statistics", statistics.map(|digest| digest.to_string())),
        (
            "embeddings",
            (options.embeddings == Embeddings::Keep).then(|| "kept".into()),
        ),
        ("dequantized", options.dequantize.then(|| "yes".into())),
        (
            RECOVERY,
            is_recovered
                .then(|| "weights were tuned while linears were coded".into())
                .or_else(|| before?.get(RECOVERY).cloned()),
        ),
        (RECODED, before.map(earlier)),
    ];
    entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

/// What a checkpoint was before, in one line.
fn earlier(entries: &BTreeMap<String, String>) -> String {
    let told = ["codec", "rate", RECODED].map(|key| entries.get(key).map(String::as_str));
    let told: Vec<&str> = told.into_iter().flatten().collect();
    match told.is_empty() {
        true => "from a compressed checkpoint".into(),
        // A chain of many stays within what an entry may hold.
        false => format!("from {}", told.join(", "))
            .chars()
            .take(1000)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_done_is_said() {
        let mut options = CompressOptions::new(CodecChoice::bits(3.5));
        let plain = of(&options, None, false, None);
        let expected = [
            ("codec", "trellis with 8 states"),
            ("rate", "3.5 bits per parameter in all"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(plain, expected.into());
        options.embeddings = Embeddings::Keep;
        options.dequantize = true;
        let all = of(&options, Some(Digest::of(b"s")), true, None);
        let added = ["dequantized", "embeddings", RECOVERY, "statistics"];
        assert!(added.iter().all(|key| all.contains_key(*key)));
        let again = of(&options, None, false, Some(&all));
        assert_eq!(again[RECOVERY], all[RECOVERY]);
        let expected = "from trellis with 8 states, 3.5 bits per parameter in all";
        assert_eq!(again[RECODED], expected);
        let twice = of(&options, None, false, Some(&again));
        assert_eq!(twice[RECODED], format!("{expected}, {expected}"));
        assert_eq!(all["statistics"], Digest::of(b"s").to_string());
    }
}
