//! How a compressed folder came about, in the words of its table: for people, and for comparing with the original.

use std::collections::BTreeMap;

use nwc_format::Digest;

use crate::options::{CodecChoice, CompressOptions, Embeddings, RateTarget};

/// The entry that says that weights were tuned while the linears were coded.
pub(crate) const RECOVERY: &str = "recovery";

/// The entries for `options`, with the digest of the statistics that were used.
pub(crate) fn of(
    options: &CompressOptions,
    statistics: Option<Digest>,
    is_recovered: bool,
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
            is_recovered.then(|| "weights were tuned while linears were coded".into()),
        ),
    ];
    entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_done_is_said() {
        let mut options = CompressOptions::new(CodecChoice::bits(3.5));
        let plain = of(&options, None, false);
        let expected = [
            ("codec", "trellis with 8 states"),
            ("rate", "3.5 bits per parameter in all"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(plain, expected.into());
        options.embeddings = Embeddings::Keep;
        options.dequantize = true;
        let all = of(&options, Some(Digest::of(b"s")), true);
        let added = ["dequantized", "embeddings", RECOVERY, "statistics"];
        assert!(added.iter().all(|key| all.contains_key(*key)));
        assert_eq!(all["statistics"], Digest::of(b"s").to_string());
    }
}
