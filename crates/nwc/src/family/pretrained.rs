//! The built-in set of learned codecs, so that nothing needs training first.

use super::CodecFile;
use crate::{Error, Result};

macro_rules! set {
    ($($lambda:literal),*) => {
        /// The λ of the built-in codecs, coarsest first.
        pub const PRETRAINED_LAMBDAS: &[f32] = &[$($lambda as f32),*];

        /// Codec files of preset `small`, in the same order.
        const FILES: &[&[u8]] = &[
            $(include_bytes!(concat!("../../codecs/small-lambda", $lambda, ".safetensors"))),*
        ];
    };
}

set!(30, 50, 100, 300, 1000, 10000);

/// The built-in codec file for `lambda`.
///
/// # Errors
/// [`Error::Argument`] where the set has none.
pub fn pretrained(lambda: f32) -> Result<&'static [u8]> {
    PRETRAINED_LAMBDAS
        .iter()
        .position(|l| *l == lambda)
        .map(|idx| FILES[idx])
        .ok_or_else(|| Error::Argument {
            argument: "lambda",
            found: lambda.to_string(),
            allowed: format!("{PRETRAINED_LAMBDAS:?}; any other needs a codec file"),
        })
}

/// The codecs for linear weights at `lambda` and, with `has_tables`, for embeddings and head: the next better one.
pub(super) fn for_lambda(lambda: f32, has_tables: bool) -> Result<Vec<CodecFile>> {
    let better = next_better(lambda);
    let mut lambdas = vec![lambda];
    if has_tables && better != lambda {
        lambdas.push(better);
    }
    lambdas
        .into_iter()
        .map(|lambda| {
            let bytes = pretrained(lambda)?.to_vec();
            CodecFile::parse(&format!("pretrained for lambda {lambda}"), bytes)
        })
        .collect()
}

/// The next better λ of the set, or the same where there is none.
fn next_better(lambda: f32) -> f32 {
    let better = PRETRAINED_LAMBDAS.iter().find(|l| **l > lambda);
    better.copied().unwrap_or(lambda)
}

#[cfg(test)]
mod tests {
    use nwc_codec::Codec;

    use super::*;

    #[test]
    fn every_lambda_has_a_codec_trained_for_it() {
        for &lambda in PRETRAINED_LAMBDAS {
            match &for_lambda(lambda, false).unwrap()[..] {
                [
                    CodecFile {
                        codec: Codec::Neural(codec),
                        ..
                    },
                ] => {
                    assert_eq!(codec.config().lambda, lambda);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(pretrained(17.0).is_err());
        assert_eq!(for_lambda(30.0, true).unwrap().len(), 2);
        assert_eq!(for_lambda(10000.0, true).unwrap().len(), 1);
        assert_eq!(next_better(30.0), 50.0);
    }
}
