//! Keyword arguments to options, as the command line's.

use std::path::PathBuf;

use nwc::{
    CodecChoice, CompressOptions, Embeddings, Error, ModelCard, NonFinite, RateTarget, Result,
};
use pyo3::prelude::*;

/// Keyword arguments of `compress`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct CompressArgs {
    bpw: Option<f64>,
    payload_bpw: Option<f64>,
    target_size: Option<u64>,
    max_kl: Option<f64>,
    lambda_: Option<f32>,
    codec: Option<PathBuf>,
    lossless: bool,
    stats: Option<PathBuf>,
    states: Option<u16>,
    embeddings: Option<String>,
    embedding_bits: Option<f64>,
    keep: Vec<String>,
    code: Vec<String>,
    dequantize: bool,
    preset: Option<String>,
    non_finite: String,
    verify: bool,
    /// Id of the base model, empty where the card names none.
    card: Option<String>,
    dry_run: bool,
}

impl CompressArgs {
    pub(crate) fn options(self) -> Result<CompressOptions> {
        let is_paper =
            one_of("preset", self.preset.as_deref(), &[("paper", true)])?.unwrap_or(false);
        let rates = [
            self.bpw.is_some(),
            self.payload_bpw.is_some(),
            self.target_size.is_some(),
            self.max_kl.is_some(),
            self.lambda_.is_some(),
            self.codec.is_some(),
            self.lossless,
        ];
        let n_rates = rates.iter().filter(|&&given| given).count();
        if n_rates > 1 {
            let allowed =
                "one of bpw, payload_bpw, target_size, max_kl, lambda_, codec and lossless";
            return Err(wrong("rate", format!("given {n_rates} times"), allowed));
        }
        if is_paper && (rates[..4].contains(&true) || self.lossless) {
            return Err(wrong(
                "preset",
                "paper".into(),
                "only with lambda_ or codec",
            ));
        }
        let codec = match (self.codec, self.lambda_, is_paper) {
            _ if self.lossless => CodecChoice::Lossless,
            (Some(file), ..) => CodecChoice::File(file),
            (None, Some(lambda), _) => CodecChoice::Pretrained { lambda },
            (None, None, true) => CodecChoice::Pretrained { lambda: 300.0 },
            (None, None, false) => CodecChoice::Trellis {
                target: self
                    .payload_bpw
                    .map(RateTarget::BpwPayload)
                    .or(self.target_size.map(RateTarget::TotalBytes))
                    .or(self.max_kl.map(RateTarget::MaxKl))
                    .unwrap_or(RateTarget::BpwTotal(self.bpw.unwrap_or(4.0))),
                n_states: self.states.unwrap_or(8),
            },
        };
        let is_trellis = matches!(codec, CodecChoice::Trellis { .. });
        let mut options = match is_paper {
            true => CompressOptions::paper(codec),
            false => CompressOptions::new(codec),
        };
        let names = [("code", Embeddings::Code), ("keep", Embeddings::Keep)];
        if let Some(embeddings) = one_of("embeddings", self.embeddings.as_deref(), &names)? {
            if embeddings == Embeddings::Keep && self.embedding_bits.is_some() {
                let allowed = "only with embeddings='code'";
                return Err(wrong("embedding_bits", "given".into(), allowed));
            }
            options.embeddings = embeddings;
        }
        options.embedding_bits = self.embedding_bits;
        if !is_trellis {
            options.latent_states = self.states;
        }
        let names = [("refuse", NonFinite::Refuse), ("keep", NonFinite::Keep)];
        if let Some(non_finite) = one_of("non_finite", Some(&self.non_finite), &names)? {
            options.non_finite = non_finite;
        }
        options.statistics = self.stats;
        options.keep = self.keep;
        options.code = self.code;
        options.dequantize = self.dequantize;
        options.verify = self.verify;
        options.card = self.card.map(|base| ModelCard {
            base_model: Some(base).filter(|base| !base.is_empty()),
        });
        options.dry_run = self.dry_run;
        Ok(options)
    }
}

fn one_of<T: Clone>(
    argument: &'static str,
    found: Option<&str>,
    names: &[(&str, T)],
) -> Result<Option<T>> {
    let Some(found) = found else {
        return Ok(None);
    };
    match names.iter().find(|(name, _)| *name == found) {
        Some((_, value)) => Ok(Some(value.clone())),
        None => {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            Err(wrong(argument, found.into(), &names.join(", ")))
        }
    }
}

fn wrong(argument: &'static str, found: String, allowed: &str) -> Error {
    Error::Argument {
        argument,
        found,
        allowed: allowed.into(),
    }
}
